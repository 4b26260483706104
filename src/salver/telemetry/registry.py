"""Live metrics: counters, gauges and histograms, each already bound to its labels.

Labels are resolved once, when a child is made; what the request path touches afterwards is a
plain attribute (`counter.value += 1`) or one bisection. No locks: a registry belongs to one
event loop. No threads, no callbacks; `snapshot()` copies the values out.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

from salver.telemetry.snapshot import Family, Kind, Labels, MergeRule, Sample, Snapshot

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Counter:
    """Only ever add to `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Gauge:
    """`value` may be set to anything."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """Counts by bucket, an upper bound belonging to its bucket, and the sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_repeated(self, value: float, times: int) -> None:
        """Counts `times` equal values at the price of one."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times


_Child = TypeVar("_Child", Counter, Gauge, Histogram)


class _Family:
    """One metric name and its children by labels."""

    __slots__ = ("children", "definition")

    def __init__(self, definition: Family) -> None:
        self.definition = definition
        self.children: dict[Labels, Counter | Gauge | Histogram] = {}


class Registry:
    """All metrics of one process. Asking twice for the same child gives the same child."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}
        self._sources: list[Callable[[], Snapshot]] = []

    def attach(self, source: Callable[[], Snapshot]) -> None:
        """Shows those families too, from now on. Their names must be none of this registry's."""
        self._sources.append(source)

    def counter(self, name: str, help: str, **labels: str) -> Counter:
        """The counter of these labels; by convention its name ends in `_total`."""
        return self._child(Counter, Counter, Family(name, help, "counter"), labels)

    def gauge(self, name: str, help: str, *, merge: MergeRule = "sum", **labels: str) -> Gauge:
        """The gauge of these labels; `merge` says what several processes' values make."""
        return self._child(Gauge, Gauge, Family(name, help, "gauge", merge), labels)

    def histogram(self, name: str, help: str, bounds: Sequence[float], **labels: str) -> Histogram:
        """The histogram of these labels; `bounds` are upper bounds, rising."""
        fixed = tuple(float(bound) for bound in bounds)
        if list(fixed) != sorted(set(fixed)):
            raise ValueError(f"histogram {name}: the bounds must rise, got {list(bounds)}")
        family = Family(name, help, "histogram", "sum", fixed)
        return self._child(Histogram, lambda: Histogram(fixed), family, labels)

    def discard(self, **labels: str) -> None:
        """Forgets every child that carries all of these labels, e.g. of an unloaded model."""
        wanted = set(labels.items())
        for family in self._families.values():
            for key in [key for key in family.children if wanted <= set(key)]:
                del family.children[key]

    def fold(self, of: dict[str, str], into: dict[str, str]) -> None:
        """Adds the children that carry all labels of `of` to those with the labels of `into`.

        For what is gone for good but counted: counters and histograms are added and sums keep
        growing; gauges have no meaning any more and are forgotten.
        """
        wanted = set(of.items())
        for family in self._families.values():
            for key in [key for key in family.children if wanted.issubset(key)]:
                child = family.children.pop(key)
                if isinstance(child, Gauge):
                    continue
                folded = tuple((label, into.get(label, value)) for label, value in key)
                known = family.children.setdefault(folded, child)
                if known is not child:
                    _add(known, child)

    def snapshot(self) -> Snapshot:
        """The values now, families sorted by name; those of other sources come last."""
        own = [_frozen(self._families[name]) for name in sorted(self._families)]
        return tuple(chain(own, *(source() for source in self._sources)))

    def _child(
        self,
        kind: type[_Child],
        make: Callable[[], _Child],
        definition: Family,
        labels: dict[str, str],
    ) -> _Child:
        family = self._families.get(definition.name)
        if family is None:
            _check_names(definition.name, definition.kind, labels)
            family = self._families[definition.name] = _Family(definition)
        elif family.definition != definition:
            raise ValueError(f"metric {definition.name} is already defined differently")
        key = tuple(labels.items())
        child = family.children.get(key)
        if child is None:
            if family.children and {n for n, _ in next(iter(family.children))} != set(labels):
                raise ValueError(f"metric {definition.name}: other labels than before: {labels}")
            child = family.children[key] = make()
        assert isinstance(child, kind)
        return child


def _add(known: Counter | Gauge | Histogram, child: Counter | Gauge | Histogram) -> None:
    if isinstance(known, Histogram) and isinstance(child, Histogram):
        known.counts = [a + b for a, b in zip(known.counts, child.counts, strict=True)]
        known.total += child.total
    elif isinstance(known, Counter) and isinstance(child, Counter):
        known.value += child.value


def _check_names(name: str, kind: Kind, labels: dict[str, str]) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no metric name: use letters, digits and underscores")
    for label in labels:
        if not _LABEL.fullmatch(label) or (kind == "histogram" and label == "le"):
            raise ValueError(f"metric {name}: {label!r} is no label name")


def _frozen(family: _Family) -> Family:
    definition = family.definition
    return Family(
        definition.name,
        definition.help,
        definition.kind,
        definition.merge,
        definition.bounds,
        tuple(_sample(labels, child) for labels, child in family.children.items()),
    )


def _sample(labels: Labels, child: Counter | Gauge | Histogram) -> Sample:
    if isinstance(child, Histogram):
        return Sample(labels, child.total, tuple(child.counts))
    return Sample(labels, child.value)
