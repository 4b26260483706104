"""Routers that learn: regret beside MABWiser's and river's, cost of a choice, and kill -9.

    python bench/bandits.py [--runs 200] [--rounds 2000] [--only WORDS] [--costs] [--kills 200]

Both policies of a line see the same worlds: without contexts, an arm's first choice earns both of
them the same, its second too, and so on; with contexts, each round does, and both begin with one
reward of each arm. With "late", 20% of the rewards come 1,000 rounds later. The ratio is ours to
theirs, with the standard error of the pairs' differences that so many runs leave. Ends with 1 if
a ratio is above 1.05 by more than two standard errors, or if a kill lost what was acknowledged.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mabwiser.mab import LearningPolicy
from river import bandit, proba, stats
from tests.bandit_peers import MabwiserPlayer, RiverPlayer
from tests.bandit_worlds import (
    Delay,
    OurPlayer,
    Player,
    World,
    bernoulli,
    gaussian,
    linear,
    play,
    regret,
)
from tests.router_child import Told, run_and_kill
from tests.routers import Gateway, Time, choosing, learned

from salver.bandits.policies import make_policy
from salver.engine.learning import Reward
from salver.engine.learning_values import Outcome
from salver.spec.learning import CONTEXTUAL, PARAMETERS

ALLOWED = 1.05
Maker = Callable[[int], Player]
Words = list[tuple[str, str]]


def ours(algorithm: str, parameters: Words, arms: int) -> Maker:
    names = tuple(str(index) for index in range(arms))

    def make(seed: int) -> Player:
        return OurPlayer(make_policy(algorithm, names, parameters), random.Random(seed).random)

    return make


def river_greedy(seed: int) -> Player:
    return RiverPlayer(bandit.EpsilonGreedy(epsilon=0.1, reward_obj=stats.Mean(), seed=seed), 3)


def river_ucb(seed: int) -> Player:
    return RiverPlayer(bandit.UCB(delta=1.0, reward_obj=stats.Mean(), seed=seed), 3)


def river_thompson(seed: int) -> Player:
    policy = bandit.ThompsonSampling(reward_obj=proba.Beta(1, 1), seed=seed)
    return RiverPlayer(policy, 3, is_counted=True)


def mabwiser(policy: object, arms: int) -> Maker:
    return lambda seed: MabwiserPlayer(policy, arms, seed)


class DrawnGaussian:
    """Thompson sampling with the same posterior, drawn: no library has it."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._inner = ours("thompson_gaussian", [], 3)(seed)

    def choose(self, context: array[float]) -> int:
        assert isinstance(self._inner, OurPlayer)
        found = [each.parameters for each in self._inner.policy.beliefs(self._inner.state)]
        widths = [(p["scale"] / (p["shape"] * p["weight"])) ** 0.5 for p in found]
        draws = [
            p["mean"] + width * self._rng.standard_t(2 * p["shape"])
            for p, width in zip(found, widths, strict=True)
        ]
        return int(np.argmax(draws))

    def learn(self, arm: int, reward: float, context: array[float], at_s: float) -> None:
        self._inner.learn(arm, reward, context, at_s)


def bernoulli_world(seed: int, rounds: int) -> World:
    return bernoulli(seed, [0.3, 0.5, 0.6], rounds)


def gaussian_world(seed: int, rounds: int) -> World:
    return gaussian(seed, [0.0, 0.3, 0.6], rounds)


def linear_world(seed: int, rounds: int) -> World:
    return linear(seed, 3, 6, rounds)


LINES: list[tuple[str, Callable[[int, int], World], Maker, Maker, str]] = [
    (
        "bernoulli epsilon_greedy",
        bernoulli_world,
        ours("epsilon_greedy", [], 3),
        river_greedy,
        "river",
    ),
    ("bernoulli ucb1", bernoulli_world, ours("ucb1", [], 3), river_ucb, "river"),
    ("bernoulli thompson", bernoulli_world, ours("thompson", [], 3), river_thompson, "river"),
    (
        "gaussian epsilon_greedy",
        gaussian_world,
        ours("epsilon_greedy", [], 3),
        river_greedy,
        "river",
    ),
    (
        "gaussian ucb1",
        gaussian_world,
        ours("ucb1", [], 3),
        river_ucb,
        "river",
    ),
    (
        "gaussian thompson_gaussian",
        gaussian_world,
        ours("thompson_gaussian", [], 3),
        DrawnGaussian,
        "drawn",
    ),
    (
        "linear linucb",
        linear_world,
        ours("linucb", [("alpha", "0.5")], 3),
        mabwiser(LearningPolicy.LinUCB(alpha=0.5, l2_lambda=1.0), 3),
        "MABWiser",
    ),
    (
        "linear lints",
        linear_world,
        ours("lints", [("alpha", "0.3")], 3),
        mabwiser(LearningPolicy.LinTS(alpha=0.3, l2_lambda=1.0), 3),
        "MABWiser",
    ),
]


