from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.control.autoscaling import (
    ACTIVATION_TIMEOUT_S,
    TICK_S,
    Activity,
    Decision,
    KpaState,
    MetricSnapshot,
    decide,
    initial_state,
    target_of,
)
from salver.control.metrics_window import MetricsWindow
from salver.graphs.plan import ScalingPolicy

SERVING = KpaState(desired=1, activity=Activity.ACTIVE, is_initialised=True)
"""A revision that has served for long."""


def policy(**values: Any) -> ScalingPolicy:
    """Scales to zero, and to the whole of its target unless told otherwise."""
    return ScalingPolicy(**{"min_replicas": 0, "target_utilization_percent": 100.0, **values})


def once(
    of: ScalingPolicy, ready: int, stable: float, panic: float | None = None, at_s: float = 1e6
) -> Decision:
    seen = MetricSnapshot(ready, stable, stable if panic is None else panic)
    return decide(of, msgspec.structs.replace(SERVING, desired=ready), seen, at_s)


# What Knative's documentation says of targets, limits and utilization.


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        pytest.param({}, (70.0, 100.0), id="soft limit defaults to 100, at 70%"),
        pytest.param({"target": 200.0}, (140.0, 200.0), id="soft limit by annotation"),
        pytest.param({"container_concurrency": 50}, (35.0, 50.0), id="a hard limit is the target"),
        pytest.param({"container_concurrency": 10}, (7.0, 10.0), id="70% of 10: a replica at 7"),
        pytest.param(
            {"target": 200.0, "container_concurrency": 50}, (35.0, 50.0), id="the smaller counts"
        ),
        pytest.param(
            {"target": 50.0, "container_concurrency": 100}, (35.0, 50.0), id="soft below hard"
        ),
        pytest.param(
            {"container_concurrency": 10, "target_utilization_percent": 80.0},
            (8.0, 10.0),
            id="utilization by annotation",
        ),
        pytest.param({"metric": "rps"}, (140.0, 200.0), id="rps defaults to 200"),
        pytest.param({"metric": "rps", "target": 150.0}, (105.0, 150.0), id="rps by annotation"),
        pytest.param(
            {"metric": "rps", "target": 150.0, "container_concurrency": 10},
            (105.0, 150.0),
            id="a limit of concurrency is none of rps",
        ),
        pytest.param({"target": 0.01}, (0.01, 0.01), id="never below the least target"),
    ],
)
def test_the_target_follows_from_soft_limit_hard_limit_and_utilization(
    knobs: dict[str, Any], expected: tuple[float, float]
) -> None:
    assert target_of(ScalingPolicy(**knobs)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("knobs", "ready", "load", "expected"),
    [
        pytest.param({"target": 10.0}, 5, 50.0, 5, id="target 10, 50 at once: 5"),
        pytest.param({"target": 10.0}, 5, 51.0, 6, id="one more request, one more replica"),
        pytest.param({"target": 10.0}, 8, 100.0, 10, id="up"),
        pytest.param({"target": 10.0}, 8, 50.0, 5, id="down"),
        pytest.param({"target": 10.0, "metric": "rps"}, 5, 100.0, 10, id="rps"),
        pytest.param(
            {"container_concurrency": 10, "target_utilization_percent": 70.0},
            1,
            7.0,
            1,
            id="at 7 of 10 one replica is enough",
        ),
        pytest.param(
            {"container_concurrency": 10, "target_utilization_percent": 70.0},
            1,
            7.1,
            2,
            id="beyond 7 of 10 another one comes",
        ),
        pytest.param({"target": 10.0, "max_scale_up_rate": 2.0}, 2, 1000.0, 4, id="2 -> 4"),
        pytest.param({"target": 1.0, "max_scale_up_rate": 1.1}, 2, 3.0, 3, id="up by one at least"),
        pytest.param({"target": 10.0, "max_scale_up_rate": 10.0}, 0, 990.0, 10, id="none is one"),
        pytest.param({"target": 1.0}, 10, 1.0, 5, id="down by half at most"),
        pytest.param({"target": 1.0, "max_scale_down_rate": 10.0}, 100, 1.0, 10, id="by a tenth"),
        pytest.param({"target": 1.0, "max_scale_down_rate": 1.1}, 3, 1.0, 2, id="down by one"),
        pytest.param({"target": 1.0, "min_replicas": 3}, 3, 0.0, 3, id="minimum"),
        pytest.param({"target": 1.0, "max_replicas": 3}, 3, 99.0, 3, id="maximum"),
        pytest.param({"target": 10.0, "activation_scale": 4}, 1, 1.0, 4, id="activation scale"),
        pytest.param({"target": 10.0, "activation_scale": 4}, 6, 55.0, 6, id="beyond activation"),
        pytest.param(
            {"target": 10.0, "activation_scale": 4, "max_replicas": 3}, 1, 1.0, 3, id="capped"
        ),
    ],
)
def test_replicas_are_load_over_target_within_rates_and_bounds(
    knobs: dict[str, Any], ready: int, load: float, expected: int
) -> None:
    # The panic threshold is out of reach: these are about the stable window.
    assert once(policy(panic_threshold_percent=1e9, **knobs), ready, load).desired == expected


