"""How many replicas a revision should have by its requests: Knative's autoscaler (KPA). Pure.

Averages over a stable and a short panic window, time and the former state come in; a
number, the new state and a reason go out. It is to be asked about every `TICK_S`, and at
once when a request comes to a revision without replicas.

    ACTIVATING --enough replicas ready--> ACTIVE --nothing wanted--> INACTIVE --> zero
         ^                                  ^                           |
         '---- a request, at zero ----------+------ a request ----------'

cpu and memory are `hpa.py`'s. Nothing here starts or ends a replica.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

import msgspec

from salver.graphs.plan import ScalingPolicy

TICK_S = 2.0
DEFAULT_CONCURRENCY = 100.0
DEFAULT_RPS = 200.0
ACTIVATION_TIMEOUT_S = 610.0
"""After this long without becoming ready, a revision that nobody asks any more goes to zero."""
ALWAYS_S = math.inf
_LEAST_TARGET = 0.01


class Activity(Enum):
    """Whether the revision serves; only an INACTIVE one is taken to zero."""

    ACTIVATING = "activating"
    ACTIVE = "active"
    INACTIVE = "inactive"


class MetricSnapshot(msgspec.Struct, frozen=True):
    """What is seen of a revision: replicas that are ready, and the metric over both windows.

    `stable` and `panic` are totals over all replicas, None while nothing has been measured.
    `is_reachable`: traffic or a tag leads to it; one that nothing leads to may go to zero
    whatever its minimum. `proxied_s`: how long requests have gone through something that can
    hold them; Salver's gateway always does.
    """

    ready: int
    stable: float | None = None
    panic: float | None = None
    is_reachable: bool = True
    proxied_s: float = ALWAYS_S


class KpaState(msgspec.Struct, frozen=True):
    """What the autoscaler remembers of a revision between two decisions.

    `delayed` is the scale-down delay's window: (second, replicas), latest last, falling.
    """

    desired: int = 0
    panic_since_s: float | None = None
    most_in_panic: int = 0
    delayed: tuple[tuple[float, int], ...] = ()
    activity: Activity = Activity.ACTIVATING
    activity_since_s: float = 0.0
    is_initialised: bool = False


class Decision(msgspec.Struct, frozen=True):
    """How many replicas there should be, and why, in a phrase.

    `excess_burst` below 0 means that a burst of the target size would have to wait.
    """

    desired: int
    state: KpaState
    reason: str
    is_panicking: bool = False
    excess_burst: int = 0


class _Target(NamedTuple):
    """Of one replica: the value to keep, and the most it takes."""

    value: float
    total: float


def initial_state(policy: ScalingPolicy, ready: int, now_s: float) -> KpaState:
    """Of a revision that is new here. One with several replicas keeps them for a window.

    Without history there is no telling that they are not needed.
    """
    return KpaState(
        desired=max(ready, _first_scale(policy)),
        panic_since_s=now_s if ready > 1 else None,
        most_in_panic=ready if ready > 1 else 0,
        activity_since_s=now_s,
    )


def target_of(policy: ScalingPolicy) -> tuple[float, float]:
    """(the value to keep per replica, the most that a replica takes).

    A target is never above the hard limit, `containerConcurrency`.
    """
    if policy.metric == "rps":
        total = policy.target or DEFAULT_RPS
    else:
        limit = float(policy.container_concurrency)
        total = policy.target or limit or DEFAULT_CONCURRENCY
        total = min(total, limit) if limit else total
    value = total * policy.target_utilization_percent / 100.0
    return max(_LEAST_TARGET, round(value, 9)), total


def decide(
    policy: ScalingPolicy, state: KpaState, snapshot: MetricSnapshot, now_s: float
) -> Decision:
    """The number of replicas from now on."""
    target = _Target(*target_of(policy))
    state = _initialised(policy, state, snapshot)
    if snapshot.stable is None or snapshot.panic is None:
        desired = _bounded(policy, state, snapshot, state.desired)
        state = msgspec.structs.replace(state, desired=desired)
        return Decision(desired, state, "nothing has been measured yet")
    state = _in_or_out_of_panic(policy, state, snapshot, target, now_s)
    wanted, reason = _wanted(policy, state, snapshot, target)
    is_panicking = state.panic_since_s is not None
    if is_panicking:
        if wanted < state.most_in_panic:
            reason = f"no scale-down in panic mode, which began less than a window ago; {reason}"
        wanted = max(wanted, state.most_in_panic)
        state = msgspec.structs.replace(state, most_in_panic=wanted)
    state, wanted, reason = _after_delay(policy, state, wanted, reason, now_s)
    bounded = _bounded(policy, state, snapshot, wanted)
    if bounded != wanted:
        reason = f"{'at least' if bounded > wanted else 'at most'} {bounded}; {reason}"
    state, desired, reason = _after_zero(policy, state, snapshot, bounded, reason, now_s)
    if is_panicking:
        # What came up by the scale of activation does not go down in a panic either.
        state = msgspec.structs.replace(state, most_in_panic=max(desired, state.most_in_panic))
    return Decision(
        desired,
        msgspec.structs.replace(state, desired=desired),
        reason,
        is_panicking,
        _excess_burst(policy, snapshot, target),
    )


def _initialised(policy: ScalingPolicy, state: KpaState, snapshot: MetricSnapshot) -> KpaState:
    """A revision that has once reached its initial scale has reached it for good."""
    if state.is_initialised or snapshot.ready < _first_scale(policy):
        return state
    return msgspec.structs.replace(state, is_initialised=True)


def _first_scale(policy: ScalingPolicy) -> int:
    first = max(policy.min_replicas, 1 if policy.initial_scale < 0 else policy.initial_scale)
    return min(first, policy.max_replicas) if policy.max_replicas else first


def _in_or_out_of_panic(
    policy: ScalingPolicy,
    state: KpaState,
    snapshot: MetricSnapshot,
    target: _Target,
    now_s: float,
) -> KpaState:
    """Panic begins, and goes on, while the panic window wants twice what is ready."""
    wanted = math.ceil((snapshot.panic or 0.0) / target.value)
    if wanted / max(1, snapshot.ready) >= policy.panic_threshold_percent / 100.0:
        return msgspec.structs.replace(state, panic_since_s=now_s)
    if state.panic_since_s is not None and state.panic_since_s + policy.stable_window_s < now_s:
        return msgspec.structs.replace(state, panic_since_s=None, most_in_panic=0)
    return state


def _wanted(
    policy: ScalingPolicy, state: KpaState, snapshot: MetricSnapshot, target: _Target
) -> tuple[int, str]:
    """What the windows ask for, within the rates; in panic mode the larger of the two."""
    stable, panic = snapshot.stable or 0.0, snapshot.panic or 0.0
    by_stable = _limited(policy, snapshot, stable / target.value)
    unit = "requests/s" if policy.metric == "rps" else "requests at once"
    reason = f"{stable:g} {unit} at {target.value:g} per replica"
    if state.panic_since_s is None:
        return by_stable, reason
    by_panic = _limited(policy, snapshot, panic / target.value)
    if by_panic <= by_stable:
        return by_stable, f"panic mode: {reason}"
    return by_panic, f"panic mode: {panic:g} {unit} at {target.value:g} per replica"


def _limited(policy: ScalingPolicy, snapshot: MetricSnapshot, raw: float) -> int:
    ready = max(1, snapshot.ready)
    # Rounded away from the present number, so that a rate near 1 is not a standstill.
    most = math.ceil(policy.max_scale_up_rate * ready)
    least = math.floor(ready / policy.max_scale_down_rate) if snapshot.is_reachable else 0
    wanted = math.ceil(raw)
    limited = min(max(wanted, least), most)
    return max(limited, policy.activation_scale) if wanted > 0 else limited


def _after_delay(
    policy: ScalingPolicy, state: KpaState, wanted: int, reason: str, now_s: float
) -> tuple[KpaState, int, str]:
    """The most wanted within the scale-down delay."""
    if policy.scale_down_delay_s <= 0.0:
        return state, wanted, reason
    since_s = now_s - policy.scale_down_delay_s
    # Only values that a later, larger one has not overtaken can still be the largest.
    kept = [each for each in state.delayed if each[0] > since_s and each[1] > wanted]
    delayed = (*kept, (now_s, wanted))
    most = delayed[0][1]
    if most > wanted:
        reason = f"scale-down to {wanted} waits for the delay; {reason}"
    return msgspec.structs.replace(state, delayed=delayed), most, reason


def _bounded(policy: ScalingPolicy, state: KpaState, snapshot: MetricSnapshot, wanted: int) -> int:
    least = policy.min_replicas if snapshot.is_reachable else 0
    if not state.is_initialised:
        least = max(least, _first_scale(policy))
    most = policy.max_replicas
    if wanted < least:
        return least
    return min(wanted, most) if most else wanted


def _after_zero(
    policy: ScalingPolicy,
    state: KpaState,
    snapshot: MetricSnapshot,
    wanted: int,
    reason: str,
    now_s: float,
) -> tuple[KpaState, int, str]:
    """Zero only after a while: see the states at the top of the module."""
    state = _activated(policy, state, snapshot, wanted, now_s)
    passed_s = now_s - state.activity_since_s
    if wanted > 0:
        return state, wanted, reason
    if state.activity is Activity.ACTIVATING:
        if (snapshot.ready == 0 and state.desired == 0) or passed_s >= ACTIVATION_TIMEOUT_S:
            return state, 0, reason
        return state, max(1, state.desired), "replicas are on their way; zero comes after that"
    if state.activity is Activity.ACTIVE:
        if passed_s < policy.stable_window_s:
            return state, 1, "the last replica stays until a stable window has passed"
        state = _turned(state, Activity.INACTIVE, now_s)
        passed_s = 0.0
    return _last_replica(policy, state, snapshot, passed_s, reason)


def _last_replica(
    policy: ScalingPolicy, state: KpaState, snapshot: MetricSnapshot, passed_s: float, reason: str
) -> tuple[KpaState, int, str]:
    kept = min(1, snapshot.ready)
    if passed_s < policy.scale_to_zero_retention_s:
        return state, kept, "the last replica is retained for its period"
    if snapshot.proxied_s < policy.scale_to_zero_grace_s:
        return state, kept, "the last replica stays until requests can be held (grace period)"
    return state, 0, f"scaled to zero: {reason}"


def _activated(
    policy: ScalingPolicy, state: KpaState, snapshot: MetricSnapshot, wanted: int, now_s: float
) -> KpaState:
    """The activity by what is wanted and ready; its time starts when it changes."""
    if wanted == 0:
        if state.activity is Activity.ACTIVATING and snapshot.ready and state.is_initialised:
            return _turned(state, Activity.ACTIVE, now_s)
        return state
    enough = max(1, policy.min_replicas if state.is_initialised else _first_scale(policy))
    if snapshot.ready >= min(enough, wanted):
        return _turned(state, Activity.ACTIVE, now_s)
    if state.activity is Activity.INACTIVE or (snapshot.ready == 0 and state.desired == 0):
        return _turned(state, Activity.ACTIVATING, now_s, again=True)
    return state


def _turned(state: KpaState, activity: Activity, now_s: float, *, again: bool = False) -> KpaState:
    if state.activity is activity and not again:
        return state
    return msgspec.structs.replace(state, activity=activity, activity_since_s=now_s)


def _excess_burst(policy: ScalingPolicy, snapshot: MetricSnapshot, target: _Target) -> int:
    """Capacity beyond the present load and the burst to be prepared for."""
    burst = policy.target_burst_capacity
    if burst == 0:
        return 0
    if burst < 0:
        return -1
    return math.floor(snapshot.ready * target.total - burst - (snapshot.panic or 0.0))
