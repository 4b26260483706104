"""Triton's rate limiter: executions of all models share resources, and start as these are free.

A thin shell around `resource_ledger.py`. Knows models by their claims and starts what the ledger
says; what an execution is, and when it ends, is the queue's to tell. Models without needs have no
claim, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from salver.engine.resource_ledger import Bid, GivenResource, copies_of, next_start
from salver.errors import LoadFailed
from salver.inference.scheduling import LimitedGroup

Start = Callable[[int], bool]
"""Starts one execution as an instance of that group; False if there is nothing to start."""


class RateLimiter:
    """The resources of one server."""

    def __init__(self, given: Sequence[GivenResource] = ()) -> None:
        self._given = tuple(given)
        self._claims: list[ResourceClaim] = []
        self._used: dict[str, int] = {}
        self._copies: dict[str, int] = {}
        self._turns = 0.0
        """Where those stand who had the last turn: who begins to wait begins here."""
        self._asked = 0
        self._is_settling = False

    @property
    def used(self) -> dict[str, int]:
        """Copies that executions hold now, of each resource that is held."""
        return {name: count for name, count in self._used.items() if count}

    @property
    def copies(self) -> dict[str, int]:
        """Copies that there are."""
        return dict(self._copies)

    def claim(self, groups: Sequence[LimitedGroup]) -> ResourceClaim:
        """The claim of a model; it holds from its `enter` on."""
        return ResourceClaim(self, tuple(groups))

    # For claims.

    def enter(self, claim: ResourceClaim) -> None:
        """Raises `LoadFailed` if it asks for more than there is."""
        if claim in self._claims:
            return
        groups = [group for each in (*self._claims, claim) for group in each.groups]
        copies, fault = copies_of(groups, self._given)
        if fault:
            raise LoadFailed(fault)
        self._claims.append(claim)
        self._copies = dict(copies)

    def leave(self, claim: ResourceClaim) -> None:
        if claim not in self._claims:
            return
        self._claims.remove(claim)
        # What still runs holds what it has until it ends.
        groups = [group for each in self._claims for group in each.groups]
        self._copies = dict(copies_of(groups, self._given)[0])
        self.settle()

    def take(self, claim: ResourceClaim, group: int, sign: int) -> None:
        """Marks what one execution needs as used (1) or free (-1)."""
        claim.running[group] += sign
        for need in claim.groups[group].needs:
            self._used[need.name] = self._used.get(need.name, 0) + sign * need.count

    def ask(self, claim: ResourceClaim) -> None:
        if claim.since is None:
            self._asked += 1
            claim.since = self._asked
            # Nobody saves up turns while there is nothing to do.
            claim.turns = [max(turns, self._turns) for turns in claim.turns]

    def settle(self) -> None:
        """Starts what can start now."""
        if self._is_settling:
            return
        self._is_settling = True
        try:
            while (bid := next_start(self._bids(), self._free())) is not None:
                self._start(self._claims[bid.owner], bid)
        finally:
            self._is_settling = False

    def _start(self, claim: ResourceClaim, bid: Bid) -> None:
        claim.since = None
        self.take(claim, bid.group, 1)
        if claim.start(bid.group):
            self._turns = bid.turns
            claim.turns[bid.group] = bid.turns + max(1, claim.groups[bid.group].priority)
        else:
            self.take(claim, bid.group, -1)

    def _bids(self) -> Iterator[Bid]:
        for owner, claim in enumerate(self._claims):
            if claim.since is not None:
                for number, group in enumerate(claim.groups):
                    if claim.has_room(number):
                        yield Bid(owner, number, claim.turns[number], claim.since, group.needs)

    def _free(self) -> dict[str, int]:
        return {name: count - self._used.get(name, 0) for name, count in self._copies.items()}


class ResourceClaim:
    """What one model needs, and what it holds."""

    def __init__(self, limiter: RateLimiter, groups: tuple[LimitedGroup, ...]) -> None:
        self.groups = groups
        self.running = [0] * len(groups)
        """Executions under way, by group."""
        self.turns = [0.0] * len(groups)
        self.since: int | None = None
        """Its place among those that wait to start; None: it does not."""
        self.start: Start = lambda group: False
        self._limiter = limiter

    def has_room(self, group: int) -> bool:
        """Another execution may be this group's. The workers of a single group are its bound."""
        return len(self.groups) == 1 or self.running[group] < self.groups[group].count

    def enter(self) -> None:
        """From now on it counts. Raises `LoadFailed` if it can never be met."""
        self._limiter.enter(self)

    def leave(self) -> None:
        """From now on it does not count; what runs gives back as it ends."""
        self.since = None
        self._limiter.leave(self)

    def ask(self) -> None:
        """There is something to start: `start` is called, now or once there is room."""
        self._limiter.ask(self)
        self._limiter.settle()

    def end(self, group: int) -> None:
        """An execution has ended; `settle` is to follow."""
        self._limiter.take(self, group, -1)

    def settle(self) -> None:
        """Has others started with what has become free."""
        self._limiter.settle()
