"""Shares, updates, states and parameters of the policies."""

from __future__ import annotations

import random
import subprocess
import sys
from array import array
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bandit_worlds import linear

from salver.bandits.linear import REFACTOR_EVERY, LinearState
from salver.bandits.policies import MAKERS, context_of, make_policy
from salver.bandits.policy import Choice, Context, Policy, drawn
from salver.errors import InvalidInput
from salver.spec.learning import CONTEXTUAL, PARAMETERS, problems_of

ARMS = ("a", "b", "c")
PLAIN = [name for name in PARAMETERS if name not in CONTEXTUAL]
ALL = list(PARAMETERS)


def context_for(policy: Policy, seed: int = 0) -> Context:
    if not policy.is_contextual:
        return array("d")
    return array("d", np.random.default_rng(seed).standard_normal(4).tolist())


def taught(policy: Policy, rewards: list[tuple[int, float]], state: object = None) -> object:
    found = policy.empty()
    for index, (arm, reward) in enumerate(rewards):
        found = policy.update(found, arm, reward, context_for(policy, index), float(index))
    return found


SOME = [(0, 1.0), (1, 0.0), (2, 1.0), (0, 0.0), (1, 0.5), (0, 1.0)]

# Shares.


def test_no_numpy_is_imported_without_a_context() -> None:
    program = (
        "import sys; from salver.bandits.policies import make_policy\n"
        "from salver.spec.learning import CONTEXTUAL, PARAMETERS\n"
        "import salver.bandits.evaluation, salver.bandits.regret\n"
        "for name in set(PARAMETERS) - CONTEXTUAL:\n"
        "    p = make_policy(name, ('a', 'b')); s = p.update(p.empty(), 0, 1.0); p.shares(s)\n"
        "assert 'numpy' not in sys.modules, 'numpy is there'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("floor", [0.0, 0.1, 1 / 3])
def test_shares_add_up_and_keep_the_floor(algorithm: str, floor: float) -> None:
    policy = make_policy(algorithm, ARMS, [("min_share", str(floor))])
    for count in range(len(SOME)):
        shares = policy.shares(taught(policy, SOME[:count]), context_for(policy))
        assert sum(shares) == pytest.approx(1.0, abs=1e-12)
        assert min(shares) >= floor - 1e-12


@pytest.mark.parametrize("algorithm", ALL)
def test_arms_are_drawn_with_the_propensity_that_is_told(algorithm: str) -> None:
    policy = make_policy(algorithm, ARMS, [("min_share", "0.05")])
    state, context = taught(policy, SOME), context_for(policy)
    rng = random.Random(4)
    choices = [policy.choose(state, context, rng.random) for _ in range(3000)]
    told = {choice.arm: choice.propensity for choice in choices}
    for arm, count in Counter(choice.arm for choice in choices).items():
        # Four standard errors.
        error = 4 * (told[arm] * (1 - told[arm]) / 3000) ** 0.5
        assert count / 3000 == pytest.approx(told[arm], abs=error)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8), st.floats(0.0, 1.0, exclude_max=True))
def test_an_arm_without_a_share_is_never_drawn(weights: list[float], point: float) -> None:
    total = sum(weights)
    if total < 1e-6:
        return
    shares = tuple(weight / total for weight in weights)
    assert drawn(shares, lambda: point).propensity > 0.0


def test_a_crumb_of_rounding_goes_to_the_last_arm_that_has_a_share() -> None:
    assert drawn((0.3, 0.3, 0.0), lambda: 0.99) == Choice(1, 0.3)


def test_epsilon_greedy_shares_what_is_best_equally() -> None:
    policy = make_policy("epsilon_greedy", ARMS, [("epsilon", "0.3")])
    assert policy.shares(policy.empty()) == pytest.approx((1 / 3,) * 3)
    assert policy.shares(taught(policy, [(0, 1.0), (1, 1.0)])) == pytest.approx((0.45, 0.45, 0.1))
    assert policy.shares(taught(policy, [(0, 1.0)])) == pytest.approx((0.8, 0.1, 0.1))


def test_an_arm_without_rewards_can_count_as_more_than_nothing() -> None:
    policy = make_policy("epsilon_greedy", ARMS, [("epsilon", "0"), ("initial", "2")])
    assert policy.shares(taught(policy, [(0, 1.0)])) == (0.0, 0.5, 0.5)


def test_ucb1_tries_every_arm_first() -> None:
    policy = make_policy("ucb1", ARMS)
    assert policy.shares(taught(policy, [(0, 1.0)])) == (0.0, 0.5, 0.5)


def test_thompson_before_the_first_reward_has_no_favourite() -> None:
    for algorithm in ("thompson", "thompson_gaussian", "lints"):
        policy = make_policy(algorithm, ARMS)
        assert policy.shares(policy.empty(), context_for(policy)) == pytest.approx((1 / 3,) * 3)


def test_a_prior_counts_as_rewards_do() -> None:
    policy = make_policy("thompson", ("a", "b"), [("prior_alpha", "3"), ("prior_beta", "7")])
    belief = policy.beliefs(policy.empty())[0]
    assert belief.mean == pytest.approx(0.3)
    assert belief.parameters == {"alpha": 3.0, "beta": 7.0}


