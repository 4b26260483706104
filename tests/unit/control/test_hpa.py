import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.control.hpa import HpaState, ResourceSnapshot, decide
from salver.graphs.plan import ScalingPolicy

CPU = ScalingPolicy(metric="cpu", min_replicas=1, max_replicas=20)


def once(replicas: int, percent: float | None, *, ready: int | None = None, least: int = 1) -> int:
    policy = ScalingPolicy(
        metric="cpu", min_replicas=least, max_replicas=20, scale_down_stabilization_s=0.0
    )
    seen = ResourceSnapshot(replicas, replicas if ready is None else ready, percent)
    return decide(policy, HpaState(), seen, 0.0).desired


@pytest.mark.parametrize(
    ("replicas", "percent", "expected"),
    [
        pytest.param(2, 160.0, 4, id="twice the target, twice the replicas"),
        pytest.param(4, 40.0, 2, id="half the target, half the replicas"),
        pytest.param(3, 87.0, 3, id="within the tolerance of a tenth"),
        pytest.param(3, 73.0, 3, id="within it below"),
        pytest.param(3, 90.0, 4, id="beyond it: rounded up"),
        pytest.param(1, 0.0, 1, id="never zero"),
        pytest.param(1, 8000.0, 5, id="in one period by four"),
        pytest.param(6, 8000.0, 12, id="or doubled"),
        pytest.param(15, 8000.0, 20, id="maximum"),
        pytest.param(2, None, 2, id="nothing measured"),
        pytest.param(0, None, 1, id="nothing there"),
    ],
)
def test_replicas_follow_the_use_of_the_resource(
    replicas: int, percent: float | None, expected: int
) -> None:
    assert once(replicas, percent) == expected


def test_a_minimum_of_zero_is_one() -> None:
    assert once(1, 0.0, least=0) == 1


def test_replicas_that_are_not_ready_may_be_all_that_is_missing() -> None:
    assert once(4, 160.0, ready=2) == 4
    assert once(4, 320.0, ready=2) == 8


def run(percents: list[float], step_s: float = 15.0, policy: ScalingPolicy = CPU) -> list[int]:
    state, replicas, seen = HpaState(), 10, []
    for number, percent in enumerate(percents):
        decision = decide(
            policy, state, ResourceSnapshot(replicas, replicas, percent), number * step_s
        )
        state, replicas = decision.state, decision.desired
        seen.append(replicas)
    return seen


def test_down_waits_for_five_minutes_of_less_and_up_for_nothing() -> None:
    seen = run([80.0] + [8.0] * 21)
    assert seen[:20] == [10] * 20
    assert seen[20] == 1
    assert run([160.0])[0] == 20


def test_a_peak_within_the_window_keeps_what_it_wanted() -> None:
    seen = run([40.0] * 10 + [80.0] + [40.0] * 20)
    assert seen == [10] * 30 + [5]


def test_a_window_for_scaling_up_waits_for_the_least_that_was_wanted() -> None:
    policy = ScalingPolicy(
        metric="cpu", min_replicas=1, max_replicas=20, scale_up_stabilization_s=60.0
    )
    assert run([80.0, 160.0, 160.0, 160.0, 160.0], policy=policy) == [10, 10, 10, 10, 20]


def test_a_steady_revision_remembers_little() -> None:
    state = HpaState()
    for number in range(500):
        state = decide(CPU, state, ResourceSnapshot(4, 4, 80.0), number * 1.0).state
    assert len(state.wanted) <= 3
    assert len(state.scaled) <= 16


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=20), st.floats(1.0, 400.0))
def test_the_bounds_always_hold(percents: list[float], step_s: float) -> None:
    assert all(1 <= replicas <= 20 for replicas in run(percents, step_s))
