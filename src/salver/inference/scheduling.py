"""How the requests to one model are put in order, refused and held back. Values only.

Names and meanings are those of Triton's dynamic batcher and rate limiter; who reads them from where
is the reader's affair. Times in seconds; 0 stands for none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class QueuePolicy(msgspec.Struct, frozen=True):
    """What becomes of requests that wait on one level.

    One that has waited for `timeout_s` is refused or, if `is_delaying`, goes behind all others of
    its level. A request may name a shorter time if `allows_override`. Beyond `max_queued` that
    wait, further ones are refused at once.
    """

    is_delaying: bool = False
    timeout_s: float = 0.0
    allows_override: bool = False
    max_queued: int = 0


NO_POLICY = QueuePolicy()


class Scheduling(msgspec.Struct, frozen=True):
    """One model's levels, 1 the first to be served, and what holds on each.

    With `levels` 0 there is one, whatever requests say. `preferred` are sizes of batches, in
    requests. With `keeps_order`, answers go out in the order in which requests went to workers.
    """

    levels: int = 0
    default_level: int = 0
    policy: QueuePolicy = NO_POLICY
    by_level: Mapping[int, QueuePolicy] = {}
    preferred: tuple[int, ...] = ()
    keeps_order: bool = False

    def policy_of(self, level: int) -> QueuePolicy:
        """What holds on the level."""
        return self.by_level.get(level, self.policy)

    @property
    def reads_requests(self) -> bool:
        """Requests may say something that counts, so they have to be looked at."""
        policies = (self.policy, *self.by_level.values())
        return self.levels > 0 or any(each.allows_override for each in policies)


NO_SCHEDULING = Scheduling()


class Need(msgspec.Struct, frozen=True):
    """So many of a resource, which an execution holds from its start to its end."""

    name: str
    count: int
    is_global: bool = False


class LimitedGroup(msgspec.Struct, frozen=True):
    """Instances of a model that need the same. One of priority 2 gets half as many turns as one of
    priority 1 where both wait."""

    needs: tuple[Need, ...] = ()
    priority: int = 1
    count: int = 1