def test_the_gaussian_posterior_is_the_textbooks() -> None:
    # mu0 1, kappa0 2, alpha0 3, beta0 4 and the rewards 1, 2, 4; by hand.
    words = [("prior_mean", "1"), ("prior_weight", "2"), ("prior_shape", "3"), ("prior_scale", "4")]
    policy = make_policy("thompson_gaussian", ("a", "b"), words)
    found = policy.beliefs(taught(policy, [(0, 1.0), (0, 2.0), (0, 4.0)]))[0].parameters
    mean, spread = 7 / 3, 14 / 3
    assert found["mean"] == pytest.approx((2 * 1 + 7) / 5)
    assert (found["weight"], found["shape"]) == (5.0, 4.5)
    assert found["scale"] == pytest.approx(4 + spread / 2 + 2 * 3 * (mean - 1) ** 2 / (2 * 5))


def test_thompson_refuses_what_is_no_chance() -> None:
    policy = make_policy("thompson", ARMS)
    for reward in (-0.1, 1.1):
        with pytest.raises(InvalidInput, match="not from 0 to 1"):
            policy.check_reward(reward)
    policy.check_reward(0.5)


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("reward", [float("nan"), float("inf"), True, "1"])
def test_no_policy_learns_from_what_is_no_number(algorithm: str, reward: object) -> None:
    with pytest.raises(InvalidInput, match="reward"):
        make_policy(algorithm, ARMS).check_reward(reward)  # type: ignore[arg-type]


# Updates.


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("half_life", ["0", "3"])
@given(order=st.permutations(range(8)))
def test_rewards_teach_the_same_in_any_order(
    algorithm: str, half_life: str, order: list[int]
) -> None:
    parameters = [("half_life", half_life)] if algorithm in PLAIN else []
    policy = make_policy(algorithm, ARMS, parameters)
    rewards = [(index % 3, (index % 5) / 4, float(index)) for index in range(8)]

    def after(indices: list[int]) -> object:
        state = policy.empty()
        for index in indices:
            arm, reward, at_s = rewards[index]
            state = policy.update(state, arm, reward, context_for(policy, index), at_s)
        return state

    first, second = after(list(range(8))), after(order)
    context = context_for(policy, 99)
    assert policy.means(second, context) == pytest.approx(policy.means(first, context), abs=1e-9)
    assert policy.shares(second, context) == pytest.approx(policy.shares(first, context), abs=1e-6)


@pytest.mark.parametrize("algorithm", PLAIN)
def test_an_old_reward_counts_half_after_its_half_life(algorithm: str) -> None:
    policy = make_policy(algorithm, ("a", "b"), [("half_life", "10s")])
    state = policy.update(policy.empty(), 0, 1.0, at_s=100.0)
    state = policy.update(state, 0, 0.0, at_s=110.0)
    arm = state.arms[0]
    assert (arm.weight, arm.total, arm.rewards) == (1.5, 0.5, 2)


def test_time_without_rewards_fades_nothing() -> None:
    policy = make_policy("thompson", ("a", "b"), [("half_life", "1")])
    state = policy.update(policy.empty(), 0, 1.0, at_s=5.0)
    assert state.arms[0].weight == 1.0
    assert policy.from_json(policy.to_json(state)) == state


def test_a_state_is_a_value() -> None:
    for algorithm in ALL:
        policy = make_policy(algorithm, ARMS)
        before = taught(policy, SOME)
        text = policy.to_json(before)
        policy.update(before, 0, 1.0, context_for(policy))
        assert policy.to_json(before) == text


def test_the_inverse_stays_exact_over_many_rewards() -> None:
    policy = make_policy("linucb", ARMS)
    world, state = linear(1, 3, 12, 4 * REFACTOR_EVERY), policy.empty()
    for index in range(world.rounds):
        state = policy.update(state, 0, world.rewards[index, 0], world.context(index))
    assert isinstance(state, LinearState)
    arm = state.arms[0]
    assert np.allclose(arm.inverse @ arm.gram, np.eye(12), atol=1e-10)
    gram = np.eye(12) + world.contexts.T @ world.contexts  # type: ignore[union-attr]
    assert np.allclose(arm.gram, gram, atol=1e-9)


def test_a_hard_context_does_not_break_the_inverse() -> None:
    policy = make_policy("lints", ("a", "b"), [("ridge", "0.001")])
    state = policy.empty()
    for _ in range(1000):
        state = policy.update(state, 0, 1.0, array("d", [1e4, 1e4, 1e-4]))
    shares = policy.shares(state, array("d", [1e4, 1e4, 1e-4]))
    assert sum(shares) == pytest.approx(1.0) and all(share >= 0.0 for share in shares)


# States as JSON.


