"""One version of a model on this machine: its queue, its workers, and what is known of it.

Owns the workers' number: starts and retires them as `scale` says, down to none and back on
the first call; replaces those that die (with back-off), and swaps them for those of a newer
artifact. A queue lives as long as the model does, so none of this loses a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

from salver.backends.local.cache_facts import CacheFacts
from salver.backends.local.crew import Crew, to_retire
from salver.backends.local.engine_facts import EngineFacts
from salver.backends.local.environment import Environment
from salver.backends.local.options import ModelOptions
from salver.backends.local.readiness import (
    LOADING,
    READY,
    STANDBY,
    STARTING,
    UNAVAILABLE,
    UNLOADED,
    UNLOADING,
    Readiness,
)
from salver.backends.local.replica import LocalReplica
from salver.backends.local.worker_messages import CacheCounts, LoadOrder, LoadReport, WorkerFacts
from salver.backends.processes.output import OutputLog
from salver.control.lifecycle import ReplicaState, backoff_s
from salver.engine.call import Call
from salver.engine.model_facts import ModelFacts, statistics_of
from salver.engine.ports import ModelStatus
from salver.engine.queue import Clock, ModelQueue
from salver.engine.rate_limiter import ResourceClaim
from salver.engine.tracing import Tap
from salver.errors import ErrorKind, LoadFailed, ModelNotReady
from salver.inference.metadata import ModelMetadata

logger = logging.getLogger("salver.supervisor")

_MAX_DEATHS_IN_A_ROW = 5
"""After so many deaths without an answer between, callers are told rather than kept waiting."""
_MAX_LOAD_DEATHS = 3
"""A worker that dies so often while it loads is not started again by itself."""
_LEAST_HOLD_OFF_S = 1.0
"""A model that could not be started on demand is not tried again before."""
_CLOCK_STEP_S = 1e-3
_CANCEL_S = 1.0
"""How long a stream that has been cancelled may take to end."""


class LocalModel:
    """Implements the engine's `ServedModel` with worker processes.

    `on_wanted` is called for the first call that waits while there is no worker; unless it is
    given, the model starts one by itself.
    """

    def __init__(
        self,
        name: str,
        version: str,
        queue: ModelQueue,
        options: ModelOptions,
        *,
        clock: Clock,
        on_wanted: Callable[[], object] | None = None,
        output: OutputLog | None = None,
        claim: ResourceClaim | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.queue = queue
        self.options = options
        self.output = output or OutputLog()
        """What its workers print."""
        self._queue_call: Callable[[Call], None] = (
            self._submit_within if options.timeout_s else queue.submit
        )
        self.submit: Callable[[Call], None] = self._queue_call
        self.order: LoadOrder | None = None
        self.report: LoadReport | None = None
        self.on_awake: Callable[[LocalModel], object] = lambda model: None
        """Called when it is wanted: until it `is_at_rest` and `is_gone`, it has to be checked."""
        self.on_worker_gone: Callable[[], object] | None = None
        """Called when the process of a worker has ended, whatever the reason."""
        self.memory_bytes = 0
        """What one worker takes, where somebody measures it; 0: nobody does."""
        self.engines = EngineFacts(queue.label, queue.metrics)
        """What its workers say of the engines that answer in their framework's place."""
        self._caches = CacheFacts(queue.metrics)
        self._wanted = options.replicas
        self._clock = clock
        self._environment: Environment | None = None
        self._crew = Crew(self, clock)
        self._claim = claim
        """What it needs of resources that models share; None: nothing."""
        self._on_wanted = on_wanted or self.wake
        self._readiness = Readiness(queue.label, queue.metrics.ready)
        self._failure = ""
        self._failures = 0
        self._deaths = 0
        self._restarts = 0
        """Workers that will be started once their back-off is over."""
        self._is_resting = False
        """No worker is wanted, or those that a call has woken are not ready yet."""
        self._is_holding_off = False
        self._loading: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        queue.refuse(ErrorKind.MODEL_NOT_READY, f"{queue.label} is not loaded")

    # What callers may know.

    @property
    def status(self) -> ModelStatus:
        return ModelStatus(self.name, self.version, self._readiness.state, self._readiness.reason)

    @property
    def is_ready(self) -> bool:
        return self._readiness.is_ready

    @property
    def is_wanted(self) -> bool:
        """It should be serving, whether it is or not."""
        return self._readiness.reason != UNLOADED

    @property
    def is_gone(self) -> bool:
        """It has no worker, and none of its former ones' processes is left."""
        return self._crew.is_gone

    @property
    def is_at_rest(self) -> bool:
        """It stands by, and nobody is about to change that."""
        is_awake = self._crew.members or self.is_loading or self._is_holding_off
        return self._is_resting and not is_awake and not self.is_awaited and self.queue.is_empty

    @property
    def is_awaited(self) -> bool:
        """Somebody waits for it to be ready, other than calls in the queue."""
        return self._readiness.is_awaited

    @property
    def failure(self) -> str:
        """Why its last load failed; empty once it has loaded."""
        return self._failure

    @property
    def replicas(self) -> int:
        """Workers there are, those included that are loading."""
        return len(self._crew.members)

    @property
    def processes(self) -> int:
        """As `replicas`, with those that are about to end."""
        return self._crew.processes

    @property
    def ready_replicas(self) -> int:
        """Workers that take requests."""
        return self._crew.ready

    @property
    def wanted_replicas(self) -> int:
        """As many workers as `scale` asked for."""
        return self._wanted

    @property
    def is_loading(self) -> bool:
        """A `load` is under way."""
        return self._loading is not None and not self._loading.done()

    @property
    def metadata(self) -> ModelMetadata:
        if self.report is None:
            reason = self._readiness.reason or self._readiness.state
            if reason == STANDBY:
                reason = "standby, and not loaded yet: its first request loads it"
            raise ModelNotReady(f"{self.queue.label} is not ready: {reason}")
        return self.report.metadata

    @property
    def environment(self) -> Environment | None:
        """The fork server of its workers, None before its first load."""
        return self._environment

    @property
    def pids(self) -> list[int]:
        """The processes of its workers."""
        return self._crew.pids

    async def wait_ready(self, timeout_s: float) -> None:
        """Returns once the model is ready and its metadata known; starts it if it stands by.

        Raises `ModelNotReady` with the reason, or `DeadlineExceeded`.
        """
        if self.is_ready and self.report is not None:
            return
        is_on_demand = self._is_resting and not self._is_holding_off
        if not is_on_demand and not self.is_loading:
            raise ModelNotReady(f"{self.queue.label} is not ready: {self._readiness.reason}")
        waiter = self._readiness.waiter()
        if is_on_demand:
            self._on_call()
        await self._readiness.wait(waiter, timeout_s)

    def _submit_within(self, call: Call) -> None:
        """Gives the call the model's time limit in place of the server's, never a caller's."""
        granted_s, own_deadline_s = call.granted_s, call.arrived_s + self.options.timeout_s
        if (
            granted_s > self.options.request_timeout_s - _CLOCK_STEP_S
            or own_deadline_s < call.deadline_s
        ):
            call.limit(own_deadline_s)
        self.queue.submit(call)

    def trace_with(self, tap: Tap | None) -> None:
        """From now on calls pass through the tap on their way in; None: through nothing."""
        queue_call = self._queue_call
        self.submit = queue_call if tap is None else lambda call: queue_call(tap(call))

    # Loading and unloading.

    async def load(self, order: LoadOrder, environment: Environment) -> None:
        """Brings workers of this order into service; those of an older one retire after.

        Raises `LoadFailed` with the reason; an older generation then goes on serving. Calls to
        a model in standby wait meanwhile, those to one without are refused. What has begun goes
        on to its end, whether or not somebody waits for it.
        """
        if self._loading is not None:
            raise LoadFailed(f"{self.queue.label} is being loaded already: wait for it to finish")
        self._enter_claim()
        old, former = list(self._crew.members), (self.order, self._environment)
        self.order, self._environment = order, environment
        self._wanted = max(1, self._wanted)
        self._loading = asyncio.get_running_loop().create_future()
        self._loading.add_done_callback(partial(self._end_load, order, old, former))
        self._deaths = 0
        if not old:
            self._await_first()
        for _ in range(self._wanted):
            self._start_worker(order, environment)
        await asyncio.shield(self._loading)

    def _enter_claim(self) -> None:
        """From now on its executions count. Raises `LoadFailed` if they could never start."""
        if self._claim is None:
            return
        try:
            self._claim.enter()
        except LoadFailed as error:
            if not self.replicas:
                self.fail_start(str(error))
            raise LoadFailed(f"{self.queue.label} could not be loaded: {error}") from error

    def _end_load(
        self,
        order: LoadOrder,
        old: list[LocalReplica],
        former: tuple[LoadOrder | None, Environment | None],
        loading: asyncio.Future[None],
    ) -> None:
        has_failed = loading.cancelled() or loading.exception() is not None
        if self._loading is not loading:
            return  # It was broken off, and its workers have been let go.
        self._loading = None
        for replica in self._crew.of(order) if has_failed else old:
            self._retire(replica)
        if has_failed and (old or self._is_resting):
            self.order, self._environment = former
        elif has_failed:
            self._environment = None
        if has_failed and old:
            self._readiness.set(READY, "")
        if old or not has_failed:
            self._settle()

    def _await_first(self) -> None:
        if self._is_resting:
            self._await_wake_up()
        else:
            self._readiness.set(LOADING, "loading")
            self.queue.refuse(
                ErrorKind.MODEL_NOT_READY, f"{self.queue.label} is still loading: retry soon"
            )

    def stand_by(
        self, order: LoadOrder | None = None, environment: Environment | None = None
    ) -> None:
        """Serves this order from now on, without a worker until the first call.

        Without an order, whoever was given as `on_wanted` brings it, through `load`. Workers
        that there are retire.
        """
        self._retire_all()
        self.order, self._environment = order, environment
        self._wanted = 0
        self._break_off("was sent into standby")
        try:
            self._enter_claim()
        except LoadFailed:
            self.order = None  # It has been said why; no call is to start it.
        else:
            self._rest()

    def _break_off(self, what: str) -> None:
        """Whoever waits for a load to end does so in vain."""
        loading, self._loading = self._loading, None
        if loading is not None and not loading.done():
            loading.set_exception(LoadFailed(f"{self.queue.label} {what} before it had loaded"))

    async def unload(self, timeout_s: float) -> None:
        """Takes no more requests, answers those it has, then ends the workers."""
        self._readiness.set(UNLOADING, "unloading")
        self.queue.finish(
            ErrorKind.MODEL_NOT_READY, f"{self.queue.label} is being unloaded: load it again"
        )
        deadline_s = self._clock() + timeout_s
        while not self.queue.is_empty and self._clock() < deadline_s:
            await asyncio.sleep(0.005)
        self._readiness.set(UNAVAILABLE, UNLOADED)
        self._is_resting = False
        self._break_off("was unloaded")
        self.queue.refuse(
            ErrorKind.MODEL_NOT_READY,
            f"{self.queue.label} is unloaded: load it with POST /v2/repository/models/"
            f"{self.name}/load",
        )
        self._retire_all()
        self._crew.kill_unfinished("was not done when its model was unloaded")
        if self._claim is not None:
            self._claim.leave()
        self.report = None

    def _retire_all(self) -> None:
        for replica in list(self._crew.members):
            self._retire(replica)

    def _retire(self, replica: LocalReplica) -> None:
        self.queue.remove(replica)
        self._crew.retire(replica)

    # Scaling.

    def scale(self, replicas: int) -> None:
        """So many workers from now on, started and retired as requests allow; 0: standby.

        Returns at once. No request is lost: a worker retires after its batch, the last one
        after the queue is empty, and calls to a model without workers wait for one.
        """
        self._wanted = replicas
        if not self._is_holding_off and not self.is_loading:
            self._settle()

    def wake(self) -> None:
        """Starts a worker if the model stands by."""
        self.scale(max(1, self._wanted))

    def _settle(self) -> None:
        """Starts or retires workers until there are as many as wanted."""
        if self.order is None or self._environment is None or self._readiness.is_leaving:
            return
        current = self._crew.of(self.order)
        # The last worker stays for the calls that wait; `check` comes back to it.
        for replica in to_retire(current, len(current) - self._least_replicas):
            self._retire(replica)
        missing = self._wanted - len(current) - self._restarts
        if missing > 0 and self._is_resting:
            self._deaths = 0
            self._await_wake_up()
        for _ in range(missing):
            self._start_worker(self.order, self._environment)
        if self._wanted == 0 and not self._crew.members:
            self._rest()

    @property
    def _least_replicas(self) -> int:
        """As many as are wanted; one for calls that wait all the same."""
        return max(self._wanted, 1 if self.queue.queued else 0)

    def _await_wake_up(self) -> None:
        """A worker is about to start, and calls may wait for it."""
        self.queue.accept()
        if self.is_ready:
            self._readiness.set(READY, STARTING)

    def _rest(self) -> None:
        """No worker, and an open queue: the next call starts one."""
        self._is_resting = True
        if self._failure:
            self._readiness.set(UNAVAILABLE, self._failure)
        else:
            self._readiness.set(READY, STANDBY)
        self.queue.rest(self._on_call)

    # What the replicas report.

    def on_loaded(self, replica: LocalReplica, report: LoadReport) -> None:
        self.report = report
        self.engines.loaded(report.compiled)
        self.queue.is_idempotent = report.metadata.idempotent
        self.queue.metrics.load_duration.value = report.load_s + report.warmup_s
        self._is_resting = False
        self._failure, self._failures = "", 0
        if not self._readiness.is_leaving:
            self._readiness.loaded()
            self.queue.accept()
        self.queue.add(replica)
        if self._loading is not None and self.is_loading and replica.order is self.order:
            self._loading.set_result(None)

    def on_load_failed(self, replica: LocalReplica, reason: str) -> None:
        self._crew.drop(replica)
        self._fail_load(replica, reason)

    def on_answered(
        self, replica: LocalReplica, batch: list[Call], rows: int, compute_ns: int
    ) -> None:
        metrics = self.queue.metrics
        compute_s = compute_ns * 1e-9
        metrics.observe_batch(len(batch), rows, compute_s)
        worker_s = self.queue.observe_answers(batch) - replica.since_s
        waited_s = replica.since_s - batch[0].arrived_s
        metrics.batch_table.observe(rows, len(batch), waited_s, compute_s, worker_s)
        if replica.state is ReplicaState.READY:
            self._deaths = 0
            self.queue.on_idle(replica, len(batch))
        else:
            self.queue.on_finished(replica, len(batch))
            replica.finish()
            if self._crew.drop(replica):
                # Counts as a death: a model that does this again and again must slow down.
                self._deaths += 1
                self._replace(replica, "worker had to be replaced, as its log says")

    def on_refused(self, kind: ErrorKind) -> None:
        self.queue.metrics.answered_errors += 1
        self.queue.metrics.count_error(kind)

    def on_facts(self, replica: LocalReplica, facts: WorkerFacts) -> None:
        self.engines.note(id(replica), facts)

    def on_cache(self, replica: LocalReplica, counts: CacheCounts) -> None:
        self._caches.note(id(replica), counts)

    def facts(self) -> Sequence[ModelFacts]:
        """See `KnownModel`."""
        options = self.options
        return [
            ModelFacts(
                self.name,
                self.version,
                statistics_of(self.queue.metrics, self._clock(), time.time),
                workers=self.ready_replicas,
                threads=options.threads,
                max_batch_rows=options.max_batch_rows,
                max_batch_delay_s=options.max_batch_delay_s,
                scheduling=options.scheduling,
                compiled=self.engines.report,
                counts=self.engines.counts,
            )
        ]

    def on_part(self, call: Call, *, is_first: bool) -> None:
        streams = self.queue.metrics.streams
        streams.parts.value += 1
        if is_first:
            streams.first_part(self._clock() - call.arrived_s)

    def on_left(self, call: Call) -> None:
        self.queue.metrics.streams.left.value += 1

    def on_closed(self, replica: LocalReplica) -> None:
        self.queue.remove(replica)

    def on_gone(self, replica: LocalReplica) -> None:
        self._crew.forget(replica)
        self.engines.forget(id(replica))
        self._caches.forget(id(replica))
        if self.on_worker_gone is not None:
            self.on_worker_gone()

    def on_output(self, source: str, data: bytes) -> None:
        self.output.feed(data, source)

    def on_output_end(self, source: str) -> None:
        self.output.end(source)

    def on_details(self, source: str, text: str) -> None:
        self.output.keep(text, source)

    def on_died(self, replica: LocalReplica, batch: list[Call], cause: str) -> None:
        was_serving = self._crew.drop(replica)
        self._crew.forget(replica)
        self.queue.remove(replica)
        self._deaths += 1
        is_first = self.is_loading or self._is_resting
        if is_first and was_serving and self._deaths >= _MAX_LOAD_DEATHS:
            times = "" if replica.was_killed else f", {self._deaths} times"
            self._fail_load(
                replica,
                f"its {cause} while loading {replica.order.path}{times}; see its log, and copy or "
                "save the model again",
            )
        elif was_serving and self.is_wanted:
            self._replace(replica, cause)
            if self._deaths >= _MAX_DEATHS_IN_A_ROW:
                self._give_up_for_now(f"its {cause}, {self._deaths} times in a row")
        self.queue.on_lost(batch, f"did not answer: its {cause}")

    def _give_up_for_now(self, reason: str) -> None:
        """Refuses requests until a worker is ready again, rather than let them time out."""
        if self._crew.ready:
            return
        self._refuse(reason, f"{self.queue.label} is not ready: {reason}")

    def _refuse(self, reason: str, message: str) -> None:
        if not self._readiness.is_leaving:
            self._readiness.set(UNAVAILABLE, reason)
        self.queue.refuse(ErrorKind.MODEL_NOT_READY, message)

    def _fail_load(self, replica: LocalReplica, reason: str) -> None:
        message = f"{self.queue.label} could not be loaded: {reason}"
        if not self._crew.ready:
            self._failure = reason
            self._refuse(reason, message)
        if self._is_resting:
            self._hold_off()
        if self._loading is not None and self.is_loading:
            self._loading.set_exception(LoadFailed(message))
        elif self.is_wanted and not self._is_resting and replica.order is self.order:
            self._deaths += 1
            self._replace(replica, reason)

    def fail_start(self, reason: str) -> None:
        """Refuses the calls to a model in standby, which cannot be started for this reason."""
        self._failure = reason
        self._refuse(reason, f"{self.queue.label} could not be loaded: {reason}")
        self._hold_off()

    def _hold_off(self) -> None:
        """Gives up starting on demand, and for a moment does not try again."""
        self._retire_all()
        if self._is_holding_off:
            return
        self._is_holding_off = True
        self._failures += 1
        delay_s = max(_LEAST_HOLD_OFF_S, backoff_s(self._failures))
        logger.warning("%s: %s; no new try for %.1f s", self.queue.label, self._failure, delay_s)
        self._spawn(self._rest_later(delay_s))

    async def _rest_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._is_holding_off = False
        if not self._is_resting:
            self._settle()  # A load has gone well meanwhile; `scale` was not heeded.
        elif not self.is_loading and not self._crew.members:
            self._rest()

    def _replace(self, replica: LocalReplica, cause: str) -> None:
        """Starts another worker for one that has ended, later the more have died in a row."""
        if replica.order is not self.order:
            return
        delay_s = backoff_s(self._deaths)
        logger.warning("%s: %s; starting another in %.1f s", self.queue.label, cause, delay_s)
        self.queue.metrics.worker_restarts.value += 1
        self._restarts += 1
        self._spawn(self._start_later(delay_s))

    async def _start_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._restarts -= 1
        order, environment = self.order, self._environment
        if not self.is_wanted or order is None or environment is None:
            return
        if len(self._crew.of(order)) < self._least_replicas:
            self._start_worker(order, environment)
        elif self._wanted == 0:
            self._settle()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the supervisor calls now and then.

    def _on_call(self) -> None:
        """A call has come to a model at rest."""
        self.on_awake(self)
        self._on_wanted()

    def _start_worker(self, order: LoadOrder, environment: Environment) -> None:
        self._crew.start(order, environment)
        self.on_awake(self)

    def check(self, now_s: float) -> None:
        """Answers calls past their deadline, and ends workers that do not answer."""
        self.queue.expire()
        self.engines.ask(lambda: self._crew.members, now_s)
        for replica in self._crew.everybody:
            self._check_replica(replica, now_s)
        self._crew.kill_stuck(now_s, self.options.load_timeout_s)
        if self._wanted < len(self._crew.members) and not self.is_loading:
            self._settle()
        self._crew.forget_ended()

    def _check_replica(self, replica: LocalReplica, now_s: float) -> None:
        if replica.state is ReplicaState.DEAD:
            return
        lasted_s = now_s - replica.since_s
        load_timeout_s = self.options.load_timeout_s
        if replica.state is ReplicaState.STARTING and lasted_s > load_timeout_s:
            # Once is enough here: a second try would take as long.
            self._deaths = _MAX_LOAD_DEATHS
            self._crew.kill(replica, f"did not load within {load_timeout_s:g} s")
        stream = replica.stream
        for call in replica.batch:
            if call.deadline_s <= now_s and not call.is_abandoned:
                self.queue.time_out(call, now_s, "" if stream is None else stream.overdue())
        if replica.batch:
            replica.cancel_abandoned()
        request_timeout_s = self.options.timeout_s or self.options.request_timeout_s
        if stream is not None:
            # It may only have waited for its client: then it ends once it has been told.
            request_timeout_s += _CANCEL_S
        if replica.batch and lasted_s > request_timeout_s:
            self._crew.kill(replica, f"did not answer within {request_timeout_s:g} s")

    def close(self) -> None:
        """Ends the workers at once."""
        self._readiness.reason = UNLOADED
        for task in self._tasks:
            task.cancel()
        self._break_off("was closed")
        self._retire_all()
        self._crew.kill_unfinished("was not done when the server stopped")
        if self._claim is not None:
            self._claim.leave()
