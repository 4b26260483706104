"""A fork server that forks nobody: the test speaks the worker's part over the real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence

import msgspec
from tests.fakes import IRIS

from salver.backends.local.environment import WorkerEvents
from salver.backends.local.model import LocalModel
from salver.backends.local.options import ModelOptions, batch_limits
from salver.backends.local.worker_messages import LoadOrder, LoadReport
from salver.engine.call import Call
from salver.engine.queue import ModelQueue
from salver.errors import ErrorKind
from salver.protocol.frame import HEADER, Frame, FrameKind, frame_size, parse_request, reply_head
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

REPORT = msgspec.json.encode(LoadReport(IRIS, 0.01, 0.001))
OPTIONS = ModelOptions(request_timeout_s=5.0, load_timeout_s=10.0)
ORDER = LoadOrder(
    name="iris",
    version="1",
    path="/models/iris.joblib",
    runtime="sklearn",
    attribute="",
    threads=1,
    max_rows=0,
    batch_requested=False,
    memory_bytes=0,
    max_body_bytes=1 << 20,
    log_format="text",
    log_level="info",
)


_NO_PID = 1 << 30


class StagedWorker:
    """A worker process as its socket shows it."""

    def __init__(self, events: WorkerEvents, fds: Sequence[int]) -> None:
        self.events = events
        self.socket = socket.socket(fileno=os.dup(fds[0]))
        self.socket.setblocking(False)
        self._held = b""

    async def receive(self) -> Frame:
        """The next frame from the gateway."""
        loop = asyncio.get_running_loop()
        while len(self._held) < HEADER.size or len(self._held) < frame_size(self._held):
            data = await asyncio.wait_for(loop.sock_recv(self.socket, 1 << 16), 5)
            if not data:
                raise EOFError
            self._held += data
        size = frame_size(self._held)
        frame, self._held = self._held[:size], self._held[size:]
        return parse_request(memoryview(frame))

    async def load(self) -> None:
        """Answers the order: the model is loaded."""
        await self.receive()
        await self.send(FrameKind.LOADED, REPORT)

    async def fail_load(self, reason: str) -> None:
        await self.receive()
        await self.send(FrameKind.LOAD_FAILED, reason.encode())
        self.end(0)

    async def answer(self) -> int:
        """Answers the next batch; the number of its calls."""
        frame = await self.receive()
        count = len(frame.table) // 3
        head = reply_head(
            frame.batch_id, FrameKind.REPLY, (0, 0, 2) * count, 2 * count, is_shared=False
        )
        await asyncio.get_running_loop().sock_sendall(self.socket, head + b"ok" * count)
        return count

    async def wait_closed(self) -> None:
        """Returns when the gateway has closed its end, then ends as a process does."""
        try:
            frame = await self.receive()
        except (EOFError, ConnectionError):
            self.end(0)
        else:
            raise AssertionError(f"a frame of kind {frame.kind} instead of the end")

    async def send(self, kind: FrameKind, text: bytes) -> None:
        head = reply_head(0, kind, (0, 0, len(text)), len(text), is_shared=False)
        await asyncio.get_running_loop().sock_sendall(self.socket, head + text)

    def end(self, status: int) -> None:
        """The process ends, and the fork server reports it."""
        self.socket.close()
        self.events.on_ended(status)


class Stage:
    """An `Environment` whose workers the test plays; has a clock that moves when told to."""

    def __init__(self) -> None:
        self.workers: list[StagedWorker] = []
        self.models: list[LocalModel] = []
        self.now_s = 100.0
        self.has_pids = False

    def clock(self) -> float:
        return self.now_s

    def fork(self, events: WorkerEvents, fds: Sequence[int]) -> None:
        worker = StagedWorker(events, fds)
        self.workers.append(worker)
        # No process at all has such a number.
        events.on_forked(_NO_PID + len(self.workers) if self.has_pids else 0)

    async def worker(self, index: int) -> StagedWorker:
        """The worker of that number, as soon as it has been forked."""
        await until(lambda: len(self.workers) > index)
        return self.workers[index]

    def queue(self, options: ModelOptions = OPTIONS) -> ModelQueue:
        return ModelQueue(
            "model 'iris'",
            batch_limits(options),
            max_queued=options.max_queued,
            metrics=ModelMetrics(Registry(), "iris", "1"),
            scheduler=asyncio.get_running_loop(),
            clock=self.clock,
        )

    def model(self, options: ModelOptions = OPTIONS) -> LocalModel:
        model = LocalModel("iris", "1", self.queue(options), options, clock=self.clock)
        self.models.append(model)
        return model

    async def close(self) -> None:
        """Ends what the test has left."""
        for model in self.models:
            model.close()
        for _ in range(5):
            await asyncio.sleep(0)
        for worker in self.workers:
            worker.socket.close()

    async def loaded(self, replicas: int) -> LocalModel:
        """A model with so many workers, all ready."""
        model = self.model(msgspec.structs.replace(OPTIONS, replicas=replicas))
        loading = asyncio.ensure_future(model.load(ORDER, self))  # type: ignore[arg-type]
        for index in range(replicas):
            await (await self.worker(index)).load()
        await loading
        await until(lambda: model.ready_replicas == replicas)
        return model


class SelfActingStage(Stage):
    """Its workers load and answer by themselves; the order's path says how they load.

    `/models/slow` waits for `release`, `/models/broken` fails; a number is the size in bytes
    that `measure` reports for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.has_pids = True
        self.loads: list[str] = []
        self.release = asyncio.Event()
        self.most_loading = 0
        self._loading = 0
        self._sizes: dict[int, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def fork(self, events: WorkerEvents, fds: Sequence[int]) -> None:
        super().fork(events, fds)
        pid = _NO_PID + len(self.workers)
        self._tasks.append(asyncio.ensure_future(self._act(self.workers[-1], pid)))

    async def _act(self, worker: StagedWorker, pid: int) -> None:
        frame = await worker.receive()
        order = msgspec.json.decode(frame.bodies()[0], type=LoadOrder)
        self.loads.append(order.name)
        self._loading += 1
        self.most_loading = max(self.most_loading, self._loading)
        kind = order.path.rpartition("/")[2]
        if kind == "slow":
            await self.release.wait()
        await asyncio.sleep(0)
        self._loading -= 1
        if kind == "broken":
            await worker.send(FrameKind.LOAD_FAILED, b"no weights")
            worker.end(0)
            return
        self._sizes[pid] = int(kind) if kind.isdigit() else 10
        await worker.send(FrameKind.LOADED, REPORT)
        try:
            while True:
                await worker.answer()
        except (EOFError, ConnectionError, OSError):
            self._sizes.pop(pid, None)
            worker.end(0)

    def measure(self, pids: Sequence[int]) -> int:
        return max((self._sizes.get(pid, 0) for pid in pids), default=0)

    @property
    def used_bytes(self) -> int:
        """What the workers that there are take."""
        return sum(self._sizes.values())

    async def close(self) -> None:
        await super().close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class AwaitedCall(Call):
    """A call whose outcome can be awaited: the answer's bytes, or kind and message."""

    def __init__(self, now_s: float = 100.0, timeout_s: float = 5.0) -> None:
        super().__init__(1, 0, b"{}", arrived_s=now_s, deadline_s=now_s + timeout_s)
        self.outcome: asyncio.Future[bytes | tuple[ErrorKind, str]] = (
            asyncio.get_running_loop().create_future()
        )

    def deliver(self, body: bytes, aux: int) -> None:
        self.outcome.set_result(body)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.outcome.set_result((kind, message))


async def until(condition: object) -> None:
    """Lets the loop turn until the condition holds: what it waits for takes no time of its own."""
    assert callable(condition)
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")
