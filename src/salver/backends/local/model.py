"""One version of a model on this machine: its queue, its workers, and what is known of it.

Owns the workers' number: starts them, replaces those that die (with back-off), swaps them
for those of a newer artifact, and retires them. A queue lives as long as the model does, so
a reload or a restart loses no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from salver.backends.local.environment import Environment
from salver.backends.local.replica import LocalReplica
from salver.backends.local.worker_messages import LoadOrder, LoadReport
from salver.control.lifecycle import ReplicaState, backoff_s
from salver.engine.call import Call
from salver.engine.ports import ModelStatus
from salver.engine.queue import Clock, ModelQueue
from salver.errors import ErrorKind, LoadFailed, ModelNotReady
from salver.inference.metadata import ModelMetadata

logger = logging.getLogger("salver.supervisor")

_MAX_DEATHS_IN_A_ROW = 5
"""After so many deaths without an answer between, callers are told rather than kept waiting."""
_MAX_LOAD_DEATHS = 3
"""A worker that dies so often while it loads is not started again by itself."""


class LocalModel:
    """Implements the engine's `ServedModel` with worker processes."""

    def __init__(
        self, name: str, version: str, queue: ModelQueue, *, replicas: int, clock: Clock
    ) -> None:
        self.name = name
        self.version = version
        self.queue = queue
        self.submit: Callable[[Call], None] = queue.submit
        self.order: LoadOrder | None = None
        self.report: LoadReport | None = None
        self._wanted = replicas
        self._clock = clock
        self._environment: Environment | None = None
        self._replicas: list[LocalReplica] = []
        self._state = "UNAVAILABLE"
        self._reason = "not loaded"
        self._deaths = 0
        self._loading: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        queue.refuse(ErrorKind.MODEL_NOT_READY, f"{queue.label} is not loaded")

    # What callers may know.

    @property
    def status(self) -> ModelStatus:
        return ModelStatus(self.name, self.version, self._state, self._reason)

    @property
    def is_ready(self) -> bool:
        return self._state == "READY"

    @property
    def is_wanted(self) -> bool:
        """It should be serving, whether it is or not."""
        return self._reason != "unloaded"

    @property
    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading.done()

    @property
    def metadata(self) -> ModelMetadata:
        if self.report is None:
            raise ModelNotReady(f"{self.queue.label} is not ready: {self._reason or self._state}")
        return self.report.metadata

    @property
    def pids(self) -> list[int]:
        """The processes of its workers."""
        return [replica.pid for replica in self._replicas if replica.pid]

    # Loading and unloading.

    async def load(self, order: LoadOrder, environment: Environment) -> None:
        """Brings workers of this order into service; those of an older one retire after.

        Raises `LoadFailed` with the reason; an older generation then goes on serving.
        """
        if self._is_loading:
            raise LoadFailed(f"{self.queue.label} is being loaded already: wait for it to finish")
        old, former = list(self._replicas), (self.order, self._environment)
        self.order, self._environment = order, environment
        self._loading = asyncio.get_running_loop().create_future()
        if not old:
            self._set_state("LOADING", "loading")
            self.queue.refuse(
                ErrorKind.MODEL_NOT_READY, f"{self.queue.label} is still loading: retry soon"
            )
        self._deaths = 0
        try:
            for _ in range(self._wanted):
                await self._start_one()
            await self._loading
        except LoadFailed:
            for replica in [each for each in self._replicas if each.order is order]:
                self._retire(replica)
            if old:
                self.order, self._environment = former
                self._set_state("READY", "")
                await self._fill_up()
            raise
        for replica in old:
            self._retire(replica)

    async def unload(self, timeout_s: float) -> None:
        """Takes no more requests, answers those it has, then ends the workers."""
        self._set_state("UNLOADING", "unloading")
        deadline_s = self._clock() + timeout_s
        while not self.queue.is_empty and self._clock() < deadline_s:
            await asyncio.sleep(0.005)
        self._set_state("UNAVAILABLE", "unloaded")
        self.queue.refuse(
            ErrorKind.MODEL_NOT_READY,
            f"{self.queue.label} is unloaded: load it with POST /v2/repository/models/"
            f"{self.name}/load",
        )
        for replica in list(self._replicas):
            self._retire(replica)
        self.report = None

    def _retire(self, replica: LocalReplica) -> None:
        if replica in self._replicas:
            self._replicas.remove(replica)
        self.queue.remove(replica)
        replica.retire()

    @property
    def _current(self) -> int:
        """Workers of the present order; during a reload those of the former one serve on."""
        return sum(replica.order is self.order for replica in self._replicas)

    async def _fill_up(self) -> None:
        """Starts workers up to the number wanted, for those lost meanwhile."""
        while self._current < self._wanted:
            await self._start_one()

    async def _start_one(self) -> None:
        assert self.order is not None and self._environment is not None
        replica = LocalReplica(self, self.order, self._environment, self._clock)
        self._replicas.append(replica)
        await replica.start()

    def _set_state(self, state: str, reason: str) -> None:
        self._state, self._reason = state, reason
        self.queue.metrics.ready.value = 1 if state == "READY" else 0

    # What the replicas report.

    def on_loaded(self, replica: LocalReplica, report: LoadReport) -> None:
        self.report = report
        self.queue.is_idempotent = report.metadata.idempotent
        self.queue.metrics.load_duration.value = report.load_s + report.warmup_s
        self._set_state("READY", "")
        self.queue.accept()
        self.queue.add(replica)
        if self._loading is not None and self._is_loading and replica.order is self.order:
            self._loading.set_result(None)

    def on_load_failed(self, replica: LocalReplica, reason: str) -> None:
        if replica in self._replicas:
            self._replicas.remove(replica)
        self._fail_load(replica, reason)

    def on_answered(
        self, replica: LocalReplica, batch: list[Call], rows: int, compute_ns: int
    ) -> None:
        metrics = self.queue.metrics
        metrics.observe_batch(len(batch), rows, compute_ns * 1e-9)
        self.queue.observe_answers(batch)
        if replica.state is ReplicaState.READY:
            self._deaths = 0
            self.queue.on_idle(replica, len(batch))
        else:
            self.queue.on_finished(len(batch))
            is_worn_out = replica in self._replicas
            replica.finish()
            if is_worn_out:
                # Counts as a death: a model that does this again and again must slow down.
                self._deaths += 1
                self._replicas.remove(replica)
                self._replace(replica, "worker has used up its memory")

    def on_refused(self, kind: ErrorKind) -> None:
        self.queue.metrics.count_error(kind)

    def on_closed(self, replica: LocalReplica) -> None:
        self.queue.remove(replica)

    def on_died(self, replica: LocalReplica, batch: list[Call], cause: str) -> None:
        was_serving = replica in self._replicas
        if was_serving:
            self._replicas.remove(replica)
        self.queue.remove(replica)
        self._deaths += 1
        if self._is_loading and self._deaths >= _MAX_LOAD_DEATHS:
            self._fail_load(replica, f"its {cause} while loading, {self._deaths} times")
        elif was_serving and self.is_wanted:
            self._replace(replica, cause)
            if self._deaths >= _MAX_DEATHS_IN_A_ROW:
                self._give_up_for_now(f"its {cause}, {self._deaths} times in a row")
        self.queue.on_lost(batch, f"did not answer: its {cause}")

    def _give_up_for_now(self, reason: str) -> None:
        """Refuses requests until a worker is ready again, rather than let them time out."""
        if any(replica.state is ReplicaState.READY for replica in self._replicas):
            return
        self._set_state("UNAVAILABLE", reason)
        self.queue.refuse(ErrorKind.MODEL_NOT_READY, f"{self.queue.label} is not ready: {reason}")

    def _fail_load(self, replica: LocalReplica, reason: str) -> None:
        error = LoadFailed(f"{self.queue.label} could not be loaded: {reason}")
        if not any(other.state is ReplicaState.READY for other in self._replicas):
            self._set_state("UNAVAILABLE", reason)
            self.queue.refuse(ErrorKind.MODEL_NOT_READY, str(error))
        if self._loading is not None and self._is_loading:
            self._loading.set_exception(error)
        elif self.is_wanted and replica.order is self.order:
            self._deaths += 1
            self._replace(replica, reason)

    def _replace(self, replica: LocalReplica, cause: str) -> None:
        """Starts another worker for one that has ended, later the more have died in a row."""
        if replica.order is not self.order:
            return
        delay_s = backoff_s(self._deaths)
        logger.warning("%s: %s; starting another in %.1f s", self.queue.label, cause, delay_s)
        self.queue.metrics.worker_restarts.value += 1
        task = asyncio.get_running_loop().create_task(self._start_later(delay_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if self.is_wanted and self._current < self._wanted:
            await self._start_one()

    # What the supervisor calls now and then.

    def check(self, now_s: float, *, request_timeout_s: float, load_timeout_s: float) -> None:
        """Answers calls past their deadline, and ends workers that do not answer."""
        self.queue.expire()
        for replica in list(self._replicas):
            lasted_s = now_s - replica.since_s
            if replica.state is ReplicaState.STARTING and lasted_s > load_timeout_s:
                # Once is enough here: a second try would take as long.
                self._deaths = _MAX_LOAD_DEATHS
                replica.kill(f"did not load within {load_timeout_s:g} s")
            for call in replica.batch:
                if call.deadline_s <= now_s and not call.is_abandoned:
                    self.queue.time_out(call, now_s)
            if replica.batch and lasted_s > request_timeout_s:
                replica.kill(f"did not answer within {request_timeout_s:g} s")

    def close(self) -> None:
        """Ends the workers at once."""
        self._reason = "unloaded"
        for task in self._tasks:
            task.cancel()
        for replica in list(self._replicas):
            self._retire(replica)