def test_the_reason_says_load_and_target() -> None:
    assert once(policy(target=10.0), 5, 50.0).reason == "50 requests at once at 10 per replica"
    assert once(policy(target=10.0, max_replicas=3), 3, 50.0).reason.startswith("at most 3; ")


@pytest.mark.parametrize(
    ("burst", "ready", "panic", "expected"),
    [(0.0, 1, 50.0, 0), (-1.0, 9, 0.0, -1), (211.0, 1, 50.0, -161), (211.0, 4, 50.0, 139)],
)
def test_excess_burst_capacity_is_capacity_less_load_less_burst(
    burst: float, ready: int, panic: float, expected: int
) -> None:
    of = policy(target=100.0, target_burst_capacity=burst)
    assert once(of, ready, panic).excess_burst == expected


# Panic mode.


class Revision:
    """A revision on a virtual clock: replicas are ready as soon as they are wanted."""

    def __init__(self, of: ScalingPolicy, *, ready: int = 1) -> None:
        self.policy = of
        self.now_s = 1000.0
        self.ready = ready
        self.state = msgspec.structs.replace(SERVING, desired=ready)
        self.last: Decision

    def see(self, stable: float, panic: float | None = None, *, after_s: float = TICK_S) -> int:
        self.now_s += after_s
        seen = MetricSnapshot(self.ready, stable, stable if panic is None else panic)
        self.last = decide(self.policy, self.state, seen, self.now_s)
        self.state = self.last.state
        self.ready = self.last.desired
        return self.ready


def test_a_surge_in_the_panic_window_counts_before_the_stable_window_knows() -> None:
    revision = Revision(policy(target=10.0))
    assert revision.see(stable=50.0, panic=100.0) == 10
    assert revision.last.is_panicking


def test_load_that_grows_sixfold_each_time_is_tracked_exponentially() -> None:
    revision = Revision(policy(target=1.0))
    assert [revision.see(load) for load in (6.0, 36.0, 216.0, 1296.0, 1296.0)] == [
        6,
        36,
        216,
        1296,
        1296,
    ]


def test_below_the_threshold_the_panic_window_changes_nothing() -> None:
    revision = Revision(policy(target=10.0), ready=5)
    assert revision.see(stable=50.0, panic=99.0 - 9.0) == 5
    assert not revision.last.is_panicking


def test_in_panic_mode_nothing_is_taken_away_until_a_stable_window_has_passed() -> None:
    revision = Revision(policy(target=1.0))
    assert revision.see(stable=1.0, panic=100.0) == 100
    assert revision.see(stable=1.0, panic=1.0, after_s=59.0) == 100
    assert "panic" in revision.last.reason
    assert revision.see(stable=1.0, panic=1.0, after_s=1.0) == 100
    # More than the window after the last surge: down again, by half at a time.
    assert revision.see(stable=1.0, panic=1.0) == 50
    assert not revision.last.is_panicking


def test_a_new_surge_prolongs_the_panic() -> None:
    revision = Revision(policy(target=1.0))
    assert revision.see(stable=1.0, panic=10.0) == 10
    assert revision.see(stable=1.0, panic=25.0, after_s=50.0) == 25
    assert revision.see(stable=1.0, panic=1.0, after_s=50.0) == 25
    assert revision.see(stable=1.0, panic=1.0, after_s=11.0) == 12


def test_in_panic_mode_the_larger_of_both_windows_counts() -> None:
    revision = Revision(policy(target=1.0))
    assert revision.see(stable=50.0, panic=30.0) == 50


def test_an_autoscaler_that_is_new_to_several_replicas_keeps_them_for_a_window() -> None:
    of = policy(target=1.0)
    state = initial_state(of, ready=9, now_s=0.0)
    early = decide(of, state, MetricSnapshot(9, 1.0, 1.0), 2.0)
    assert early.desired == 9
    late = decide(of, early.state, MetricSnapshot(9, 1.0, 1.0), 61.0)
    assert late.desired == 4


