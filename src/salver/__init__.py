"""Salver serves machine-learning models: any format, any protocol, one command.

`@salver.graph` and what goes with it are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salver.authoring.choosing import cascade, choose, first_of, router
    from salver.authoring.combining import average, quorum, stack, vote, weighted
    from salver.authoring.declaring import graph, step
    from salver.authoring.models import model

__version__ = "0.1.0"
__all__ = [
    "average",
    "cascade",
    "choose",
    "first_of",
    "graph",
    "model",
    "quorum",
    "router",
    "stack",
    "step",
    "vote",
    "weighted",
]

_HOMES = {
    "choosing": ("cascade", "choose", "first_of", "router"),
    "combining": ("average", "quorum", "stack", "vote", "weighted"),
    "declaring": ("graph", "step"),
    "models": ("model",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(f"salver.authoring.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'salver' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
