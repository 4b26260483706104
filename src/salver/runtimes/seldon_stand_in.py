"""What components import of Seldon's SDK, for environments that it is not installed in.

Most components need no more of `seldon_core` than a base class and a way to return tags with an
answer; its newest version that is free software pins old libraries. Where the package is
installed, it is left alone. Refuses to offer anything that does something.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

logger = logging.getLogger("salver.worker")

PACKAGE = "seldon_core"


class SeldonNotImplementedError(Exception):
    """Raised by a component's method to say that it has none."""


class SeldonResponse:
    """An answer with tags and metrics of its own."""

    def __init__(
        self,
        data: Any,
        tags: dict[str, Any] | None = None,
        metrics: list[dict[str, Any]] | None = None,
    ) -> None:
        self.data = data
        self.tags = tags or {}
        self.metrics = metrics or []


class SeldonComponent:
    """The base class of components: what it lacks, a component need not have."""

    def __init__(self, **parameters: Any) -> None: ...


def stand_in() -> None:
    """Makes `seldon_core.user_model` and `seldon_core.metrics` importable, if they are not."""
    if PACKAGE in sys.modules or importlib.util.find_spec(PACKAGE) is not None:
        return
    package = ModuleType(PACKAGE)
    package.__path__ = []
    user_model, metrics = ModuleType(f"{PACKAGE}.user_model"), ModuleType(f"{PACKAGE}.metrics")
    kinds = (SeldonComponent, SeldonResponse, SeldonNotImplementedError)
    vars(user_model).update({kind.__name__: kind for kind in kinds})
    names = ("COUNTER", "GAUGE", "TIMER")
    vars(metrics).update({f"create_{name.lower()}": _metric(name) for name in names})
    vars(package).update(user_model=user_model, metrics=metrics)
    sys.modules.update({each.__name__: each for each in (package, user_model, metrics)})
    logger.debug("seldon_core is not installed: its base class is stood in for")


def _metric(kind: str) -> Any:
    def create(key: str, value: float, tags: dict[str, str] | None = None) -> dict[str, Any]:
        metric: dict[str, Any] = {"key": key, "type": kind, "value": value}
        return {**metric, "tags": tags} if tags else metric

    return create
