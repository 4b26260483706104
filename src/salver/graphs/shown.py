"""A graph as it is shown: its flows, and the figures of their steps. Values only.

What the server tells of a graph, and what the command line and the pages draw. Without the
units' plans: those may hold variables that are nobody else's affair.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from salver.graphs.flow import Flow, GraphDesire, Variant
from salver.graphs.picture import Sample
from salver.graphs.plan import ModelRunner, Runner

VERSION = 1
"""Raised when what is told here changes its meaning."""


class ShownVariant(msgspec.Struct, frozen=True):
    """One flow: its share of the requests, or of the copies if it is the shadow."""

    name: str
    percent: float
    flow: Flow
    is_shadow: bool = False
    sample: Sample | None = None
    """None where nothing is counted: the graph is nothing but its unit."""


class ShownGraph(msgspec.Struct, frozen=True):
    """One graph as it serves now, or if it never did, as it is wanted."""

    kind: str
    namespace: str
    name: str
    serves: bool
    url: str = ""
    variants: tuple[ShownVariant, ...] = ()
    units: Mapping[str, str] = {}
    """What each unit is, for people."""
    addresses: tuple[str, ...] = ()
    version: int = VERSION

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.namespace}/{self.name}"


def shown_graph(
    desire: GraphDesire, kind: str, url: str, samples: Mapping[str, Sample], *, serves: bool
) -> ShownGraph:
    """The graph with the figures of its variants, by their names."""
    shown = [_variant(each, each.percent, samples) for each in desire.variants]
    if desire.shadow is not None:
        shadow = _variant(desire.shadow, desire.shadow_percent, samples)
        shown.append(msgspec.structs.replace(shadow, is_shadow=True))
    return ShownGraph(
        kind,
        desire.namespace,
        desire.name,
        serves,
        url,
        tuple(shown),
        {unit.name: runner_text(unit.plan.runner) for unit in desire.units},
        desire.addresses,
    )


def _variant(variant: Variant, percent: float, samples: Mapping[str, Sample]) -> ShownVariant:
    return ShownVariant(variant.name, percent, variant.flow, sample=samples.get(variant.name))


def runner_text(runner: Runner) -> str:
    """What runs, in a few words."""
    if isinstance(runner, ModelRunner):
        kind = runner.runtime or runner.format or "model"
        return f"{kind} {runner.uri}".strip()
    for name in ("image", "url"):
        if hasattr(runner, name):
            return str(getattr(runner, name))
    return " ".join(getattr(runner, "command", ()))
