"""Commands as supervised processes behind HTTP, with a real small server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.calls import RecordingCall

from salver.backends.processes.arguments import process_args, process_env
from salver.backends.processes.output import OutputLog
from salver.backends.processes.process import Launch
from salver.backends.processes.service import ProcessOptions, ProcessService
from salver.backends.remote.model import RemoteModel, RemoteOptions
from salver.engine.ports import ForwardedRequest
from salver.errors import DeadlineExceeded, ErrorKind, LoadFailed, QueueFull, Unavailable
from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import Codec
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

SERVER = Path(__file__).parents[3] / "small_server.py"


def launch(_number: int, port: int, *arguments: str) -> Launch:
    env = process_env(
        os.environ,
        [("GREETING", "hello $(MODEL_NAME)")],
        name="m",
        port=port,
        uri="s3://models/m",
        model_path="/srv/m",
    )
    command = (sys.executable, str(SERVER), *arguments)
    return Launch(process_args(command, env, "/srv/m"), env, port)


@contextlib.asynccontextmanager
async def service(
    *arguments: str, replicas: int = 1, log: Path | None = None, **options: Any
) -> AsyncIterator[ProcessService]:
    process_options = ProcessOptions(replicas=replicas, load_timeout_s=20.0, grace_s=5.0)
    made = ProcessService(
        RemoteModel(
            "m",
            "1",
            RemoteOptions(is_external=False, holds_while_starting=True, **options),
            ModelMetrics(Registry(), "m", "1"),
            clock=time.monotonic,
        ),
        lambda number, port: launch(number, port, *arguments),
        process_options,
        OutputLog(log),
        clock=time.monotonic,
    )
    try:
        yield made
    finally:
        await made.close()


async def ask(served: ProcessService, body: bytes, **options: Any) -> RecordingCall:
    call = RecordingCall(body, **options)
    served.submit(call)
    return await call.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        await asyncio.sleep(0.01)


def test_a_command_serves_and_gets_what_it_was_promised(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "logs" / "m.log"
        async with service("--dir=/mnt/models/x", "--hi=$(GREETING)", log=log) as served:
            await served.start()
            assert served.status.state == "READY"
            assert served.metadata.inputs[0].name == "x"
            headers = [(b"x-request-id", b"r1"), (b"cookie", b"secret")]
            codec = Codec.V1_JSON | ContentCoding.GZIP << 8 | ContentCoding.GZIP << 16
            seen = json.loads((await ask(served, b"a", codec=codec, headers=headers)).text)
            assert seen["path"] == "/v1/models/m:predict"
            assert seen["headers"]["content-encoding"] == "gzip"
            assert seen["headers"]["accept-encoding"] == "gzip"
            assert seen["headers"]["x-request-id"] == "r1"
            assert "cookie" not in seen["headers"]
            seen = json.loads((await ask(served, b"{}1234", aux=2)).text)
            assert seen["path"] == "/v2/models/m/infer"
            assert seen["headers"]["inference-header-content-length"] == "2"
            assert "arguments --dir=/srv/m/x --hi=hello m" in served.read_logs()
            assert "model dir /srv/m s3://models/m" in served.read_logs(1)
        assert "arguments --dir=/srv/m/x --hi=hello m" in log.read_text().splitlines()
        assert served.pids == []

    asyncio.run(scenario())


def test_errors_of_the_service_keep_their_kind_and_their_words() -> None:
    async def scenario() -> None:
        async with service() as served:
            await served.start()
            bad = await ask(served, b"bad")
            assert bad.error == (ErrorKind.INVALID_INPUT, "model 'm' answered 400: that is bad")
            slow = await ask(served, b"slow", timeout_s=0.3)
            assert slow.error is not None and slow.error[0] == ErrorKind.DEADLINE_EXCEEDED
            dropped = await ask(served, b"drop")
            assert dropped.error is not None and dropped.error[0] == ErrorKind.UNAVAILABLE
            grpc = await ask(served, b"", codec=Codec.V2_GRPC)
            assert grpc.error is not None and grpc.error[0] == ErrorKind.UNSUPPORTED

    asyncio.run(scenario())


def test_a_connection_closed_meanwhile_costs_no_request() -> None:
    async def scenario() -> None:
        async with service(concurrency=1) as served:
            await served.start()
            for _ in range(20):
                assert (await ask(served, b"closing")).error is None

    asyncio.run(scenario())


def test_requests_spread_over_the_processes_and_scaling_loses_none() -> None:
    async def scenario() -> None:
        async with service(replicas=2, concurrency=2) as served:
            await served.start()
            await wait_until(lambda: served.ready_replicas == 2)
            calls = [RecordingCall(b"nap") for _ in range(8)]
            for call in calls:
                served.submit(call)
            await asyncio.sleep(0.05)
            assert (served.remote.in_flight, served.remote.queued) == (4, 4)
            await served.scale(1)
            answers = [json.loads((await call.wait()).text) for call in calls]
            assert len({answer["pid"] for answer in answers}) == 2
            await wait_until(lambda: len(served.guard_pids) == 1)

    asyncio.run(scenario())


def test_a_service_without_processes_starts_one_for_the_first_call() -> None:
    async def scenario() -> None:
        async with service(replicas=0) as served:
            await served.start()
            assert (served.is_ready, served.pids) == (True, [])
            assert (await ask(served, b"hello")).error is None
            await served.scale(0)
            await wait_until(lambda: not served.pids)
            assert (await ask(served, b"again")).error is None

    asyncio.run(scenario())


def test_a_process_that_dies_is_replaced_and_the_waiting_calls_are_kept() -> None:
    async def scenario() -> None:
        async with service(concurrency=1) as served:
            await served.start()
            first = RecordingCall(b"die")
            second = RecordingCall(b"after")
            served.submit(first)
            served.submit(second)
            await first.wait()
            assert first.error is not None and first.error[0] == ErrorKind.UNAVAILABLE
            assert (await second.wait()).error is None

    asyncio.run(scenario())


def test_a_command_that_ends_at_once_is_a_failed_load_with_its_words() -> None:
    async def scenario() -> None:
        async with service("--fail") as served:
            with pytest.raises(LoadFailed, match=r"exited with code 7; it wrote: .*no licence"):
                await served.start()
            assert served.status.state == "UNAVAILABLE"

    asyncio.run(scenario())


def test_a_client_that_leaves_frees_the_process() -> None:
    async def scenario() -> None:
        async with service(concurrency=1) as served:
            await served.start()
            call = RecordingCall(b"slow")
            served.submit(call)
            await wait_until(lambda: served.remote.in_flight == 1)
            call.is_abandoned = True
            await wait_until(lambda: served.remote.in_flight == 0, 2.0)
            assert call.answers == 0
            assert (await ask(served, b"next")).error is None

    asyncio.run(scenario())


def test_any_path_is_forwarded_and_streams() -> None:
    async def scenario() -> None:
        async with service() as served:
            await served.start()
            async with served.remote.forward(ForwardedRequest("GET", "/do/stream")) as answer:
                parts = [part async for part in answer.chunks()]
            assert (answer.status, b"".join(parts)) == (200, b"onetwo")
            assert len(parts) > 1
            async with served.remote.forward(ForwardedRequest("GET", "/nowhere")) as answer:
                assert answer.status == 404

    asyncio.run(scenario())


def test_a_forwarded_request_starts_a_process_and_is_seen_by_the_autoscaler() -> None:
    async def scenario() -> None:
        async with service(replicas=0) as served:
            await served.start()
            asked = asyncio.create_task(fetch(served, "/nowhere"))
            await wait_until(lambda: served.remote.queued == 1)
            assert await asked == 404
            assert (served.remote.queued, served.remote.in_flight) == (0, 0)
            assert served.remote.metrics.requests.value == 1

    asyncio.run(scenario())


async def fetch(served: ProcessService, path: str) -> int:
    async with served.forward(ForwardedRequest("GET", path)) as answer:
        return answer.status


def test_forwarded_requests_have_the_queue_s_bound_and_the_time_limit() -> None:
    async def scenario() -> None:
        async with service(concurrency=1, max_queued=1, request_timeout_s=0.5) as served:
            await served.start()
            busy = RecordingCall(b"slow")
            served.submit(busy)
            await wait_until(lambda: served.remote.in_flight == 1)
            waiting = asyncio.create_task(fetch(served, "/a"))
            await wait_until(lambda: served.remote.queued == 1)
            with pytest.raises(QueueFull):
                await fetch(served, "/b")
            with pytest.raises(DeadlineExceeded):
                await waiting
            assert served.remote.queued == 0
            busy.is_abandoned = True

    asyncio.run(scenario())


def test_a_request_waiting_to_be_forwarded_is_refused_when_its_service_ends() -> None:
    async def scenario() -> None:
        async with service(concurrency=1) as served:
            await served.start()
            served.submit(RecordingCall(b"slow"))
            await wait_until(lambda: served.remote.in_flight == 1)
            waiting = asyncio.create_task(fetch(served, "/a"))
            await wait_until(lambda: served.remote.queued == 1)
            await served.close()
            with pytest.raises(Unavailable, match="is being stopped"):
                await waiting

    asyncio.run(scenario())


def test_a_forwarded_request_outlives_a_process_that_has_just_died() -> None:
    async def scenario() -> None:
        async with service() as served:
            await served.start()
            await ask(served, b"die")
            assert await fetch(served, "/nowhere") == 404

    asyncio.run(scenario())


def test_stopping_takes_along_what_the_command_has_started() -> None:
    async def scenario() -> None:
        async with service("--escape") as served:
            await served.start()
            found = served.pids
            assert len(found) >= 2
        await wait_until(lambda: not any(alive(pid) for pid in found), 3.0)

    asyncio.run(scenario())


def test_nothing_survives_a_kill_9_of_the_gateway(tmp_path: Path) -> None:
    script = tmp_path / "gateway.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[4])!r})\n"
        "from tests.unit.backends.processes.test_service import service\n"
        "async def main():\n"
        "    async with service('--escape') as served:\n"
        "        await served.start()\n"
        "        print(*served.guard_pids, *served.pids, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    gateway = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert gateway.stdout is not None
    with gateway.stdout:
        pids = [int(each) for each in gateway.stdout.readline().split()]
        assert len(pids) >= 3 and all(alive(pid) for pid in pids)
        gateway.send_signal(signal.SIGKILL)
        gateway.wait(5)
    deadline_s = time.monotonic() + 5
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline_s, "a process has survived"
        time.sleep(0.02)
