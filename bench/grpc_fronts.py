"""Compares servers that could stand under Salver's gRPC service, by cost and correctness.

Each echoes a 113-byte ModelInfer message; h2load drives them in turn, so that a busy moment
of the machine hits all alike. h2load sees gRPC errors as HTTP 200, so a grpcio client first
checks each server: echo, 8 MiB, metadata, deadline, cancel.

    python bench/grpc_fronts.py [--seconds 3] [--rounds 3] [--only native,grpcio]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PATH = "/inference.GRPCInferenceService/ModelInfer"
SLOW = "/bench.Slow/Slow"
MESSAGE = b"\x0a\x04iris\x2a\x40" + b"i" * 64 + b"\x3a\x23" + b"r" * 35 + b"\x12\x02v1"
LOADS = (("8 connections x 8 streams", 8, 8), ("64 connections x 1", 64, 1))
LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
FOREVER_S = 3600


def _generic(grpc: Any, echo: Any, slow: Any) -> Any:
    table = {
        PATH: grpc.unary_unary_rpc_method_handler(echo),
        SLOW: grpc.unary_unary_rpc_method_handler(slow),
    }
    members = {"service": lambda self, details: table.get(details.method)}
    return type("Router", (grpc.GenericRpcHandler,), members)()


def _announce(port: int) -> None:
    print(port, flush=True)


def serve_grpcio_sync() -> None:
    import grpc

    def echo(payload: bytes, context: Any) -> bytes:
        return payload

    def slow(payload: bytes, context: Any) -> bytes:
        threading.Event().wait(2.0)
        return payload

    server = grpc.server(ThreadPoolExecutor(4), options=LIMITS)
    server.add_generic_rpc_handlers((_generic(grpc, echo, slow),))
    _announce(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


async def _serve_aio(server: Any, grpc: Any, *, is_native: bool) -> None:
    async def echo(payload: bytes, context: Any) -> bytes:
        return payload

    async def slow(payload: bytes, context: Any) -> bytes:
        await asyncio.sleep(2.0)
        return payload

    if is_native:
        for path, handler in ((PATH, echo), (SLOW, slow)):
            service, name = path[1:].split("/")
            server.add_registered_method_handlers(
                service, {name: grpc.unary_unary_rpc_method_handler(handler)}
            )
    else:
        server.add_generic_rpc_handlers((_generic(grpc, echo, slow),))
    _announce(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await asyncio.sleep(FOREVER_S)


def serve_grpcio_aio() -> None:
    import grpc
    import grpc.aio
    import uvloop

    async def main() -> None:
        await _serve_aio(grpc.aio.server(options=LIMITS), grpc, is_native=False)

    uvloop.run(main())


def serve_native_aio() -> None:
    import grpc
    import pygrpc_native.aio
    import uvloop

    async def main() -> None:
        server = pygrpc_native.aio.server(options=LIMITS)
        await _serve_aio(server, grpc, is_native=True)

    uvloop.run(main())


def serve_native_low_level() -> None:
    """The least that the library can do: answer in the thread that receives."""
    from pygrpc_native import EVENT_CALL, NativeGrpcFront

    front = NativeGrpcFront("127.0.0.1:0", [(PATH, False), (SLOW, False)], io_threads=1)
    front.start()
    _announce(front.bound_port)
    while (events := front.recv_batch(64)) is not None:
        for kind, call_id, method_id, payload, _ in events:
            if kind == EVENT_CALL and method_id == 0:
                front.respond(call_id, payload)


def _serve_front(make: Callable[[Any], Any]) -> None:
    import uvloop

    from salver.server.grpc.ports import FrontSettings, GrpcMethods

    async def main() -> None:
        front = make(FrontSettings("127.0.0.1", 0, 64 << 20))
        loop = asyncio.get_running_loop()
        await front.start(
            GrpcMethods(
                unary={
                    PATH: lambda call, payload, left, metadata: front.respond(call, payload),
                    SLOW: lambda call, *_: loop.call_later(2.0, front.respond, call, b""),
                },
                stream={},
                on_cancel=lambda call: None,
            )
        )
        _announce(front.port)
        await asyncio.sleep(FOREVER_S)

    uvloop.run(main())


def serve_front_native() -> None:
    from salver.server.grpc.native import NativeFront

    _serve_front(NativeFront)


def serve_front_grpcio() -> None:
    from salver.server.grpc.grpcio_front import GrpcioFront

    _serve_front(GrpcioFront)


def serve_listener() -> None:
    """The whole listener over a model that delivers at once."""
    import uvloop

    from salver.server.grpc.listener import serve_grpc
    from salver.settings import ServeSettings

    model = SimpleNamespace(submit=lambda call: call.deliver(call.body, 0))
    catalog: Any = SimpleNamespace(find=lambda name, version="": model)

    async def main() -> None:
        _announce((await serve_grpc(catalog, ServeSettings(grpc_port=0))).port)
        await asyncio.sleep(FOREVER_S)

    uvloop.run(main())


SERVERS: Mapping[str, Callable[[], None]] = {
    "grpcio, threads": serve_grpcio_sync,
    "grpcio, asyncio": serve_grpcio_aio,
    "pygrpc-native, asyncio": serve_native_aio,
    "pygrpc-native, low level": serve_native_low_level,
    "GrpcioFront": serve_front_grpcio,
    "NativeFront": serve_front_native,
    "Salver's whole listener": serve_listener,
}


def faults(port: int) -> list[str]:
    """What a real client finds wrong; empty if all is well."""
    import grpc

    found: list[str] = []
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=LIMITS) as channel:
        echo, slow = channel.unary_unary(PATH), channel.unary_unary(SLOW)
        if echo(MESSAGE, timeout=5, metadata=(("traceparent", "00-1"),)) != MESSAGE:
            found.append("echo")
        large = b"\x0a\x04iris\x3a" + b"\x80\x80\x80\x04" + os.urandom(8 << 20)
        if echo(large, timeout=20) != large:
            found.append("8 MiB")
        with_deadline = slow.future(b"", timeout=0.2)
        if with_deadline.code() not in (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNIMPLEMENTED,  # the whole listener has no slow method
        ):
            found.append("deadline")
        cancelled = slow.future(b"")
        cancelled.cancel()
        if echo(MESSAGE, timeout=5) != MESSAGE:
            found.append("echo after cancel")
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) / 1024  # type: ignore[index]


def _load(port: int, connections: int, streams: int, seconds: int, body: Path) -> int:
    command = ["h2load", "-D", str(seconds), "-c", str(connections), "-m", str(streams)]
    command += ["-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    command.append(f"http://127.0.0.1:{port}{PATH}")
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+) succeeded", output)[1])  # type: ignore[index]


def measure(name: str, seconds: int, body: Path) -> list[tuple[float, float]]:
    """Requests/s and CPU microseconds per request for each load; prints faults and memory."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        rows = []
        for _, connections, streams in LOADS:
            before_s = _cpu_s(process.pid)
            done = _load(port, connections, streams, seconds, body)
            rows.append((done / seconds, (_cpu_s(process.pid) - before_s) / done * 1e6))
        memory = _pss_mb(process.pid)
        wrong = faults(port)
        print(f"{name}: {rows} {memory:.0f} MB {wrong or 'correct'}", flush=True)
        return rows
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", choices=SERVERS)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="substrings of names, separated by commas")
    options = parser.parse_args()
    if options.serve:
        SERVERS[options.serve]()
        return
    chosen = [name for name in SERVERS if any(part in name for part in options.only.split(","))]
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        body.write_bytes(b"\0" + struct.pack(">I", len(MESSAGE)) + MESSAGE)
        results: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in chosen}
        for _ in range(options.rounds):
            for name in chosen:
                results[name].append(measure(name, options.seconds, body))
    print("| server | " + " | ".join(f"{title}: req/s | CPU us" for title, *_ in LOADS) + " |")
    print("|---|" + "---|" * (2 * len(LOADS)))
    for name, rounds in results.items():
        cells = []
        for load in range(len(LOADS)):
            cells.append(f"{statistics.median(r[load][0] for r in rounds):,.0f}")
            cells.append(f"{statistics.median(r[load][1] for r in rounds):.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
