"""Component classes as people write them for Seldon Core, without its SDK: for e2e tests.

Together they are the graphs of `tests/e2e/seldon/*.yaml`. Each says in `tags` that it was there;
those that hear of feedback say in `tags` how often.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np


class Scaler:
    """A transformer: multiplies its input."""

    def __init__(self, by: float = 10.0) -> None:
        self.by = by

    def transform_input(self, x: Any, names: Any, meta: Any = None) -> Any:
        return np.asarray(x, dtype=float) * self.by

    def tags(self) -> dict[str, Any]:
        return {"scaled_by": self.by}

    def metrics(self) -> list[dict[str, Any]]:
        return [{"type": "COUNTER", "key": "scaled_total", "value": 1}]


class Chooser:
    """A router that is a combiner too: small numbers go to the first child, others to the second;
    negative ones to all, and zero to none."""

    def __init__(self, limit: float = 100.0) -> None:
        self.limit = limit
        self.heard: list[Any] = []

    def route(self, x: Any, names: Any) -> int:
        first = float(np.ravel(x)[0])
        if first == 0:
            return -2
        if first < 0:
            return -1
        return int(first > self.limit)

    def aggregate(self, xs: Any, names: Any) -> Any:
        return np.mean([np.asarray(x, dtype=float) for x in xs], axis=0)

    def send_feedback(
        self, x: Any, names: Any, reward: float, truth: Any, routing: Any = None
    ) -> None:
        self.heard.append([routing, reward])

    def tags(self) -> dict[str, Any]:
        return {"chooser_heard": len(self.heard)}


class Model:
    """A model: multiplies by its factor."""

    def __init__(self, factor: float = 2.0, label: str = "model") -> None:
        self.factor = factor
        self.label = label
        self.reward = 0.0
        self.heard = 0

    def predict(self, x: Any, names: Any = None, meta: Any = None) -> Any:
        return np.asarray(x, dtype=float) * self.factor

    def class_names(self) -> list[str]:
        return [f"{self.label}_a", f"{self.label}_b"]

    def send_feedback(
        self, x: Any, names: Any, reward: float, truth: Any, routing: Any = None
    ) -> None:
        self.heard += 1
        self.reward += reward

    def tags(self) -> dict[str, Any]:
        return {f"{self.label}_heard": self.heard}

    def health_status(self) -> str:
        if self.factor < 0:
            raise RuntimeError("feeling negative")
        return f"{self.label} is well"

    def init_metadata(self) -> dict[str, Any]:
        columns = {"messagetype": "tensor", "schema": {"names": ["a", "b"], "shape": [2]}}
        return {"name": self.label, "versions": ["v7"], "inputs": [columns], "custom": {"by": "us"}}

    def metrics(self) -> list[dict[str, Any]]:
        return [
            {"type": "GAUGE", "key": f"{self.label}_reward", "value": self.reward},
            {"type": "TIMER", "key": f"{self.label}_time_ms", "value": 1.5},
        ]


class Slow:
    """A model that is no good: it takes its time and fails."""

    def predict(self, x: Any, names: Any = None, meta: Any = None) -> Any:
        time.sleep(0.2)
        raise RuntimeError("never deployed")


class Mean:
    """A combiner."""

    def aggregate(self, xs: Any, names: Any) -> Any:
        return np.mean([np.asarray(x, dtype=float) for x in xs], axis=0)

    def tags(self) -> dict[str, Any]:
        return {"is_mean": True}


class Shifter:
    """An output transformer: adds to each number."""

    def __init__(self, by: float = 0.5) -> None:
        self.by = by

    def transform_output(self, x: Any, names: Any, meta: Any = None) -> Any:
        return np.asarray(x, dtype=float) + self.by

    def tags(self) -> dict[str, Any]:
        return {"is_shifted": True}