def compare(
    make_world: Callable[[int, int], World],
    mine: Maker,
    theirs: Maker,
    delay: Delay | None,
    runs: int,
    rounds: int,
) -> tuple[float, float, float, float]:
    """Mean regret of both, their ratio, and its standard error."""
    pairs, makers = [], (mine, theirs)
    for seed in range(runs):
        world = make_world(seed, rounds)
        pairs.append(
            [regret(world, play(world, begun(make(seed), world), delay, seed)) for make in makers]
        )
    found = np.array(pairs)
    a, b = found.mean(0)
    ratio = a / b
    error = float(np.std(found[:, 0] - ratio * found[:, 1], ddof=1) / b / runs**0.5)
    return float(a), float(b), float(ratio), error


def begun(player: Player, world: World) -> Player:
    """With one reward of each arm, where there are contexts: MABWiser asks for it, and chance at
    the start would be all that the two LinUCB differ by."""
    if world.contexts is not None:
        for arm in range(world.arms):
            player.learn(arm, float(world.rewards[0, arm]), world.context(0), 0.0)
    return player


def regrets(options: argparse.Namespace) -> bool:
    is_good = True
    print(f"cumulative regret, mean of {options.runs} runs of {options.rounds} rounds")
    print(f"{'':28}{'':6}{'ours':>9}{'theirs':>9}{'ratio':>8}{'+-':>7}   of")
    for name, make_world, mine, theirs, peer in LINES:
        if options.only and options.only not in name:
            continue
        for delay in (None, Delay()):
            a, b, ratio, error = compare(
                make_world, mine, theirs, delay, options.runs, options.rounds
            )
            is_worse = ratio - 2 * error > ALLOWED
            is_good &= not is_worse
            late = "late" if delay else ""
            mark = "  WORSE" if is_worse else ""
            print(
                f"{name:28}{late:6}{a:9.2f}{b:9.2f}{ratio:8.3f}{error:7.3f}   {peer}{mark}",
                flush=True,
            )
    return is_good


def costs() -> None:
    """Microseconds for a choice among five arms, and for an update; contexts have 20 numbers."""
    print("\nmicroseconds   policy   router with log   update")
    for algorithm in PARAMETERS:
        alone, whole, update = cost_of(algorithm)
        print(f"{algorithm:20}{alone:6.1f}{whole:12.1f}{update:12.1f}")


def cost_of(algorithm: str) -> tuple[float, float, float]:
    """A choice of the policy alone, one of a whole router that logs to disk, and an update."""
    arms, rng = ("a", "b", "c", "d", "e"), random.Random(1)
    size = 20 if algorithm in CONTEXTUAL else 0
    rows = [array("d", [rng.random() for _ in range(size)]) for _ in range(500)]
    bodies = [msgspec.json.encode({"instances": [list(row)]}) for row in rows]
    runs = [choosing(f"request-{index}", bodies[index % 500]) for index in range(4000)]
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), time=Time())
        assert gateway.logs is not None
        due: list[Callable[[], object]] = []
        gateway.logs.call_soon = due.append
        parameters = {"bias": "false"} if size else {}
        gateway.routers.chooser("default", "g", "s", learned(algorithm, arms, **parameters))
        router = gateway.routers.find("default", "g", "s")
        for index in range(500):
            router.version.choose(runs[index])
            router.take([Reward(f"request-{index}", rng.random())])
        left = iter(runs[500:])
        whole = _best(lambda: router.version.choose(next(left)), 600)
        for flush in due:
            flush()
        policy, state, row = router.version.policy, router.version.state, rows[0]
        gateway.close()
    alone = _best(lambda: policy.choose(state, row, rng.random), 2000)
    update = _best(lambda: policy.update(state, 1, 0.5, row, 500.0), 500)
    return alone, whole, update


def _best(act: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(5):
        began_s = time.perf_counter()
        for _ in range(times):
            act()
        found.append((time.perf_counter() - began_s) / times * 1e6)
    return min(found)


def kills(count: int) -> bool:
    """kill -9 of a writer again and again on one folder; what it acknowledged must be there."""
    told, moment = Told(), random.Random(1)
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(count):
            run_and_kill(folder, f"g{index}", moment.uniform(0.0, 0.3), told)
        gateway = Gateway(folder, "after", time=Time(4e9))
        gateway.routers.chooser("default", "shop", "pick", learned("thompson"))
        router = gateway.routers.find("default", "shop", "pick")
        beliefs = router.version.policy.beliefs(router.version.state)
        found = sum(belief.rewards for belief in beliefs)
        lost = max(0, len(told.rewarded) - found)
        chosen = sum(router.memory.counts.values())
        kept = [each for each in told.rewarded if router.knows(each)]
        again = router.take([Reward(each, 1.0) for each in kept])
        gateway.close()
    print(
        f"\n{count} kills: {len(told.rewarded)} rewards acknowledged, {found} there, {lost} lost; "
        f"{len(told.chosen)} choices told of, {chosen} there; of {len(kept)} still on record, "
        f"{again[Outcome.DUPLICATE]} known to be rewarded"
    )
    most = len(told.rewarded) + 4 * count
    return (
        not lost
        and found <= most
        and chosen >= len(told.chosen)
        and again[Outcome.DUPLICATE] == len(kept)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="routers that learn")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--only", default="", help="the lines of regret that have these words")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--costs", action="store_true")
    options = parser.parse_args()
    is_good = True
    if options.runs:
        is_good &= regrets(options)
    if options.costs:
        costs()
    if options.kills:
        is_good &= kills(options.kills)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
