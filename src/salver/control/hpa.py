"""How many replicas a revision should have by its use of cpu or memory: Kubernetes' HPA. Pure.

The target is percent of what a replica requests. Never scales to zero: a replica that uses
nothing looks like one that is not needed, and then nobody would be there to be measured.
It is to be asked about every `TICK_S`. Requests are `autoscaling.py`'s.
"""

from __future__ import annotations

import math

import msgspec

from salver.graphs.plan import ScalingPolicy

TICK_S = 15.0
DEFAULT_UTILIZATION_PERCENT = 80.0
TOLERANCE = 0.1
_PERIOD_S = 15.0
"""In one period, replicas at most double, or grow by four where that is more."""
_GROWTH_FACTOR = 2
_GROWTH_STEP = 4


class ResourceSnapshot(msgspec.Struct, frozen=True):
    """What is seen: replicas there, those ready, and the mean use of the ready ones in percent.

    `utilization_percent` is None while nothing has been measured.
    """

    replicas: int
    ready: int
    utilization_percent: float | None = None


class HpaState(msgspec.Struct, frozen=True):
    """Former answers that still count: (second, replicas), latest last.

    `wanted` are recommendations for the stabilization windows, `scaled` the replicas there
    were at each decision of the last period.
    """

    wanted: tuple[tuple[float, int], ...] = ()
    scaled: tuple[tuple[float, int], ...] = ()


class HpaDecision(msgspec.Struct, frozen=True):
    """How many replicas there should be, and why, in a phrase."""

    desired: int
    state: HpaState
    reason: str


def decide(
    policy: ScalingPolicy, state: HpaState, snapshot: ResourceSnapshot, now_s: float
) -> HpaDecision:
    """The number of replicas from now on."""
    least = max(1, policy.min_replicas)
    if snapshot.utilization_percent is None or snapshot.replicas == 0:
        desired = _bounded(policy, max(snapshot.replicas, least))
        return HpaDecision(desired, state, "nothing has been measured yet")
    target = policy.target or DEFAULT_UTILIZATION_PERCENT
    wanted = _bounded(policy, _recommended(snapshot, target))
    reason = f"{policy.metric} at {snapshot.utilization_percent:g}%, target {target:g}%"
    # The replicas found at the start count as wanted then: no history is no reason to scale down.
    former = state.wanted or ((now_s, snapshot.replicas),)
    history = (*_recent(former, now_s, _longest_window_s(policy)), (now_s, wanted))
    stable = _stabilised(policy, history, snapshot.replicas, now_s)
    if stable != wanted:
        reason += f"; {wanted} is wanted, and waits for the stabilization window"
    scaled = _recent(state.scaled, now_s, _PERIOD_S)
    desired = _bounded(policy, min(stable, _most(scaled, snapshot.replicas)))
    state = HpaState(_compact(history), (*scaled, (now_s, snapshot.replicas)))
    return HpaDecision(desired, state, reason)


def _recommended(snapshot: ResourceSnapshot, target: float) -> int:
    """The replicas that would bring the mean to the target.

    Replicas that are not ready yet count as using nothing when there are to be more: they
    may be all that is missing.
    """
    ratio = (snapshot.utilization_percent or 0.0) / target
    ready = min(snapshot.ready, snapshot.replicas)
    if abs(ratio - 1.0) <= TOLERANCE:
        return snapshot.replicas
    if ready == snapshot.replicas or ratio < 1.0:
        return math.ceil(round(ratio * max(ready, 1), 9))
    adjusted = ratio * ready / snapshot.replicas
    if adjusted <= 1.0 + TOLERANCE:
        return snapshot.replicas
    return math.ceil(round(adjusted * snapshot.replicas, 9))


def _stabilised(
    policy: ScalingPolicy, history: tuple[tuple[float, int], ...], present: int, now_s: float
) -> int:
    """Down only to the most wanted within its window, up only to the least within its own."""
    _, newest = history[-1]
    up = [n for at_s, n in history if at_s > now_s - policy.scale_up_stabilization_s]
    down = [n for at_s, n in history if at_s > now_s - policy.scale_down_stabilization_s]
    lowest, highest = min((*up, newest)), max((*down, newest))
    return min(max(present, lowest), highest)


def _most(scaled: tuple[tuple[float, int], ...], present: int) -> int:
    start = scaled[0][1] if scaled else present
    start = min(start, present)
    return max(start * _GROWTH_FACTOR, start + _GROWTH_STEP)


def _bounded(policy: ScalingPolicy, wanted: int) -> int:
    least = max(1, policy.min_replicas)
    most = max(policy.max_replicas, least) if policy.max_replicas else 0
    return max(least, min(wanted, most) if most else wanted)


def _recent(
    history: tuple[tuple[float, int], ...], now_s: float, window_s: float
) -> tuple[tuple[float, int], ...]:
    return tuple(each for each in history if each[0] > now_s - window_s)


def _compact(history: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
    """Of equal neighbours only the outer two: a steady revision remembers two."""
    kept: list[tuple[float, int]] = []
    for each in history:
        if len(kept) > 1 and kept[-1][1] == kept[-2][1] == each[1]:
            kept.pop()
        kept.append(each)
    return tuple(kept)


def _longest_window_s(policy: ScalingPolicy) -> float:
    return max(policy.scale_up_stabilization_s, policy.scale_down_stabilization_s)
