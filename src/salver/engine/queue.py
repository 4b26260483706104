"""One model's queue: calls wait here until a replica is free, and are accounted for here.

Every call that enters leaves exactly once: answered, refused, expired or abandoned. Owns no
socket and no clock: replicas are a port, time and timers are passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from salver.engine.batching import BatchLimits, take_batch, wait_s
from salver.engine.call import Call
from salver.errors import ErrorKind
from salver.telemetry.metrics import ModelMetrics

Clock = Callable[[], float]
"""A monotonic clock in seconds; not the loop's own, which ticks in milliseconds."""


class Scheduler(Protocol):
    """The part of an event loop that the queue needs."""

    def call_soon(self, callback: Callable[[], object]) -> Any: ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any: ...


class Replica(Protocol):
    """A worker as the queue sees it: takes one batch at a time."""

    def send(self, batch: list[Call]) -> None:
        """Starts on the batch; `ModelQueue.on_idle` or `on_lost` follows."""


class Waiting(Protocol):
    """The calls that wait, in the order in which they are served."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Call]: ...

    def append(self, call: Call, /) -> object: ...

    def extendleft(self, calls: Iterable[Call], /) -> object: ...

    def clear(self) -> object: ...


class ModelQueue:
    """The calls of one version of a model, first come, first served."""

    def __init__(
        self,
        label: str,
        limits: BatchLimits,
        *,
        max_queued: int,
        metrics: ModelMetrics,
        scheduler: Scheduler,
        clock: Clock,
    ) -> None:
        self.label = label
        self.metrics = metrics
        self.is_idempotent = True
        self._limits = limits
        self._max_queued = max_queued
        self._scheduler = scheduler
        self._clock = clock
        self._line: deque[Call] = deque()
        self._waiting: Waiting = self._line
        self._idle: deque[Replica] = deque()
        self._in_flight = 0
        self._is_pump_due = False
        self._is_window_open = False
        self._is_gated = False
        """It refuses, or it rests; one check for both on the way in."""
        self._refusal: tuple[ErrorKind, str] | None = None
        self._is_finishing = False
        """What it refuses are new calls only."""
        self._on_wanted: Callable[[], object] | None = None

    @property
    def concurrency(self) -> int:
        """Calls that are here now, waiting or with a replica."""
        return len(self._waiting) + self._in_flight

    @property
    def queued(self) -> int:
        """Calls that wait for a replica."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Calls that a replica is working on."""
        return self._in_flight

    @property
    def is_empty(self) -> bool:
        """No call waits and none is in flight."""
        return not self._waiting and not self._in_flight

    def submit(self, call: Call) -> None:
        """Queues the call, or refuses it at once through `call.fail`."""
        self.metrics.requests.value += 1
        if self._is_gated:
            self._submit_gated(call)
            return
        if len(self._waiting) >= self._max_queued:
            self._refuse(
                call,
                ErrorKind.QUEUE_FULL,
                f"{self.label} has {self._max_queued} requests waiting, its limit: retry later",
            )
            return
        self._waiting.append(call)
        if self._idle and not self._is_pump_due:
            # At the end of this turn of the loop: requests read in the same turn go together.
            self._is_pump_due = True
            self._scheduler.call_soon(self._pump)

    def _submit_gated(self, call: Call) -> None:
        """Refuses the call; or the queue rests, so it is the first, and wakes it."""
        if self._refusal is not None:
            self._refuse(call, *self._refusal)
        else:
            self._waiting.append(call)
            self._wake()

    def refuse(self, kind: ErrorKind, message: str) -> None:
        """From now on refuses every call, those that wait included."""
        self.finish(kind, message)
        self._is_finishing = False
        waiting = list(self._waiting)
        self._waiting.clear()
        for call in waiting:
            self._fail(call, kind, message)

    def finish(self, kind: ErrorKind, message: str) -> None:
        """From now on refuses every call that comes; those that are here are answered."""
        self._refusal = (kind, message)
        self._is_finishing = True
        self._is_gated = True

    def accept(self) -> None:
        """Takes calls again after `refuse`, or has replicas again after `rest`."""
        self._refusal = None
        self._is_finishing = False
        self._on_wanted = None
        self._is_gated = False

    def rest(self, on_wanted: Callable[[], object]) -> None:
        """Has no replicas but takes calls: `on_wanted` is called for the first one that waits.

        After that call the queue counts as awake; until replicas come, calls wait.
        """
        self._refusal = None
        self._is_finishing = False
        self._on_wanted = on_wanted
        self._is_gated = True
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        on_wanted = self._on_wanted
        self.accept()
        if on_wanted is not None:
            on_wanted()

    def add(self, replica: Replica) -> None:
        """A replica is ready for its first batch."""
        self._idle.append(replica)
        self._pump()

    def remove(self, replica: Replica) -> None:
        """An idle replica takes no more batches."""
        if replica in self._idle:
            self._idle.remove(replica)

    def on_idle(self, replica: Replica, batch_length: int) -> None:
        """The replica has answered a batch; it gets the next one before answers go out."""
        self._in_flight -= batch_length
        self._idle.append(replica)
        if self._waiting:
            self._pump()

    def on_finished(self, replica: Replica, batch_length: int) -> None:
        """The replica has answered its last batch and takes no more."""
        self._in_flight -= batch_length

    def on_lost(self, batch: Sequence[Call], cause: str) -> None:
        """The replica died with the batch: each call is tried once more where that is safe."""
        self._in_flight -= len(batch)
        retried = []
        for call in batch:
            if call.is_abandoned:
                continue
            call.attempts += 1
            if call.attempts > 1 or not self.is_idempotent:
                self._fail(call, ErrorKind.MODEL_FAILED, f"{self.label} {cause}")
            else:
                retried.append(call)
        self.metrics.retries.value += len(retried)
        if self._refusal is not None and not self._is_finishing:
            for call in retried:
                self._fail(call, *self._refusal)
            return
        self._waiting.extendleft(reversed(retried))
        if retried and self._is_gated and not self._is_finishing:
            self._wake()
        self._pump()

    def expire(self) -> None:
        """Answers the waiting calls whose deadline has passed; to be called now and then."""
        now_s = self._clock()
        if not any(call.deadline_s <= now_s or call.is_abandoned for call in self._waiting):
            return
        waiting = list(self._waiting)
        self._waiting.clear()
        for call in waiting:
            if call.is_abandoned:
                continue
            if call.deadline_s <= now_s:
                self._expire(call, now_s)
            else:
                self._waiting.append(call)

    def time_out(self, call: Call, now_s: float, fact: str = "") -> None:
        """Answers a call that is with a replica and past its deadline; nobody waits for it then.

        `fact` is what did not happen in time, if it is another than the answer.
        """
        fact = fact or f"did not answer within {now_s - call.arrived_s:.3f} s, the time limit"
        self._fail(call, ErrorKind.DEADLINE_EXCEEDED, f"{self.label} {fact}")
        call.is_abandoned = True

    def observe_answers(self, batch: Sequence[Call]) -> float:
        """Accounts for the latency of a batch that has just been answered; gives the time."""
        now_s = self._clock()
        self.metrics.last_answer_s = now_s
        observe = self.metrics.observe_latency
        for call in batch:
            observe(now_s - call.arrived_s)
        return now_s

    def _pump(self) -> None:
        self._is_pump_due = False
        line = self._line
        while self._idle and line:
            now_s = self._clock()
            delay_s = wait_s(len(line), line[0].arrived_s, now_s, self._limits)
            if delay_s > 0.0:
                if not self._is_window_open:
                    self._is_window_open = True
                    self._scheduler.call_later(delay_s, self._close_window)
                return
            batch, expired = take_batch(line, self._limits, now_s)
            for call in expired:
                self._expire(call, now_s)
            if batch:
                self._in_flight += len(batch)
                observe = self.metrics.observe_queue_time
                for call in batch:
                    observe(now_s - call.arrived_s)
                self._idle.popleft().send(batch)

    def _close_window(self) -> None:
        self._is_window_open = False
        self._pump()

    def _expire(self, call: Call, now_s: float) -> None:
        waited_s = now_s - call.arrived_s
        self._fail(
            call,
            ErrorKind.DEADLINE_EXCEEDED,
            f"the request waited {waited_s:.3f} s for {self.label} and reached its time limit",
        )

    def _refuse(self, call: Call, kind: ErrorKind, message: str) -> None:
        self.metrics.count_refusal(kind)
        call.fail(kind, message)

    def _fail(self, call: Call, kind: ErrorKind, message: str) -> None:
        self.metrics.count_error(kind)
        call.fail(kind, message)
