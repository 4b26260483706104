"""A command or a container as a `ServedModel`: N processes behind one `RemoteModel`.

Owns their number and their restarts (with back-off); requests, queues and readiness are
`RemoteModel`'s. With no process wanted it stands by: the first call asks for one and waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager

import msgspec

from salver.backends.processes.output import OutputLog
from salver.backends.processes.process import ForeignProcess, Launch, descendants, free_port
from salver.backends.remote.endpoint import Endpoint
from salver.backends.remote.http_client import Origin
from salver.backends.remote.model import RemoteModel
from salver.control.lifecycle import backoff_s
from salver.engine.call import Call
from salver.engine.ports import ForwardedAnswer, ForwardedRequest, ModelStatus
from salver.engine.queue import Clock
from salver.errors import LoadFailed
from salver.inference.metadata import ModelMetadata

logger = logging.getLogger("salver.processes")

LaunchOf = Callable[[int, int], Launch]
"""The launch of one replica, by its number (which is never used twice) and its port."""
_HOST = "127.0.0.1"
_SHOWN_LINES = 5
_MAX_START_DEATHS = 5


class ProcessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How many processes, and how long they may take to start and to stop."""

    replicas: int = 1
    load_timeout_s: float = 300.0
    grace_s: float = 30.0


class _Replica:
    """One process and its address."""

    def __init__(self, process: ForeignProcess, endpoint: Endpoint) -> None:
        self.process = process
        self.endpoint = endpoint
        self.is_leaving = False


