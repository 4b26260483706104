"""Judging a policy by another one's log: against what the world says is true."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest
from tests.bandit_worlds import bernoulli, linear, regret

from salver.bandits.evaluation import Evaluation, Logged, evaluate, evaluate_fixed
from salver.bandits.policies import make_policy
from salver.bandits.policy import Belief, Context
from salver.bandits.regret import contextual_regret, estimated_regret
from salver.errors import InvalidInput

CHANCES = [0.2, 0.5, 0.7]
LOGGING = (0.5, 0.3, 0.2)
TARGET = (0.1, 0.2, 0.7)
TRUTH = sum(share * chance for share, chance in zip(TARGET, CHANCES, strict=True))


def logged(seed: int, rounds: int = 400, shares: tuple[float, ...] = LOGGING) -> list[Logged]:
    world, rng = bernoulli(seed, CHANCES, rounds), random.Random(seed)
    found = []
    for index in range(rounds):
        arm = rng.choices(range(3), shares)[0]
        found.append(Logged(arm, shares[arm], float(world.rewards[index, arm]), at_s=float(index)))
    return found


def target(context: Context) -> tuple[float, ...]:
    return TARGET


def values(evaluations: list[Evaluation], method: str) -> np.ndarray:
    return np.array(
        [each.value for found in evaluations for each in found.estimates if each.method == method]
    )


@pytest.fixture(scope="module")
def evaluations() -> list[Evaluation]:
    return [evaluate_fixed("target", target, 3, logged(seed)) for seed in range(250)]


@pytest.mark.parametrize("method", ["ips", "snips", "dr"])
def test_the_estimates_are_right_on_average(evaluations: list[Evaluation], method: str) -> None:
    found = values(evaluations, method)
    # Three standard errors of the mean of 250 runs.
    assert found.mean() == pytest.approx(TRUTH, abs=3 * found.std() / 250**0.5)


@pytest.mark.parametrize("method", ["ips", "snips", "dr"])
def test_the_intervals_hold_the_truth_as_often_as_they_say(
    evaluations: list[Evaluation], method: str
) -> None:
    inside = [
        each.low < TRUTH < each.high
        for found in evaluations
        for each in found.estimates
        if each.method == method
    ]
    # 95%, within three standard errors of 250 runs.
    assert 0.95 - 0.042 <= np.mean(inside) <= 0.95 + 0.042


def test_the_doubly_robust_estimate_is_narrower_than_plain_weighting(
    evaluations: list[Evaluation],
) -> None:
    assert values(evaluations, "dr").std() < 0.8 * values(evaluations, "ips").std()


def test_the_policy_that_ran_is_worth_what_it_earned() -> None:
    log = logged(1)
    found = evaluate_fixed("same", lambda context: LOGGING, 3, log)
    assert found.effective == pytest.approx(len(log))
    assert found.estimates[0].value == pytest.approx(found.logged.value)
    assert found.estimates[1].value == pytest.approx(found.logged.value)
    assert found.warnings == ()


def test_numbers_by_hand() -> None:
    log = [Logged(0, 0.5, 1.0), Logged(1, 0.5, 0.0), Logged(0, 0.5, 0.5)]
    found = evaluate_fixed("first", lambda context: (1.0, 0.0), 2, log)
    ips, snips, dr = found.estimates
    assert ips.value == pytest.approx((2 * 1.0 + 0 + 2 * 0.5) / 3)
    assert snips.value == pytest.approx((2 * 1.0 + 2 * 0.5) / 4)
    # The model knows nothing, then that arm 0 pays 1, then the same.
    assert dr.value == pytest.approx((2 * 1.0 + 1.0 + (1.0 + 2 * (0.5 - 1.0))) / 3)
    assert found.effective == pytest.approx(4**2 / 8)
    assert ips.error == pytest.approx(np.std([2.0, 0.0, 1.0], ddof=1) / 3**0.5)


def test_a_policy_that_learns_from_the_log_ends_up_with_the_best_arm() -> None:
    log = logged(2, 3000)
    found = evaluate(make_policy("epsilon_greedy", ("a", "b", "c"), [("epsilon", "0.1")]), log)
    best = 0.9 * 0.7 + 0.1 * sum(CHANCES) / 3
    for each in found.estimates[1:]:
        assert each.low < best < each.high
    fixed = evaluate(make_policy("epsilon_greedy", ("a", "b", "c")), log, learns=False)
    assert fixed.estimates[1].value == pytest.approx(sum(CHANCES) / 3, abs=0.05)


def test_contextual_policies_are_judged_with_their_contexts() -> None:
    world, rng = linear(3, 2, 3, 1500), random.Random(3)
    log = []
    for index in range(world.rounds):
        arm = rng.randrange(2)
        log.append(Logged(arm, 0.5, float(world.rewards[index, arm]), world.context(index)))
    found = evaluate(make_policy("linucb", ("a", "b"), [("alpha", "0.3")]), log)
    best = float(world.means.max(1).mean())
    for each in found.estimates:
        assert each.low < best + 0.05 and each.high > best - 0.05
    assert found.estimates[2].error < 0.7 * found.estimates[0].error


def test_a_small_effective_sample_is_warned_of() -> None:
    found = evaluate_fixed("far", lambda context: (0.0, 0.0, 1.0), 3, logged(4, 200))
    assert found.effective < 100
    assert any("below 100 the intervals are too narrow" in each for each in found.warnings)


def test_choices_that_the_log_never_made_are_warned_of() -> None:
    log = [Logged(i % 2, 0.5, 1.0) for i in range(400)]
    found = evaluate_fixed("else", lambda context: (0.1, 0.1, 0.8), 3, log)
    assert any("the log hardly or never chose" in each for each in found.warnings)


def test_one_choice_with_much_of_the_weight_is_warned_of() -> None:
    log = [*[Logged(0, 0.99, 1.0) for _ in range(200)], Logged(1, 0.01, 1.0)]
    found = evaluate_fixed("half", lambda context: (0.5, 0.5), 2, log)
    assert any("one choice has" in each for each in found.warnings)


@pytest.mark.parametrize(
    "log",
    [[], [Logged(0, 0.5, 1.0)], [Logged(0, 0.0, 1.0)] * 2, [Logged(3, 0.5, 1.0)] * 2],
    ids=["none", "one", "impossible", "no such arm"],
)
def test_a_log_that_cannot_be_is_refused(log: list[Logged]) -> None:
    with pytest.raises(InvalidInput, match="the log"):
        evaluate_fixed("any", lambda context: (0.5, 0.5), 2, log)


def test_regret_is_what_the_choices_cost_against_the_best() -> None:
    beliefs = [Belief(0.5, None, None, 9), Belief(0.2, None, None, 3), Belief(0.0, None, None, 0)]
    found = estimated_regret([10, 5, 7], beliefs)
    assert found is not None
    assert (found.total, found.choices) == (pytest.approx(1.5), 15)
    assert found.per_choice == pytest.approx(0.1)
    assert estimated_regret([10, 5], [beliefs[0], beliefs[2]]) is None


def test_regret_with_contexts_counts_each_choice_by_its_own() -> None:
    found = contextual_regret([(0, (1.0, 0.0)), (1, (1.0, 0.25)), (1, (0.0, 1.0))])
    assert found is not None and found.total == pytest.approx(0.75) and found.choices == 3
    assert contextual_regret([]) is None


def test_the_worlds_regret_is_nothing_for_who_knows() -> None:
    world = linear(1, 3, 4, 50)
    assert regret(world, world.means.argmax(1).tolist()) == 0.0
    assert world.context(0) == array("d", world.contexts[0].tolist())  # type: ignore[index]
