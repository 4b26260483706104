"""The line of calls against a slow one on paper, which sorts a list anew for every call."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.queue_stage import RecordedCall

from salver.engine.call import Call
from salver.engine.priority_line import PriorityLine
from salver.inference.scheduling import QueuePolicy, Scheduling


@dataclass
class Entry:
    call: Call
    level: int
    order: int
    expires_s: float
    is_delayed: bool = False


@dataclass
class Paper:
    """Levels, limits and delays, as one reads of them."""

    scheduling: Scheduling
    entries: list[Entry] = field(default_factory=list)
    order: int = 0

    def enter(self, call: Call, level: int, timeout_s: float, now_s: float) -> None:
        policy = self.scheduling.policy_of(level)
        limits = [each for each in (policy.timeout_s,) if each]
        if policy.allows_override and timeout_s:
            limits.append(timeout_s)
        self.order += 1
        self.entries.append(Entry(call, level, self.order, now_s + min(limits, default=math.inf)))

    def is_full(self, level: int) -> bool:
        most = self.scheduling.policy_of(level).max_queued
        return most > 0 and sum(each.level == level for each in self.entries) >= most

    def take(self, most: int, now_s: float) -> tuple[list[Call], list[Call], list[Call]]:
        batch: list[Call] = []
        late: list[Call] = []
        rejected: list[Call] = []
        while self.entries and len(batch) < most:
            first = min(self.entries, key=lambda each: (each.level, each.is_delayed, each.order))
            is_over = not first.is_delayed and first.expires_s <= now_s
            is_delaying = self.scheduling.policy_of(first.level).is_delaying
            if is_over and is_delaying and not self._is_gone(first, now_s):
                self.order += 1
                first.is_delayed, first.order = True, self.order
                continue
            self.entries.remove(first)
            if first.call.is_abandoned:
                continue
            if first.call.deadline_s <= now_s:
                late.append(first.call)
            elif is_over:
                rejected.append(first.call)
            else:
                batch.append(first.call)
        return batch, late, rejected

    def expire(self, now_s: float) -> tuple[set[Call], set[Call]]:
        late = {
            each.call
            for each in self.entries
            if each.call.deadline_s <= now_s and not each.call.is_abandoned
        }
        rejected = {
            each.call
            for each in self.entries
            if each.expires_s <= now_s
            and not each.is_delayed
            and not self.scheduling.policy_of(each.level).is_delaying
            and not self._is_gone(each, now_s)
        }
        self.entries = [
            each
            for each in self.entries
            if not self._is_gone(each, now_s) and each.call not in rejected
        ]
        return late, rejected

    def _is_gone(self, entry: Entry, now_s: float) -> bool:
        return entry.call.is_abandoned or entry.call.deadline_s <= now_s


policies = st.builds(
    QueuePolicy,
    is_delaying=st.booleans(),
    timeout_s=st.sampled_from([0.0, 1.0, 3.0]),
    allows_override=st.booleans(),
    max_queued=st.sampled_from([0, 1, 3]),
)
schedulings = st.builds(
    Scheduling,
    levels=st.just(3),
    default_level=st.integers(1, 3),
    policy=policies,
    by_level=st.dictionaries(st.integers(1, 3), policies),
)
actions = st.one_of(
    st.tuples(st.just("enter"), st.integers(0, 5), st.sampled_from([0.0, 0.5, 2.0, 9.0])),
    st.tuples(st.just("take"), st.integers(1, 4), st.just(0.0)),
    st.tuples(st.just("pass"), st.just(0), st.sampled_from([0.25, 1.0, 2.0])),
    st.tuples(st.just("leave"), st.integers(0, 30), st.just(0.0)),
    st.tuples(st.just("expire"), st.just(0), st.just(0.0)),
)


@settings(max_examples=400)
@given(schedulings, st.lists(actions, max_size=40))
def test_the_line_is_the_one_on_paper(
    scheduling: Scheduling, steps: list[tuple[str, int, float]]
) -> None:
    line, paper, now_s = PriorityLine(scheduling), Paper(scheduling), 100.0
    calls: list[RecordedCall] = []
    for action, number, amount in steps:
        if action == "enter":
            level = line.level_of(number)
            assert level == (number if 1 <= number <= 3 else scheduling.default_level)
            assert line.is_full(level) == paper.is_full(level)
            if not line.is_full(level):
                call = RecordedCall(arrived_s=now_s, deadline_s=now_s + 5.0)
                calls.append(call)
                line.enter(call, level, amount, now_s)
                paper.enter(call, level, amount, now_s)
        elif action == "take":
            taken = line.take(number, 1 << 20, now_s)
            assert (taken.batch, taken.late, taken.rejected) == paper.take(number, now_s)
        elif action == "expire":
            gone = line.expire(now_s)
            assert (set(gone.late), set(gone.rejected)) == paper.expire(now_s)
        elif action == "leave" and calls:
            calls[number % len(calls)].is_abandoned = True
        now_s += amount if action == "pass" else 0.0
        assert len(line) == len(list(line)) == len(paper.entries)
    taken = line.take(1000, 1 << 20, now_s)
    assert (taken.batch, taken.late, taken.rejected) == paper.take(1000, now_s)
    assert not len(line)


@given(schedulings, st.lists(actions, max_size=30))
def test_those_that_run_out_are_found_when_they_do(
    scheduling: Scheduling, steps: list[tuple[str, int, float]]
) -> None:
    line, paper, now_s = PriorityLine(scheduling), Paper(scheduling), 100.0
    for action, number, amount in steps:
        if action == "enter":
            call = RecordedCall(arrived_s=now_s)
            level = line.level_of(number)
            line.enter(call, level, amount, now_s)
            paper.enter(call, level, amount, now_s)
        now_s += amount if action == "pass" else 0.0
        is_due = line.next_run_out_s <= now_s
        found = line.run_out(now_s)
        assert set(found) == paper.expire(now_s)[1]
        assert bool(found) == is_due
        assert line.next_run_out_s > now_s


def test_lost_calls_come_before_all_levels() -> None:
    line = PriorityLine(Scheduling(levels=2, default_level=2))
    calls = [RecordedCall() for _ in range(3)]
    line.enter(calls[2], 1, 0.0, 0.0)
    for call in calls[:2]:
        call.attempts = 1
    line.extendleft(reversed(calls[:2]))
    # One at a time, since one of them may have been the cause.
    assert [line.take(5, 1 << 20, 0.0).batch for _ in calls] == [[each] for each in calls]


def test_the_oldest_is_looked_for_on_all_levels() -> None:
    line = PriorityLine(Scheduling(levels=2, default_level=2))
    assert line.oldest_arrived_s == math.inf
    line.enter(RecordedCall(arrived_s=3.0), 1, 0.0, 3.0)
    line.append(RecordedCall(arrived_s=2.0))
    assert line.oldest_arrived_s == 2.0


def test_a_batch_ends_before_too_many_bytes_and_before_a_stream() -> None:
    line = PriorityLine(Scheduling())
    small, large, stream = RecordedCall(), RecordedCall(body=b"x" * 100), RecordedCall()
    stream.codec = 6 << 24 | 1
    for call in (small, large, stream):
        line.append(call)
    assert [line.take(9, 50, 0.0).batch for _ in range(3)] == [[small], [large], [stream]]