class ProcessService:
    """Implements the engine's `ServedModel`; the supervisor of its processes."""

    def __init__(
        self,
        remote: RemoteModel,
        launch_of: LaunchOf,
        options: ProcessOptions,
        output: OutputLog,
        *,
        clock: Clock,
        on_wanted: Callable[[], object] | None = None,
    ) -> None:
        self.name = remote.name
        self.version = remote.version
        self.remote = remote
        self.output = output
        self._launch_of = launch_of
        self._options = options
        self._clock = clock
        self._on_wanted = on_wanted or self._wake
        self._wanted = 0
        self._number = 0
        self._deaths = 0
        self._pending = 0
        """Processes that are to be started once their back-off is over."""
        self._replicas: list[_Replica] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._failure = ""
        remote.on_ready = self._on_ready

    # What callers may know.

    @property
    def status(self) -> ModelStatus:
        if not self.is_ready and self._failure:
            return ModelStatus(self.name, self.version, "UNAVAILABLE", self._failure)
        if not self._wanted and not self._is_closed:
            return ModelStatus(self.name, self.version, "READY", "standby")
        return self.remote.status

    @property
    def is_ready(self) -> bool:
        """It answers requests, or would start a process for one."""
        return self.remote.is_ready or (not self._wanted and not self._is_closed)

    @property
    def failure(self) -> str:
        """Why its processes end before they are ready; empty if they do not."""
        return self._failure

    @property
    def metadata(self) -> ModelMetadata:
        return self.remote.metadata

    @property
    def wanted_replicas(self) -> int:
        return self._wanted

    @property
    def ready_replicas(self) -> int:
        return sum(each.endpoint.is_ready for each in self._replicas)

    @property
    def guard_pids(self) -> list[int]:
        """The guards of its processes, one for each."""
        return [each.process.pid for each in self._replicas if each.process.pid]

    @property
    def pids(self) -> list[int]:
        """Its processes, with those that they have started."""
        return [pid for guard in self.guard_pids for pid in descendants(guard)]

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        if not self._wanted and not self._is_closed:
            self._on_wanted()
        self.remote.submit(call)

    def forward(self, request: ForwardedRequest) -> AbstractAsyncContextManager[ForwardedAnswer]:
        """See `Forwarder`."""
        if not self._wanted and not self._is_closed:
            self._on_wanted()
        return self.remote.forward(request)

    def read_logs(self, tail: int | None = None) -> list[str]:
        """The last lines that its processes have written."""
        return self.output.read(tail)

    def follow_logs(self, tail: int | None = None) -> AsyncIterator[str]:
        """The last lines, and those to come."""
        return self.output.follow(tail)

    # How many.

    async def start(self) -> None:
        """Starts its processes and waits for the first to be ready.

        Raises `LoadFailed` with the reason; nothing is left running then.
        """
        try:
            await self.scale(self._options.replicas)
            await self._wait_started()
        except BaseException as error:
            await self.close()
            self._failure = str(error)
            raise

    async def _wait_started(self) -> None:
        deadline_s = self._clock() + self._options.load_timeout_s
        while self._wanted and not self.remote.is_ready:
            if self._deaths >= _MAX_START_DEATHS or self._clock() >= deadline_s:
                reason = self._failure or f"not ready: {self.remote.status.reason}"
                raise LoadFailed(f"model '{self.name}' could not be started: {reason}")
            await asyncio.sleep(0.01)

    async def scale(self, replicas: int) -> None:
        """Brings the number of processes to this; those too many finish what they have."""
        self._wanted = replicas
        self.remote.reason = "starting" if replicas else "standby"
        while len(self._serving) + self._pending < replicas and not self._is_closed:
            await self._start_one()
        surplus = self._serving[replicas:] if replicas < len(self._serving) else []
        for replica in surplus:
            self._spawn(self._retire(replica))

    @property
    def _serving(self) -> list[_Replica]:
        """Processes that are not on their way out; those that are ready first."""
        serving = [each for each in self._replicas if not each.is_leaving]
        return sorted(serving, key=lambda each: not each.endpoint.is_ready)

    def _wake(self) -> None:
        self._wanted = 1
        self._spawn(self.scale(1))

    async def _start_one(self) -> None:
        port = free_port()
        self._number += 1
        launch = self._launch_of(self._number, port)
        process = ForeignProcess(launch, self.output, self._on_end)
        await process.start()
        replica = _Replica(process, self.remote.add(Origin(_HOST, port)))
        self._replicas.append(replica)
        self._spawn(self._limit_start(replica))

    async def _limit_start(self, replica: _Replica) -> None:
        """Kills a process that does not become ready in time; its end starts another."""
        deadline_s = self._clock() + self._options.load_timeout_s
        while self._clock() < deadline_s:
            if replica.endpoint.is_ready or replica.process.has_ended or replica.is_leaving:
                return
            await asyncio.sleep(0.05)
        self.output.note(f"not ready within {self._options.load_timeout_s:g} s: killed")
        replica.process.kill()

    async def _retire(self, replica: _Replica) -> None:
        """Lets it answer what it has, then stops it."""
        replica.is_leaving = True
        self.remote.remove(replica.endpoint)
        deadline_s = self._clock() + self._options.grace_s
        while replica.endpoint.in_flight and self._clock() < deadline_s:
            await asyncio.sleep(0.01)
        await replica.process.stop(max(deadline_s - self._clock(), 1.0))

    # What becomes of them.

    def _on_ready(self, _endpoint: Endpoint) -> None:
        self._deaths = 0
        self._failure = ""

    def _on_end(self, process: ForeignProcess, cause: str) -> None:
        replica = next((each for each in self._replicas if each.process is process), None)
        if replica is None:
            return
        self._replicas.remove(replica)
        self.remote.remove(replica.endpoint)
        if replica.is_leaving or self._is_closed:
            return
        self._deaths += 1
        self._failure = self._why(cause)
        self.remote.reason = self._failure
        delay_s = backoff_s(self._deaths)
        logger.warning("model '%s': its process %s; next in %.1f s", self.name, cause, delay_s)
        self.output.note(f"the process {cause}")
        self.remote.metrics.worker_restarts.value += 1
        self._pending += 1
        self._spawn(self._start_later(delay_s))

    def _why(self, cause: str) -> str:
        said = " | ".join(line.strip() for line in self.output.read(_SHOWN_LINES) if line.strip())
        return f"its process {cause}" + (f"; it wrote: {said[-500:]}" if said else "")

    async def _start_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._pending -= 1
        if not self._is_closed and len(self._serving) < self._wanted:
            await self._start_one()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = str(task.exception())
            logger.error("model '%s': %s", self.name, task.exception())

    async def close(self) -> None:
        """Stops all of its processes: SIGTERM, then SIGKILL after the grace."""
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()
        replicas = list(self._replicas)
        for replica in replicas:
            replica.is_leaving = True
        self.remote.close()
        await asyncio.gather(*(each.process.stop(self._options.grace_s) for each in replicas))
        self.output.close()

    def kill(self) -> None:
        """Ends all of its processes at once."""
        self._is_closed = True
        for replica in self._replicas:
            replica.process.kill()
