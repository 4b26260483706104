"""The same numbers as MABWiser and river, where they have the same rule.

The regret of many long runs is compared by `bench/bandits.py`; here rules are, exactly, and the
regret of rules that only differ in chance, on runs that share everything else.
"""

from __future__ import annotations

import random
import warnings
from array import array

import numpy as np
import pytest
from tests.bandit_peers import MabwiserPlayer, PlainRidgePlayer, RiverPlayer
from tests.bandit_worlds import OurPlayer, bernoulli, gaussian, linear, play, regret

from salver.bandits.plain import Ucb1
from salver.bandits.policies import make_policy
from salver.bandits.totals import Totals

with warnings.catch_warnings():
    # Their own imports warn of what they depend on.
    warnings.simplefilter("ignore")
    from mabwiser.mab import LearningPolicy
    from river import bandit, proba, stats

ARMS = ("a", "b", "c")


def test_ucb1_makes_the_choices_of_mabwiser_and_river() -> None:
    world = gaussian(1, [0.1, 0.5, 0.3], 600)
    ours = OurPlayer(make_policy("ucb1", ARMS), random.Random(1).random)
    mabwiser = MabwiserPlayer(LearningPolicy.UCB1(alpha=1.0), 3, seed=1)
    river = RiverPlayer(bandit.UCB(delta=1.0, reward_obj=stats.Mean(), seed=1), 3)
    # They break ties in other ways: all arms are tried once first.
    for player in (ours, mabwiser, river):
        for arm in range(3):
            if isinstance(player, RiverPlayer):
                player.choose(array("d"))
            player.learn(arm, world.rewards[0, arm], array("d"), 0.0)
    chosen = play(world, ours)
    assert chosen == play(world, mabwiser)
    assert len(set(chosen)) == 3
    river.policy._n = 3
    assert chosen == play(world, river)


def test_the_bounds_of_ucb1_are_those_of_mabwiser() -> None:
    policy = Ucb1(ARMS, alpha=0.7)
    peer = MabwiserPlayer(LearningPolicy.UCB1(alpha=0.7), 3, seed=1)
    rng, state = np.random.default_rng(3), policy.empty()
    for index in range(60):
        reward = float(rng.normal())
        state = policy.update(state, index % 3, reward)
        peer.learn(index % 3, reward, array("d"), 0.0)
    assert isinstance(state, Totals)
    # MABWiser's bound of an arm is as of the last time that the arm, or any, was learned of.
    peer.mab.partial_fit([0, 1, 2], [0.5, 0.5, 0.5])
    for arm in range(3):
        state = policy.update(state, arm, 0.5)
    expected = list(peer.mab.predict_expectations().values())
    assert [policy.bound(state, arm) for arm in state.arms] == pytest.approx(expected, rel=1e-12)


def test_the_means_of_epsilon_greedy_are_those_of_mabwiser_and_river() -> None:
    policy = make_policy("epsilon_greedy", ARMS, [("epsilon", "0.2")])
    mabwiser = MabwiserPlayer(LearningPolicy.EpsilonGreedy(epsilon=0.0), 3, seed=1)
    river = RiverPlayer(bandit.EpsilonGreedy(epsilon=0.2, reward_obj=stats.Mean(), seed=1), 3)
    rng, state = np.random.default_rng(4), policy.empty()
    for index in range(100):
        reward = float(rng.normal())
        state = policy.update(state, index % 3, reward)
        mabwiser.learn(index % 3, reward, array("d"), 0.0)
        river.learn(index % 3, reward, array("d"), 0.0)
    expected = list(mabwiser.mab.predict_expectations().values())
    assert policy.means(state) == pytest.approx(expected, rel=1e-12)
    peers = [river.policy._rewards[arm].get() for arm in range(3)]
    assert policy.means(state) == pytest.approx(peers, rel=1e-9)