# Delay, first scale, zero.


def test_scale_down_waits_for_its_delay_and_scale_up_does_not() -> None:
    revision = Revision(policy(target=1.0, scale_down_delay_s=30.0, panic_threshold_percent=1e9))
    assert revision.see(10.0) == 10
    assert revision.see(6.0, after_s=10.0) == 10
    assert revision.see(8.0, after_s=10.0) == 10
    assert revision.see(5.0, after_s=11.0) == 8
    assert revision.see(12.0) == 12
    assert revision.see(1.0) == 12
    assert "waits for the delay" in revision.last.reason


def test_the_delay_remembers_no_more_than_falling_values() -> None:
    revision = Revision(policy(target=1.0, scale_down_delay_s=3600.0))
    for load in [5.0, 3.0, 4.0] * 50:
        revision.see(load)
    assert len(revision.state.delayed) <= 2


def test_a_new_revision_has_its_initial_scale_until_it_was_reached() -> None:
    of = policy(initial_scale=3)
    state = initial_state(of, ready=0, now_s=0.0)
    for ready, expected in ((0, 3), (2, 3), (3, 1)):
        decision = decide(of, state, MetricSnapshot(ready, 1.0, 1.0), 2.0)
        state = decision.state
        assert decision.desired == expected
    # Once reached, it does not come back.
    assert decide(of, state, MetricSnapshot(1, 1.0, 1.0), 9.0).desired == 1


def test_a_new_revision_starts_one_replica_even_if_it_may_have_none() -> None:
    of = policy()
    state = initial_state(of, ready=0, now_s=0.0)
    assert decide(of, state, MetricSnapshot(0), 2.0).desired == 1
    assert decide(of, state, MetricSnapshot(0, 0.0, 0.0), 2.0).desired == 1


def test_an_initial_scale_of_zero_starts_nothing() -> None:
    of = policy(initial_scale=0)
    state = initial_state(of, ready=0, now_s=0.0)
    assert decide(of, state, MetricSnapshot(0, 0.0, 0.0), 2.0).desired == 0


def test_without_measurements_the_replicas_stay() -> None:
    state = msgspec.structs.replace(SERVING, desired=4)
    decision = decide(policy(), state, MetricSnapshot(4), 100.0)
    assert (decision.desired, decision.reason) == (4, "nothing has been measured yet")


def test_an_idle_revision_goes_to_zero_once_it_has_been_active_for_a_window() -> None:
    of = policy()
    revision = Revision(of)
    revision.state = msgspec.structs.replace(SERVING, activity_since_s=revision.now_s)
    assert revision.see(0.0, after_s=59.0) == 1
    assert revision.see(0.0, after_s=1.0) == 0
    assert revision.state.activity is Activity.INACTIVE


def test_the_last_replica_is_retained_for_its_period() -> None:
    revision = Revision(policy(scale_to_zero_retention_s=300.0))
    assert revision.see(0.0) == 1
    assert revision.see(0.0, after_s=299.0) == 1
    assert revision.see(0.0, after_s=1.0) == 0


def test_the_last_replica_waits_for_what_holds_requests_up_to_the_grace_period() -> None:
    of = policy(scale_to_zero_grace_s=30.0)
    seen = MetricSnapshot(1, 0.0, 0.0, proxied_s=29.0)
    assert decide(of, SERVING, seen, 1e6).desired == 1
    assert decide(of, SERVING, MetricSnapshot(1, 0.0, 0.0, proxied_s=30.0), 1e6).desired == 0


def test_a_request_during_retention_makes_the_revision_active_again() -> None:
    revision = Revision(policy(scale_to_zero_retention_s=300.0))
    revision.see(0.0)
    assert revision.see(1.0, after_s=200.0) == 1
    assert revision.state.activity is Activity.ACTIVE
    assert revision.see(0.0, after_s=200.0) == 1
    assert revision.see(0.0, after_s=200.0) == 1


def test_a_request_at_zero_brings_a_replica_that_stays_until_it_was_ready() -> None:
    of = policy()
    state = KpaState(activity=Activity.INACTIVE, is_initialised=True)
    decision = decide(of, state, MetricSnapshot(0, 0.2, 1.0), 1000.0)
    assert (decision.desired, decision.state.activity) == (1, Activity.ACTIVATING)
    # Its caller left before the replica came: it is not taken away on its way up.
    decision = decide(of, decision.state, MetricSnapshot(0, 0.0, 0.0), 1070.0)
    assert decision.desired == 1
    decision = decide(of, decision.state, MetricSnapshot(1, 0.0, 0.0), 1072.0)
    assert (decision.desired, decision.state.activity) == (1, Activity.ACTIVE)


