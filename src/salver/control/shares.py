"""Shares of traffic that add up to 100, and what becomes of them when a revision is lost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from salver.graphs.plan import TrafficTarget


class Shares:
    """Percents by revision and tag, in the order in which they were added."""

    def __init__(self) -> None:
        self._targets: list[TrafficTarget] = []

    def add(self, revision: str, percent: int, tag: str = "") -> Shares:
        """Adds a share; one of nothing counts only if its tag can be asked for.

        What is above 100 in all is cut off.
        """
        percent = min(percent, 100 - sum(target.percent for target in self._targets))
        if percent or tag:
            self._targets.append(TrafficTarget(revision, percent, tag))
        return self

    def targets(self) -> tuple[TrafficTarget, ...]:
        """What `TrafficPlan.targets` takes."""
        return tuple(self._targets)


def without_lost(
    targets: Sequence[TrafficTarget], is_ready: Callable[[str], bool], fallback: str
) -> Shares:
    """The targets that are ready; what the others had goes to the largest that is left.

    If none is left, `fallback` gets everything; if that is empty, there is no traffic.
    """
    ready = [target for target in targets if is_ready(target.revision)]
    lost = 100 - sum(target.percent for target in ready)
    largest = max(ready, key=lambda target: target.percent, default=None)
    shares = Shares()
    if largest is None or not largest.percent:
        return shares.add(fallback, 100) if fallback else shares
    for target in ready:
        extra = lost if target is largest else 0
        shares.add(target.revision, target.percent + extra, target.tag)
    return shares
