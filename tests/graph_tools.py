"""What graphs are made with in tests: nothing is logged, shadowed or counted, unless told."""

from __future__ import annotations

from typing import Any

from salver.backends.local.graph_wiring import GraphTools
from salver.engine.directory import ModelDirectory
from salver.engine.traffic import TrafficSplit


class NoScheduler:
    """Implements `Scheduler`: whatever is due later never comes."""

    def call_later(self, delay: float, callback: Any, *args: Any) -> Any:
        raise AssertionError("nothing here waits")

    def call_soon(self, callback: Any, *args: Any) -> Any:
        raise AssertionError("nothing here waits")


def graph_tools(directory: ModelDirectory, **more: Any) -> GraphTools:
    """Tools over a directory; `more` replaces some."""

    def unexpected(*_: object) -> Any:
        raise AssertionError("nothing here is logged or shadowed")

    tools: dict[str, Any] = {
        "clock": lambda: 1.0,
        "scheduler": NoScheduler(),
        "random_number": lambda: 0.5,
        "new_id": lambda: "id",
        "find": lambda desire: directory.asked,
        "domain": "example.com",
        "logged": unexpected,
        "shadowed": unexpected,
        "routed": lambda name, targets, *, sticky: TrafficSplit(
            name, targets, random_number=lambda: 0.5, sticky=sticky
        ),
        "observers": lambda desire, variant: [],
        "reports": lambda desire, variant: lambda component, metrics: None,
        "choosers": lambda desire, variant: {},
        "forwards": lambda model, desire: None,
        "poster": lambda desire: None,
        "connect": lambda desire: None,
        "forget": lambda namespace, name: None,
    }
    return GraphTools(**{**tools, **more})
