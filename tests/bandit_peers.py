"""The same algorithms as MABWiser and river have them, as players of simulated worlds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from salver.bandits.policy import Context


class MabwiserPlayer:
    """One of MABWiser's policies; before its first reward it chooses arm 0.

    Its linear policies copy one random generator into each arm at the arm's first reward: arms that
    have their first before anything is asked draw the *same* numbers from then on (2.7.4), which is
    not the algorithm that they name. Here each arm has a generator of its own.
    """

    def __init__(self, policy: Any, arms: int, seed: int) -> None:
        from mabwiser.mab import MAB
        from mabwiser.utils import create_rng

        self.mab = MAB(list(range(arms)), policy, seed=seed)
        self._is_fitted = False
        models = getattr(self.mab._imp, "arm_to_model", {})
        for arm, model in models.items():
            model.rng = create_rng(seed * arms + arm)

    def choose(self, context: Context) -> int:
        if not self._is_fitted:
            return 0
        return int(self.mab.predict([list(context)] if len(context) else None))

    def learn(self, arm: int, reward: float, context: Context, at_s: float) -> None:
        contexts = [list(context)] if len(context) else None
        learn = self.mab.partial_fit if self._is_fitted else self.mab.fit
        learn([arm], [reward], contexts)
        self._is_fitted = True


class RiverPlayer:
    """One of river's policies without a context."""

    def __init__(self, policy: Any, arms: int, *, is_counted: bool = False) -> None:
        self.policy = policy
        self._arms = list(range(arms))
        self._is_counted = is_counted

    def choose(self, context: Context) -> int:
        return int(self.policy.pull(self._arms))

    def learn(self, arm: int, reward: float, context: Context, at_s: float) -> None:
        # Beta takes outcomes, not numbers.
        self.policy.update(arm, bool(reward) if self._is_counted else reward)


class PlainRidgePlayer:
    """LinUCB or LinTS as their papers write them, solving from scratch: a third opinion."""

    def __init__(self, arms: int, alpha: float, seed: int, *, samples: bool) -> None:
        self._alpha, self._samples = alpha, samples
        self._rng = np.random.default_rng(seed)
        self._seen: list[list[tuple[Any, float]]] = [[] for _ in range(arms)]

    def scores(self, context: Context) -> list[float]:
        x = np.array(context)
        found = []
        for seen in self._seen:
            gram = np.eye(len(x)) + sum((np.outer(c, c) for c, _ in seen), np.zeros((len(x),) * 2))
            moment = sum((r * c for c, r in seen), np.zeros(len(x)))
            theta = np.linalg.solve(gram, moment)
            width = self._alpha * math.sqrt(float(x @ np.linalg.solve(gram, x)))
            mean = float(x @ theta)
            found.append(self._rng.normal(mean, width) if self._samples else mean + width)
        return found

    def choose(self, context: Context) -> int:
        return int(np.argmax(self.scores(context)))

    def learn(self, arm: int, reward: float, context: Context, at_s: float) -> None:
        self._seen[arm].append((np.array(context), reward))
