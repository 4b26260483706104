"""Calls in the order of Triton's queue policies: levels, time limits, bounds. Pure.

Level by level, 1 first; within a level first come, first served, and those that have waited for too
long where that delays them behind all others. So a level that is always busy starves those below,
as Triton's does. Calls that a worker has lost come before all levels: they had their turn.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from salver.engine.call import Call
from salver.inference.scheduling import NO_POLICY, QueuePolicy, Scheduling
from salver.protocol.operations import CONTENT_BITS, is_stream

_Line = deque[tuple[Call, float]]
"""Calls, each with the time at which it has waited for long enough; infinite if there is none."""
_AGAIN = -1
"""The level of calls that were with a worker already."""


class Fate(Enum):
    """What becomes of a call whose turn it is."""

    SERVED = 0
    LEFT = 1
    LATE = 2
    REJECTED = 3
    DELAYED = 4


class Taken(NamedTuple):
    """`late` are past their deadline, `rejected` past their time in the queue, `delayed` moved."""

    batch: list[Call]
    late: list[Call]
    rejected: list[Call]
    delayed: list[Call]


class _Level:
    __slots__ = ("delayed", "has_overrides", "policy", "waiting")

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.waiting: _Line = deque()
        self.delayed: _Line = deque()
        self.has_overrides = False
        """They may run out in another order than they wait in."""

    def __len__(self) -> int:
        return len(self.waiting) + len(self.delayed)


class PriorityLine:
    """The calls of one model that wait for a worker."""

    def __init__(self, scheduling: Scheduling) -> None:
        self._scheduling = scheduling
        self._levels: dict[int, _Level] = {}
        self._order: list[int] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Call]:
        for number in self._order:
            level = self._levels[number]
            for call, _ in (*level.waiting, *level.delayed):
                yield call

    def level_of(self, priority: int) -> int:
        """The level of a request that names this priority; 0 and unknown ones get the default."""
        levels = self._scheduling.levels
        return priority if 1 <= priority <= levels else self._scheduling.default_level

    def is_full(self, level: int) -> bool:
        """No more calls may wait on the level."""
        most = self._scheduling.policy_of(level).max_queued
        found = self._levels.get(level)
        return bool(most) and found is not None and len(found) >= most

    def enter(self, call: Call, level: int, timeout_s: float, now_s: float) -> float:
        """Puts the call at the end of its level; when it runs out there, infinite if never.

        `timeout_s` is what the request grants, 0 if it does not say.
        """
        policy = self._scheduling.policy_of(level)
        limit_s = policy.timeout_s
        found = self._level(level)
        if policy.allows_override and timeout_s and (not limit_s or timeout_s < limit_s):
            limit_s = timeout_s
            found.has_overrides = True
        expires_s = now_s + limit_s if limit_s else math.inf
        found.waiting.append((call, expires_s))
        self._length += 1
        return math.inf if policy.is_delaying else expires_s

    def append(self, call: Call) -> None:
        """Puts a call that says nothing on the default level, without a time limit."""
        self._level(self._scheduling.default_level).waiting.append((call, math.inf))
        self._length += 1

    def extendleft(self, calls: Iterable[Call]) -> None:
        """Puts calls before all others, the last one first."""
        for call in calls:
            self._level(_AGAIN).waiting.appendleft((call, math.inf))
            self._length += 1

    def clear(self) -> None:
        self._levels.clear()
        self._order.clear()
        self._length = 0

    @property
    def oldest_arrived_s(self) -> float:
        """When the first of those came that are served next; infinite if nobody waits."""
        heads = [
            line[0][0].arrived_s
            for level in self._levels.values()
            for line in (level.waiting, level.delayed)
            if line
        ]
        return min(heads, default=math.inf)

    def take(self, most: int, max_bytes: int, now_s: float) -> Taken:
        """The calls that go together next, at most so many; see `batching.take_batch`."""
        taken = Taken([], [], [], [])
        size = 0
        while self._order:
            level = self._levels[self._order[0]]
            line = level.waiting or level.delayed
            call, expires_s = line[0]
            fate = _fate(call, expires_s, level.policy, now_s)
            if fate is Fate.SERVED:
                size += len(call.body)
                goes_alone = call.attempts or _is_stream(call)
                if taken.batch and (goes_alone or size > max_bytes):
                    break
            if fate is Fate.DELAYED:
                level.delayed.append((call, math.inf))
                self._length += 1
            _put(taken, fate, call)
            self._leave(self._order[0], line)
            if fate is Fate.SERVED and (goes_alone or len(taken.batch) >= most):
                break
        return taken

    def expire(self, now_s: float) -> Taken:
        """Takes out those who left, and whose deadline or time in the queue has passed."""
        taken = Taken([], [], [], [])
        for number in tuple(self._order):
            level = self._levels[number]
            for line in (level.waiting, level.delayed):
                kept = []
                for call, expires_s in line:
                    fate = _fate(call, expires_s, level.policy, now_s)
                    # Delayed ones move when their turn comes.
                    if fate in (Fate.SERVED, Fate.DELAYED):
                        kept.append((call, expires_s))
                    else:
                        _put(taken, fate, call)
                self._keep(line, kept)
            self._drop_empty(number)
        return taken

    def run_out(self, now_s: float) -> list[Call]:
        """Takes out those whose time in the queue has passed: those that are refused for it.

        Looks no further than it has to: where all of a level have the same limit, the first that
        is in time ends the search.
        """
        rejected: list[Call] = []
        for number in tuple(self._order):
            level = self._levels[number]
            line = level.waiting
            if level.policy.is_delaying:
                continue
            if level.has_overrides:
                late = [call for call, expires_s in line if expires_s <= now_s]
                self._keep(line, [each for each in line if each[1] > now_s])
            else:
                late = []
                while line and line[0][1] <= now_s:
                    late.append(line.popleft()[0])
                    self._length -= 1
            rejected += [call for call in late if not call.is_abandoned]
            self._drop_empty(number)
        return rejected

    @property
    def next_run_out_s(self) -> float:
        """When the next call is to be refused for its time in the queue; infinite if none is."""
        found = math.inf
        for level in self._levels.values():
            if level.policy.is_delaying or not level.waiting:
                continue
            if level.has_overrides:
                found = min(found, *(expires_s for _, expires_s in level.waiting))
            else:
                found = min(found, level.waiting[0][1])
        return found

    def _level(self, number: int) -> _Level:
        found = self._levels.get(number)
        if found is None:
            policy = NO_POLICY if number == _AGAIN else self._scheduling.policy_of(number)
            found = self._levels[number] = _Level(policy)
            insort(self._order, number)
        return found

    def _leave(self, number: int, line: _Line) -> None:
        line.popleft()
        self._length -= 1
        self._drop_empty(number)

    def _keep(self, line: _Line, kept: list[tuple[Call, float]]) -> None:
        if len(kept) < len(line):
            self._length -= len(line) - len(kept)
            line.clear()
            line.extend(kept)

    def _drop_empty(self, number: int) -> None:
        if not self._levels[number]:
            del self._levels[number]
            self._order.remove(number)


def _fate(call: Call, expires_s: float, policy: QueuePolicy, now_s: float) -> Fate:
    if call.is_abandoned:
        return Fate.LEFT
    if call.deadline_s <= now_s:
        return Fate.LATE
    if expires_s <= now_s:
        return Fate.DELAYED if policy.is_delaying else Fate.REJECTED
    return Fate.SERVED


def _put(taken: Taken, fate: Fate, call: Call) -> None:
    if fate is Fate.SERVED:
        taken.batch.append(call)
    elif fate is Fate.LATE:
        taken.late.append(call)
    elif fate is Fate.REJECTED:
        taken.rejected.append(call)
    elif fate is Fate.DELAYED:
        taken.delayed.append(call)


def _is_stream(call: Call) -> bool:
    return call.codec > CONTENT_BITS and is_stream(call.codec)