@pytest.mark.parametrize("algorithm", ALL)
def test_a_state_comes_back_from_json(algorithm: str) -> None:
    policy = make_policy(algorithm, ARMS)
    state = taught(policy, SOME)
    again = policy.from_json(policy.to_json(state))
    context = context_for(policy, 9)
    assert policy.shares(again, context) == pytest.approx(policy.shares(state, context), abs=1e-9)
    assert policy.to_json(again) == policy.to_json(state)
    assert policy.from_json(policy.to_json(policy.empty())) == policy.empty()


@pytest.mark.parametrize("algorithm", ALL)
def test_a_state_goes_on_with_other_arms(algorithm: str) -> None:
    old, new = make_policy(algorithm, ARMS), make_policy(algorithm, ("c", "new", "a"))
    state = taught(old, SOME)
    found = new.from_json(old.to_json(state))
    rewards = [belief.rewards for belief in new.beliefs(found)]
    assert rewards == [1, 0, 3]


@pytest.mark.parametrize(
    "text",
    [b"{", b"{}", b'{"version":2,"kind":"totals","at_s":0,"arms":{}}'],
    ids=["torn", "empty", "newer"],
)
def test_a_state_that_cannot_be_read_is_refused(text: bytes) -> None:
    for algorithm in ALL:
        with pytest.raises(InvalidInput, match="reset the router"):
            make_policy(algorithm, ARMS).from_json(text)


def test_the_state_of_another_kind_is_refused() -> None:
    plain, contextual = make_policy("thompson", ARMS), make_policy("lints", ARMS)
    with pytest.raises(InvalidInput):
        contextual.from_json(plain.to_json(plain.empty()))
    with pytest.raises(InvalidInput):
        plain.from_json(contextual.to_json(contextual.empty()))


# Parameters.

WRONG = [
    ("tompson", (), "there is no algorithm 'tompson'; did you mean 'thompson'?"),
    ("ucb1", (("epsilon", "0.1"),), "ucb1 has no parameter 'epsilon'; it has alpha, min_share"),
    ("ucb1", (("alhpa", "1"),), "did you mean 'alpha'?"),
    ("epsilon_greedy", (("epsilon", "1.5"),), "'epsilon' is '1.5': give a number from 0 to 1"),
    ("epsilon_greedy", (("epsilon", "x"),), "'epsilon' is 'x': give a number from 0 to 1"),
    ("epsilon_greedy", (("epsilon", "nan"),), "'epsilon' is 'nan'"),
    ("thompson", (("prior_alpha", "0.5"),), "give a number of at least 1"),
    ("linucb", (("ridge", "0"),), "'ridge' is '0': give a number above 0"),
    ("thompson", (("half_life", "soon"),), "give a duration such as 30m or 24h"),
    ("thompson", (("min_share", "0.4"),), "is more than there is: give at most 0.333"),
    ("lints", (("bias", "maybe"),), "'bias' is 'maybe': give true or false"),
    ("lints", (("dimension", "-1"),), "'dimension' is '-1'"),
    ("lints", (("half_life", "1h"),), "lints has no parameter 'half_life'"),
    ("thompson", (("context", "x"),), "thompson has no parameter 'context'"),
]


@pytest.mark.parametrize(("algorithm", "given", "says"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_a_router_is_told(
    algorithm: str, given: tuple[tuple[str, str], ...], says: str
) -> None:
    problems = problems_of(algorithm, ARMS, given)
    assert len(problems) == 1 and says in problems[0]
    with pytest.raises(InvalidInput):
        make_policy(algorithm, ARMS, given)


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(problems_of("ucb1", ("a",), (("alpha", "x"), ("beta", "1")))) == 3


def test_arms_need_names_of_their_own() -> None:
    assert problems_of("ucb1", ("a", "b", "a"), ()) == [
        "there are two arms 'a': give each a name of its own"
    ]


def test_every_algorithm_that_manifests_may_name_is_there() -> None:
    assert set(MAKERS) == set(PARAMETERS)


@pytest.mark.parametrize(
    ("word", "name"),
    [("epsilon-greedy", "epsilon_greedy"), ("UCB", "ucb1"), ("lin_ts", "lints")],
)
def test_algorithms_have_other_names(word: str, name: str) -> None:
    assert make_policy(word, ARMS).algorithm == name


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5h", 5400.0), ("250ms", 0.25), ("2 d", 172800.0)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    policy = make_policy("ucb1", ARMS, [("half_life", text)])
    assert policy.half_life_s == seconds  # type: ignore[attr-defined]


def test_a_context_is_named_field_by_field() -> None:
    spec = context_of([("context", " age, income ,"), ("bias", "no"), ("dimension", "2")])
    assert (spec.names, spec.bias, spec.dimension) == (("age", "income"), False, 2)
    assert context_of([]).names == () and context_of([]).bias


@pytest.mark.parametrize("algorithm", sorted(CONTEXTUAL))
def test_a_context_of_no_or_too_many_numbers_is_refused(algorithm: str) -> None:
    policy = make_policy(algorithm, ARMS)
    for count in (0, 513):
        with pytest.raises(InvalidInput, match="the context has"):
            policy.choose(policy.empty(), array("d", [1.0] * count), lambda: 0.5)
