"""What a running server does when things go wrong, in numbers.

    python bench/resilience.py [kill] [isolation] [overload]

kill: kill -9 of the worker, again and again, while wrk drives 64 connections; counts failures.
isolation: p99 of one model beside another that sleeps, raises, exits, or eats memory; and, as
the machine's own share in that, beside a process that merely spins. Once at a fixed rate that
leaves the machine room, once with every core saturated by wrk.
overload: ten times the rate that a model can take; goodput, refusals, memory, recovery.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.server import Server, serving

ECHO = """
import numpy as np
class Echo:
    batchable = True
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0]
"""
NASTY = """
import os, time
import numpy as np
class Nasty:
    def predict(self, x: np.ndarray) -> np.ndarray:
        what = x.ravel()[0]
        if what == 1: time.sleep(60)
        if what == 2: raise RuntimeError("no luck")
        if what == 3: return np.zeros((7, 7, 7))[x]
        if what == 4: os._exit(3)
        hoard = []
        while what == 5: hoard.append(bytearray(16 << 20))
        return x[:, 0]
"""
SLOW = """
import time
import numpy as np
class Slow:
    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.005)
        return x[:, 0]
"""
BODY = '{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP64","data":[%s]}]}'
LUA = 'wrk.method="POST"\nwrk.body=%s\nwrk.headers["Content-Type"]="application/json"\n'


NASTY_WAYS = ("sleeps", "raises", "answers a wrong shape", "exits", "allocates without end")


def write_model(folder: Path, name: str, source: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(source)
    return str(path)


def wrk(url: str, body: str, seconds: float, connections: int, folder: Path) -> dict[str, float]:
    """Runs wrk and reads what it prints: requests, failures, p50 and p99 in milliseconds."""
    script = folder / f"post-{abs(hash(body))}.lua"
    script.write_text(LUA % json.dumps(body))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}", "--latency", "-s", str(script)]
    out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    errors = [
        int(number)
        for line in re.findall(r"Socket errors:.*", out)
        for number in re.findall(r"\d+", line)
    ]
    return {
        "requests": int(re.search(r"(\d+) requests in", out)[1]),
        "not_2xx": int((re.search(r"Non-2xx.*?: (\d+)", out) or [0, 0])[1]),
        "socket_errors": sum(errors),
        "p50_ms": milliseconds(re.search(r"^ +50% +(\S+)$", out, re.M)[1]),
        "p99_ms": milliseconds(re.search(r"^ +99% +(\S+)$", out, re.M)[1]),
    }


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def kill(folder: Path) -> None:
    with serving(write_model(folder, "echo", ECHO)) as server:
        kills = 0
        stop = threading.Event()

        def killer() -> None:
            nonlocal kills
            while not stop.wait(0.5):
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
                    kills += 1

        thread = threading.Thread(target=killer)
        thread.start()
        result = wrk(f"{server.url}/v2/models/echo/infer", BODY % 1, 10, 64, folder)
        stop.set()
        thread.join()
    print(f"kill: {kills} workers killed -9 at 64 connections: {json.dumps(result)}")


def isolation(folder: Path) -> None:
    nasty = write_model(folder, "nasty", NASTY)
    echo = write_model(folder, "echo", ECHO)
    with serving(echo, nasty, "--request-timeout", "2s", "--worker-memory", "2GiB") as server:

        def at_fixed_rate() -> dict[str, float]:
            return paced(server.port, rate=1000, seconds=8)

        def saturated() -> dict[str, float]:
            return wrk(f"{server.url}/v2/models/echo/infer", BODY % 1, 4, 8, folder)

        saturated()
        for load in (at_fixed_rate, saturated):
            alone = load()
            print(f"isolation, {load.__name__}: alone: p99 {alone['p99_ms']:.2f} ms")
            with spinning():
                print_beside(load.__name__, "a spinning process", alone, load())
            for what, name in enumerate(NASTY_WAYS):
                with provoking(server, what + 1):
                    print_beside(load.__name__, f"a model that {name}", alone, load())


def print_beside(load: str, name: str, alone: dict[str, float], beside: dict[str, float]) -> None:
    ratio = beside["p99_ms"] / alone["p99_ms"]
    bad = beside["not_2xx"] + beside["socket_errors"]
    print(
        f"isolation, {load}: beside {name}: p99 {beside['p99_ms']:.2f} ms ({ratio:.2f}x), "
        f"{beside['requests']} requests, {bad} failed"
    )


@contextmanager
def spinning() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield
        process.kill()


@contextmanager
def provoking(server: Server, what: int) -> Iterator[None]:
    """The bad model gets a bad request ten times a second."""
    stop = threading.Event()

    def provoke() -> None:
        # One connection and no library: on two cores the client's own work would count.
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        while not stop.wait(0.1):
            client.request("POST", "/v2/models/nasty/infer", BODY % what)
            client.getresponse().read()
        client.close()

    thread = threading.Thread(target=provoke)
    thread.start()
    yield
    stop.set()
    thread.join()


def paced(port: int, *, rate: float, seconds: float, connections: int = 8) -> dict[str, float]:
    """Requests at a fixed rate, whatever the answers take, over a few blocking connections."""
    body = (BODY % 1).encode()
    request = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    latencies_s: list[float] = []
    failed = 0

    def drive(index: int) -> None:
        nonlocal failed
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begun_s = time.perf_counter() + index / rate
            for turn in range(int(seconds * rate / connections)):
                pause_s = begun_s + turn * connections / rate - time.perf_counter()
                if pause_s > 0:
                    time.sleep(pause_s)
                sent_s = time.perf_counter()
                sock.sendall(request)
                failed += not sock.recv(65536).startswith(b"HTTP/1.1 200")
                latencies_s.append(time.perf_counter() - sent_s)

    threads = [threading.Thread(target=drive, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies_s.sort()
    count = len(latencies_s)
    return {
        "requests": count,
        "not_2xx": failed,
        "socket_errors": 0,
        "p50_ms": latencies_s[count // 2] * 1000,
        "p99_ms": latencies_s[int(count * 0.99)] * 1000,
    }


def overload(folder: Path) -> None:
    with serving(write_model(folder, "slow", SLOW), "--max-queue-size", "64") as server:
        peak = asyncio.run(offer(server.port, rate=400, seconds=3, connections=16))
        before = gateway_kib(server)
        over = asyncio.run(
            offer(server.port, rate=int(peak["goodput"] * 10), seconds=8, connections=400)
        )
        after = gateway_kib(server)
        started_s = time.monotonic()
        status = server.infer("slow", [[1.0]]).status_code
        recovery_s = time.monotonic() - started_s
    print(
        f"overload: peak {peak['goodput']:.0f}/s; offered {over['offered']:.0f}/s: goodput "
        f"{over['goodput']:.0f}/s ({over['goodput'] / peak['goodput']:.0%} of peak), refused "
        f"{over['refused']:.0f}, of them with Retry-After {over['retry_after']:.0f}, other "
        f"{over['other']:.0f}; gateway {before} -> {after} KiB; then {status} after "
        f"{recovery_s * 1000:.0f} ms"
    )


def gateway_kib(server: Server) -> int:
    text = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"Pss:\s+(\d+)", text)[1])


async def offer(port: int, *, rate: int, seconds: float, connections: int) -> dict[str, float]:
    """An open loop: requests at a fixed rate, whatever the answers; one is skipped only if
    all connections are busy."""
    body = (BODY % 1).encode()
    request = b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    counts = {"goodput": 0.0, "refused": 0.0, "retry_after": 0.0, "other": 0.0, "offered": 0.0}
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def ask() -> None:
        reader, writer = free.get_nowait()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        free.put_nowait((reader, writer))
        if head.startswith(b"HTTP/1.1 200"):
            counts["goodput"] += 1
        elif head.startswith(b"HTTP/1.1 429"):
            counts["refused"] += 1
            counts["retry_after"] += b"retry-after:" in head
        else:
            counts["other"] += 1

    tasks: set[asyncio.Task[None]] = set()
    started_s = time.monotonic()
    sent = 0
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        while sent < elapsed_s * rate:
            sent += 1
            if not free.empty():
                counts["offered"] += 1
                task = asyncio.ensure_future(ask())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    at_end = dict(counts)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    at_end["goodput"] /= seconds
    at_end["offered"] /= seconds
    return at_end


def main() -> None:
    chosen = sys.argv[1:] or ["kill", "isolation", "overload"]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            {"kill": kill, "isolation": isolation, "overload": overload}[name](Path(folder))


if __name__ == "__main__":
    main()