def test_a_replica_that_never_comes_up_is_given_up_when_nobody_asks_any_more() -> None:
    of = policy()
    state = KpaState(activity=Activity.INACTIVE, is_initialised=True)
    state = decide(of, state, MetricSnapshot(0, 0.2, 1.0), 1000.0).state
    late_s = 1000.0 + ACTIVATION_TIMEOUT_S
    assert decide(of, state, MetricSnapshot(0, 1.0, 1.0), late_s).desired == 1
    assert decide(of, state, MetricSnapshot(0, 0.0, 0.0), late_s).desired == 0


def test_activation_scale_counts_from_zero_but_not_at_zero() -> None:
    of = policy(activation_scale=5)
    state = KpaState(activity=Activity.INACTIVE, is_initialised=True)
    assert decide(of, state, MetricSnapshot(0, 0.0, 0.0), 1e6).desired == 0
    assert decide(of, state, MetricSnapshot(0, 0.2, 1.0), 1e6).desired == 5


def test_a_revision_that_nothing_leads_to_goes_to_zero_whatever_its_minimum() -> None:
    of = policy(min_replicas=4)
    state = msgspec.structs.replace(SERVING, desired=4)
    seen = MetricSnapshot(4, 0.0, 0.0)
    assert decide(of, state, seen, 1e6).desired == 4
    unreachable = msgspec.structs.replace(seen, is_reachable=False)
    assert decide(of, state, unreachable, 1e6).desired == 0


def test_a_day_of_load_from_zero_and_back_to_zero() -> None:
    """The whole loop: windows, ticks and replicas, second by second on a virtual clock."""
    of = ScalingPolicy(min_replicas=0, max_replicas=20, target=10.0)
    window = MetricsWindow(of)
    state = initial_state(of, 0, 0.0)
    ready, seen = 0, {}
    for second in range(600):
        load = 0.0 if second < 30 or second >= 300 else 70.0
        window.record(second, load)
        if second % 2 == 0:
            snapshot = MetricSnapshot(ready, *window.averages(second))
            decision = decide(of, state, snapshot, second)
            ready, state = decision.desired, decision.state
        seen[second] = ready
    assert seen[28] == 1
    # 70 at once at 7 a replica; the panic window of 6 s has it within seconds.
    assert seen[36] == 10
    assert max(seen.values()) == 10
    assert seen[299] == 10
    assert seen[359] >= 1
    assert seen[420] == 0 == seen[599]


# Properties.

POLICIES = st.builds(
    ScalingPolicy,
    min_replicas=st.integers(0, 3),
    max_replicas=st.sampled_from([0, 3, 5, 10]),
    metric=st.sampled_from(["concurrency", "rps"]),
    target=st.sampled_from([0.0, 0.5, 1.0, 10.0]),
    container_concurrency=st.sampled_from([0, 1, 4]),
    scale_down_delay_s=st.sampled_from([0.0, 20.0]),
    scale_to_zero_retention_s=st.sampled_from([0.0, 40.0]),
    activation_scale=st.integers(1, 3),
    initial_scale=st.integers(-1, 4),
)
LOADS = st.floats(0.0, 1000.0)
SIGHTS = st.lists(st.tuples(LOADS, LOADS, st.floats(0.1, 100.0)), min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(of=POLICIES, start=st.integers(0, 12), sights=SIGHTS)
def test_the_bounds_hold_and_panic_never_scales_down(
    of: ScalingPolicy, start: int, sights: list[tuple[float, float, float]]
) -> None:
    now_s, ready = 0.0, start
    state = initial_state(of, ready, now_s)
    before: Decision | None = None
    for stable, panic, passed_s in sights:
        now_s += passed_s
        decision = decide(of, state, MetricSnapshot(ready, stable, panic), now_s)
        assert decision.desired >= of.min_replicas
        assert not of.max_replicas or decision.desired <= of.max_replicas
        if before is not None and before.is_panicking and decision.is_panicking:
            assert decision.desired >= before.desired
        before, state, ready = decision, decision.state, decision.desired


@settings(max_examples=150, deadline=None)
@given(of=POLICIES, ready=st.integers(0, 12), low=LOADS, high=LOADS)
def test_more_load_never_means_fewer_replicas(
    of: ScalingPolicy, ready: int, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    assert once(of, ready, low).desired <= once(of, ready, high).desired


def test_decisions_share_nothing() -> None:
    of = policy(target=1.0)
    first = once(of, 1, 5.0)
    assert once(of, 1, 5.0) == first