def test_the_posteriors_of_thompson_are_those_of_river() -> None:
    policy = make_policy("thompson", ARMS)
    river = RiverPlayer(
        bandit.ThompsonSampling(reward_obj=proba.Beta(1, 1), seed=1), 3, is_counted=True
    )
    rng, state = random.Random(5), policy.empty()
    for index in range(200):
        reward = float(rng.random() < 0.3)
        state = policy.update(state, index % 3, reward)
        river.learn(index % 3, reward, array("d"), 0.0)
    for arm, belief in enumerate(policy.beliefs(state)):
        peer = river.policy._rewards[arm]
        assert (belief.parameters["alpha"], belief.parameters["beta"]) == (peer.alpha, peer.beta)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_linucb_makes_the_choices_of_mabwiser(alpha: float) -> None:
    world = linear(2, 3, 5, 700)
    ours = OurPlayer(make_policy("linucb", ARMS, [("alpha", str(alpha))]), random.Random(1).random)
    peer = MabwiserPlayer(LearningPolicy.LinUCB(alpha=alpha, l2_lambda=1.0), 3, seed=1)
    # MABWiser starts with an inverse of its own making: each arm is tried once first.
    for player in (ours, peer):
        for arm in range(3):
            player.learn(arm, world.rewards[0, arm], world.context(0), 0.0)
    assert play(world, ours) == play(world, peer)


def test_the_weights_of_the_linear_ones_are_those_of_mabwiser() -> None:
    policy = make_policy("lints", ARMS, [("alpha", "0.5"), ("ridge", "2.5")])
    peer = MabwiserPlayer(LearningPolicy.LinTS(alpha=0.5, l2_lambda=2.5), 3, seed=1)
    world, state = linear(3, 3, 8, 900), policy.empty()
    for index in range(900):
        arm, context = index % 3, world.context(index)
        state = policy.update(state, arm, world.rewards[index, arm], context)
        peer.learn(arm, world.rewards[index, arm], context, 0.0)
    for arm, belief in enumerate(policy.beliefs(state)):
        model = peer.mab._imp.arm_to_model[arm]
        assert list(belief.parameters.values()) == pytest.approx(model.beta.tolist(), abs=1e-10)


def test_lints_chooses_as_often_as_draws_of_theta_do() -> None:
    world, alpha = linear(7, 3, 4, 60), 0.8
    policy = make_policy("lints", ARMS, [("alpha", str(alpha))])
    peer = PlainRidgePlayer(3, alpha, seed=1, samples=True)
    state = policy.empty()
    for index in range(59):
        arm = index % 3
        state = policy.update(state, arm, world.rewards[index, arm], world.context(index))
        peer.learn(arm, world.rewards[index, arm], world.context(index), 0.0)
    context = world.context(59)
    drawn = np.bincount([peer.choose(context) for _ in range(3000)], minlength=3) / 3000
    # Three standard errors of 3000 draws are at most 0.027.
    assert policy.shares(state, context) == pytest.approx(drawn.tolist(), abs=0.027)


def mean_regrets(chances: list[float], rounds: int, runs: int) -> tuple[float, float, float]:
    """Ours, river's, and the standard error of their difference: Thompson with Beta posteriors."""
    pairs = []
    for seed in range(runs):
        world = bernoulli(seed, chances, rounds)
        ours = OurPlayer(make_policy("thompson", ARMS), random.Random(seed).random)
        peer = RiverPlayer(
            bandit.ThompsonSampling(reward_obj=proba.Beta(1, 1), seed=seed), 3, is_counted=True
        )
        pairs.append((regret(world, play(world, ours)), regret(world, play(world, peer))))
    both = np.array(pairs)
    error = float((both[:, 0] - both[:, 1]).std(ddof=1) / np.sqrt(runs))
    return float(both[:, 0].mean()), float(both[:, 1].mean()), error


def test_thompson_loses_no_more_than_rivers() -> None:
    ours, theirs, error = mean_regrets([0.3, 0.5, 0.7], 200, 40)
    assert ours <= theirs * 1.05 + 2 * error
    assert error < 0.15 * theirs
