"""Simulated worlds for bandits: what each arm would have paid in each round, known beforehand.

All policies that are compared see the same rounds. Regret is counted in means, not in rewards, so
that chance in the rewards does not blur it.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from salver.bandits.policy import NO_CONTEXT, Context, Policy

Doubles = NDArray[np.float64]


class World(msgspec.Struct):
    """`means` and `rewards` by round and arm; `contexts` by round, or none.

    Where nothing depends on the round, an arm's rewards are those of its first choice, its second,
    and so on: whoever chooses it as often has earned the same, so that two players differ by less
    chance.
    """

    means: Doubles
    rewards: Doubles
    contexts: Doubles | None = None

    @property
    def rounds(self) -> int:
        return len(self.rewards)

    @property
    def arms(self) -> int:
        return int(self.rewards.shape[1])

    def context(self, index: int) -> Context:
        return NO_CONTEXT if self.contexts is None else array("d", self.contexts[index].tolist())


def bernoulli(seed: int, chances: list[float], rounds: int) -> World:
    rng = np.random.default_rng(seed)
    means = np.tile(np.array(chances), (rounds, 1))
    return World(means, (rng.random(means.shape) < means).astype(float))


def gaussian(seed: int, centers: list[float], rounds: int, spread: float = 1.0) -> World:
    rng = np.random.default_rng(seed)
    means = np.tile(np.array(centers), (rounds, 1))
    return World(means, means + spread * rng.standard_normal(means.shape))


def linear(seed: int, arms: int, dimensions: int, rounds: int, spread: float = 0.3) -> World:
    """Contexts of length 1; each arm's mean reward is linear in them."""
    rng = np.random.default_rng(seed)
    thetas = rng.standard_normal((arms, dimensions))
    contexts = rng.standard_normal((rounds, dimensions))
    contexts /= np.linalg.norm(contexts, axis=1, keepdims=True)
    means = contexts @ thetas.T
    return World(means, means + spread * rng.standard_normal(means.shape), contexts)


class Player(Protocol):
    """Somebody who chooses arms and hears of rewards: one of ours, or a peer's."""

    def choose(self, context: Context) -> int: ...

    def learn(self, arm: int, reward: float, context: Context, at_s: float) -> None: ...


class OurPlayer:
    """One of Salver's policies, with its state."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self.policy, self.random = policy, random
        self.state = policy.empty()
        self.propensities: list[float] = []

    def choose(self, context: Context) -> int:
        choice = self.policy.choose(self.state, context, self.random)
        self.propensities.append(choice.propensity)
        return choice.arm

    def learn(self, arm: int, reward: float, context: Context, at_s: float) -> None:
        self.state = self.policy.update(self.state, arm, reward, context, at_s)


class Delay(msgspec.Struct, frozen=True):
    """This share of the rewards comes so many rounds later."""

    share: float = 0.2
    rounds: int = 1000


def play(world: World, player: Player, delay: Delay | None = None, seed: int = 0) -> list[int]:
    """The arms that were chosen."""
    late = np.random.default_rng(seed).random(world.rounds) < (delay.share if delay else 0.0)
    waiting: list[tuple[int, int, int, float]] = []
    chosen: list[int] = []
    times = [0] * world.arms
    for index in range(world.rounds):
        while waiting and waiting[0][0] <= index:
            _, then, arm, reward = heapq.heappop(waiting)
            player.learn(arm, reward, world.context(then), float(index))
        context = world.context(index)
        arm = player.choose(context)
        chosen.append(arm)
        which = times[arm] if world.contexts is None else index
        reward = float(world.rewards[which, arm])
        times[arm] += 1
        if delay is not None and late[index]:
            heapq.heappush(waiting, (index + delay.rounds, index, arm, reward))
        else:
            player.learn(arm, reward, context, float(index))
    return chosen


def regret(world: World, chosen: list[int]) -> float:
    """What always knowing the best would have earned more, on average."""
    taken = world.means[np.arange(world.rounds), chosen]
    return float((world.means.max(1) - taken).sum())
