"""Who may start next where executions share resources: the rate limiter's decisions. Pure.

A resource is a number of copies, of which an execution holds some. Who has had the fewest turns for
its priority goes first. What it waits for is kept for it, so that others with smaller needs cannot
pass it by for ever; those that need other resources are not held up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from salver.inference.scheduling import LimitedGroup, Need


class GivenResource(msgspec.Struct, frozen=True):
    """A number of copies as the server was told; without a `device`, on each of them."""

    name: str
    count: int
    device: str = ""


class Bid(msgspec.Struct, frozen=True):
    """One group of instances that could start: the turns it has had, weighted, and since when it
    waits, as a number that rises."""

    owner: int
    group: int
    turns: float
    since: int
    needs: tuple[Need, ...]


def copies_of(
    groups: Iterable[LimitedGroup], given: Sequence[GivenResource]
) -> tuple[Mapping[str, int], str]:
    """How many copies there are of each resource, and what contradicts that; empty: nothing.

    As many as was given, else as the largest need of all.
    """
    copies: dict[str, int] = {}
    is_global: dict[str, bool] = {}
    for need in (need for group in groups for need in group.needs):
        if is_global.setdefault(need.name, need.is_global) is not need.is_global:
            return copies, (
                f'Resource "{need.name}" is present as both global and device-specific resource: '
                "give it another name in one of the models"
            )
        told = _given_copies(need, given)
        if told is not None and told < need.count:
            return copies, (
                f'Resource count for "{need.name}" is limited to {told} which will prevent '
                f"scheduling of one or more model instances, the minimum required count is "
                f"{need.count}: raise it with --rate-limit-resource {need.name}:{need.count}"
            )
        copies[need.name] = max(copies.get(need.name, 0), need.count if told is None else told)
    return copies, ""


def _given_copies(need: Need, given: Sequence[GivenResource]) -> int | None:
    """Of a global resource the most of all devices; else what holds on the device of workers."""
    counts = [
        each.count
        for each in given
        if each.name == need.name and (need.is_global or each.device in ("", "0"))
    ]
    return max(counts, default=None)


def next_start(bids: Iterable[Bid], free: Mapping[str, int]) -> Bid | None:
    """The bid that starts now; None if there is none that can."""
    kept: set[str] = set()
    for bid in sorted(bids, key=lambda each: (each.turns, each.since)):
        names = {need.name for need in bid.needs}
        if all(need.count <= free.get(need.name, 0) for need in bid.needs) and not names & kept:
            return bid
        kept |= names
    return None
