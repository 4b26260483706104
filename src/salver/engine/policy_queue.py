"""The queue of a model with levels, time limits or preferred sizes, ordered answers or resources.

A `ModelQueue` whose calls wait in a `PriorityLine`. Plain models have the plain queue and pay for
none of this. Reads of a request what the model's configuration lets it say (`reads_requests`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from salver.engine.answer_order import AnswerOrder
from salver.engine.batching import BatchLimits, next_size
from salver.engine.call import Call
from salver.engine.priority_line import PriorityLine, Taken
from salver.engine.queue import Clock, ModelQueue, Replica, Scheduler
from salver.engine.rate_limiter import ResourceClaim
from salver.errors import ErrorKind, InvalidInput
from salver.inference.scheduling import Scheduling
from salver.protocol.schedule_parameters import UNSAID, Schedule, schedule_of
from salver.telemetry.metrics import ModelMetrics

_LEAST_WAIT_S = 1e-3
"""Timers may come a little early; looking twice for one request is cheap, for each it is not."""


class PolicyQueue(ModelQueue):
    """The calls of one version of a model, in the order that its policies say."""

    def __init__(
        self,
        label: str,
        limits: BatchLimits,
        scheduling: Scheduling,
        *,
        max_queued: int,
        metrics: ModelMetrics,
        scheduler: Scheduler,
        clock: Clock,
        claim: ResourceClaim | None = None,
    ) -> None:
        super().__init__(
            label,
            limits,
            max_queued=max_queued,
            metrics=metrics,
            scheduler=scheduler,
            clock=clock,
        )
        self._scheduling = scheduling
        self._lined_up = PriorityLine(scheduling)
        self._waiting = self._lined_up
        self._policies = metrics.policies
        self._reads = scheduling.reads_requests
        self._order = AnswerOrder() if scheduling.keeps_order else None
        self._claim = claim
        self._executions: dict[int, tuple[Replica, int, list[Call]]] = {}
        """By replica: the group that it runs as, and its batch; for models with a claim."""
        self._looks_s = math.inf
        """When the next look for calls that have run out is due."""
        if claim is not None:
            claim.start = self._start

    # Calls come.

    def submit(self, call: Call) -> None:
        """See `ModelQueue`."""
        self.metrics.requests.value += 1
        if self._refusal is not None:
            self._refuse(call, *self._refusal)
            return
        try:
            said = schedule_of(call.codec, call.aux, call.body) if self._reads else UNSAID
        except InvalidInput as error:
            self._refuse(call, ErrorKind.INVALID_INPUT, f"{self.label}: {error}")
            return
        if not self._enter(call, said):
            return
        if self._is_gated:
            self._wake()
        elif self._idle and not self._is_pump_due:
            self._is_pump_due = True
            self._scheduler.call_soon(self._pump)

    def _enter(self, call: Call, said: Schedule) -> bool:
        """Lines the call up, or refuses it: False."""
        line = self._lined_up
        level = line.level_of(said.priority)
        if len(line) + self._held >= self._max_queued:
            text = f"{self.label} has {self._max_queued} requests waiting, its limit: retry later"
            self._refuse(call, ErrorKind.QUEUE_FULL, text)
            return False
        if line.is_full(level):
            most = self._scheduling.policy_of(level).max_queued
            where = f" on priority level {level}" if level else ""
            self._policies.full.value += 1
            text = f"{self.label}: Exceeds maximum queue size of {most}{where}: retry later"
            self._refuse(call, ErrorKind.UNAVAILABLE, text)
            return False
        now_s = self._clock()
        self._look_at(line.enter(call, level, said.timeout_us * 1e-6, now_s), now_s)
        return True

    @property
    def _held(self) -> int:
        """Answers that wait for others: there is no other bound on them."""
        return 0 if self._order is None else max(0, len(self._order) - self._in_flight)

    # Time passes.

    def _look_at(self, at_s: float, now_s: float) -> None:
        """Sees to it that calls which run out then are refused then."""
        if at_s < self._looks_s:
            self._looks_s = at_s
            delay_s = max(_LEAST_WAIT_S, at_s - now_s)
            self._scheduler.call_later(delay_s, lambda: self._look(at_s))

    def _look(self, at_s: float) -> None:
        if at_s != self._looks_s:
            return  # An earlier look has come in between, and has made up for this one.
        self._looks_s = math.inf
        now_s = self._clock()
        for call in self._lined_up.run_out(now_s):
            self._reject(call, now_s)
        self._look_at(self._lined_up.next_run_out_s, now_s)

    def expire(self) -> None:
        """See `ModelQueue`."""
        now_s = self._clock()
        self._refuse_late(self._lined_up.expire(now_s), now_s)
        if self._order is not None:
            self._order.release()

    def _refuse_late(self, taken: Taken, now_s: float) -> None:
        for call in taken.late:
            self._expire(call, now_s)
        for call in taken.rejected:
            self._reject(call, now_s)
        if taken.delayed:
            self._policies.delayed.value += len(taken.delayed)

    def _reject(self, call: Call, now_s: float) -> None:
        waited_s = now_s - call.arrived_s
        self._policies.timed_out.value += 1
        text = f"{self.label}: Request timeout expired: it waited {waited_s:.3f} s for a worker"
        self._fail(call, ErrorKind.UNAVAILABLE, f"{text}; retry later")

    # Replicas come free.

    def on_idle(self, replica: Replica, batch_length: int) -> None:
        """See `ModelQueue`."""
        self._end(id(replica))
        super().on_idle(replica, batch_length)
        self._settle()

    def on_finished(self, replica: Replica, batch_length: int) -> None:
        """See `ModelQueue`."""
        self._end(id(replica))
        super().on_finished(replica, batch_length)
        self._settle()

    def on_lost(self, batch: Sequence[Call], cause: str) -> None:
        """See `ModelQueue`."""
        for key, (_, _, sent) in list(self._executions.items()):
            if sent is batch:
                self._end(key)
        super().on_lost(batch, cause)
        if self._order is not None:
            self._order.release()
        self._settle()

    def _end(self, key: int) -> None:
        """What the replica's execution held is free."""
        found = self._executions.pop(key, None)
        if found is not None and self._claim is not None:
            self._claim.end(found[1])

    def _settle(self) -> None:
        if self._claim is not None:
            self._claim.settle()

    def _pump(self) -> None:
        self._is_pump_due = False
        while self._idle and self._lined_up:
            now_s = self._clock()
            size = self._next_size(now_s)
            if not size:
                return
            if self._claim is not None:
                self._claim.ask()
                return
            self._send(size, now_s)

    def _next_size(self, now_s: float) -> int:
        """How many calls go together now; 0: the window is open, and is waited for."""
        line = self._lined_up
        size, delay_s = next_size(
            len(line), line.oldest_arrived_s, now_s, self._limits, self._scheduling.preferred
        )
        if not size and not self._is_window_open:
            self._is_window_open = True
            self._scheduler.call_later(delay_s, self._close_window)
        return size

    def _start(self, group: int) -> bool:
        """The resources of one execution are there. False: nothing is sent."""
        now_s = self._clock()
        size = self._next_size(now_s) if self._idle and self._lined_up else 0
        if not size:
            return False
        replica, batch = self._send(size, now_s)
        if batch:
            self._executions[id(replica)] = (replica, group, batch)
        if self._idle and self._lined_up and self._claim is not None:
            self._claim.ask()
        return bool(batch)

    def _send(self, size: int, now_s: float) -> tuple[Replica, list[Call]]:
        """Gives the next idle replica so many calls, as far as they are still wanted."""
        taken = self._lined_up.take(size, self._limits.max_bytes, now_s)
        self._refuse_late(taken, now_s)
        replica, batch = self._idle[0], taken.batch
        if batch:
            self._idle.popleft()
            if self._order is not None:
                batch = [self._order.hold(call) for call in batch]
            self._in_flight += len(batch)
            observe = self.metrics.observe_queue_time
            for call in batch:
                observe(now_s - call.arrived_s)
            replica.send(batch)
        return replica, batch
