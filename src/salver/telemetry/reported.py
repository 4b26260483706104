"""Numbers that components report of themselves: Seldon's `metrics()`, on `/metrics`.

A component names its metrics as it likes, so they are strangers here: each has the labels of
Seldon's wrapper (`deployment_name`, `predictor_name`, `model_name`), `namespace`, and the metric's
own tags; a COUNTER ends in `_total`, a TIMER counts milliseconds and is shown in seconds. Owns how
many there may be: what is too much, or no number, is dropped, counted, and told in the log once.
What comes is never trusted and never raises.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salver.telemetry.metrics import DURATION_BOUNDS_S
from salver.telemetry.registry import Counter, Gauge, Histogram, Registry
from salver.telemetry.snapshot import Family, Kind, Labels, Sample, Snapshot

logger = logging.getLogger("salver.graphs")

MAX_SERIES = 1000
"""Of one graph. A tag with a value of its own for each request would fill the memory."""
_KINDS: Mapping[Any, Kind] = {"COUNTER": "counter", "GAUGE": "gauge", "TIMER": "histogram"}
_RESERVED = "salver_"
_NAME_LENGTH, _VALUE_LENGTH, _MAX_TAGS = 128, 256, 16
_MS = 1000.0
_ODD = re.compile(r"[^a-zA-Z0-9_]")

_Place = tuple[str, str]
_Child = Counter | Gauge | Histogram
Report = Callable[[str, Sequence[Any]], None]
"""Takes a component's name, and its metrics as they are in a message's `meta`."""


class ReportedMetrics:
    """Those of all graphs of a server."""

    def __init__(self, registry: Registry, *, max_series: int = MAX_SERIES) -> None:
        self._registry = registry
        self._max_series = max_series
        self._reports: dict[_Place, dict[str, _Predictor]] = {}
        self._kinds: dict[str, Kind] = {}
        """What each name is on this server: whoever used it first has decided."""
        self._told: set[tuple[_Place, str]] = set()
        registry.attach(self.snapshot)

    def report(
        self, namespace: str, graph: str, predictor: str, predictors: Sequence[str]
    ) -> Report:
        """Takes what components of that predictor report, from now on; what was counted before goes
        on. Those that are not among the graph's `predictors` any more are forgotten."""
        of = self._reports.setdefault((namespace, graph), {})
        for gone in of.keys() - set(predictors):
            del of[gone]
        if predictor not in of:
            of[predictor] = _Predictor(self, (namespace, graph), predictor)
        return of[predictor]

    def forget(self, namespace: str, graph: str) -> None:
        """The graph is gone, and its numbers with it."""
        place = (namespace, graph)
        self._reports.pop(place, None)
        self._told = {each for each in self._told if each[0] != place}
        self._kinds = {family.name: family.kind for family in self.snapshot()}

    def has_room(self, place: _Place) -> bool:
        """Whether the graph may have one more series."""
        known = self._reports.get(place, {})
        return sum(len(each.known) for each in known.values()) < self._max_series

    def agrees(self, name: str, kind: Kind) -> bool:
        """Whether the name means this on the server; it does from now on if it was free."""
        return self._kinds.setdefault(name, kind) == kind

    def drop(self, place: _Place, reason: str, metric: Any) -> None:
        """A metric is not counted."""
        graph = "/".join(place)
        self._registry.counter(
            "salver_graph_reported_metrics_dropped_total",
            "Metrics that components have reported and that are not shown, by reason.",
            graph=graph,
            reason=reason,
        ).value += 1
        if (place, reason) not in self._told:
            self._told.add((place, reason))
            logger.warning(
                "graph '%s': a metric of a component is not on /metrics (%s): %s",
                *(graph, reason, repr(metric)[:200]),
            )

    def snapshot(self) -> Snapshot:
        """The values now, families sorted by name."""
        samples: dict[str, dict[Labels, Sample]] = {}
        for of in self._reports.values():
            for predictor in of.values():
                for name, labels, child in predictor.known.values():
                    samples.setdefault(name, {})[labels] = _sample(labels, child)
        return tuple(
            Family(
                name,
                "Reported by components of graphs.",
                self._kinds[name],
                bounds=DURATION_BOUNDS_S if self._kinds[name] == "histogram" else (),
                samples=tuple(samples[name].values()),
            )
            for name in sorted(samples)
        )


class _Predictor:
    """A `Report`: of one predictor's components."""

    def __init__(self, all_reported: ReportedMetrics, place: _Place, name: str) -> None:
        self.known: dict[Any, tuple[str, Labels, _Child]] = {}
        """Series, by what is reported of them."""
        self._all = all_reported
        self._place = place
        self._name = name

    def __call__(self, component: str, metrics: Sequence[Any]) -> None:
        for metric in metrics if isinstance(metrics, list | tuple) else ():
            reason = self._reason_to_drop(component, metric)
            if reason:
                self._all.drop(self._place, reason, metric)

    def _reason_to_drop(self, component: str, metric: Any) -> str:
        """Counts it; else says why not."""
        if not isinstance(metric, Mapping):
            return "no_metric"
        kind = _KINDS.get(_hashable(metric.get("type", "COUNTER")))
        value = _number(metric.get("value"))
        if kind is None or value is None or (kind != "gauge" and value < 0):
            return "no_metric"
        tags = metric.get("tags") or {}
        if not isinstance(tags, Mapping) or len(tags) > _MAX_TAGS:
            return "tags"
        said = (component, kind, _hashable(metric.get("key")), *map(_pair, tags.items()))
        found = self.known.get(said)
        if found is None:
            reason = self._add(said, component, kind, tags)
            if reason:
                return reason
            found = self.known[said]
        _note(found[2], value)
        return ""

    def _add(self, said: Any, component: str, kind: Kind, tags: Mapping[Any, Any]) -> str:
        """A series that is new; gives why there can be none."""
        name = _metric_name(said[2], kind)
        if not name or name.startswith(_RESERVED):
            return "name"
        if not self._all.has_room(self._place):
            return "too_many"
        if not self._all.agrees(name, kind):
            return "type"
        namespace, graph = self._place
        own = {
            "namespace": namespace,
            "deployment_name": graph,
            "predictor_name": self._name,
            "model_name": component,
        }
        more = {_label(key): _shown(value) for key, value in tags.items()}
        if kind == "histogram":
            more.pop("le", None)
        added = {key: more[key] for key in sorted(more.keys() - own.keys())}
        labels: Labels = tuple({**own, **added}.items())
        # The same tags in another order are the same series.
        alike = (each for at, of, each in self.known.values() if (at, of) == (name, labels))
        child = next(alike, None)
        self.known[said] = (name, labels, _made(kind) if child is None else child)
        return ""


def _made(kind: Kind) -> _Child:
    if kind == "histogram":
        return Histogram(DURATION_BOUNDS_S)
    return Counter() if kind == "counter" else Gauge()


def _note(child: _Child, value: float) -> None:
    if isinstance(child, Counter):
        child.value += value
    elif isinstance(child, Gauge):
        child.value = value
    else:
        child.observe(value / _MS)


def _sample(labels: Labels, child: _Child) -> Sample:
    if isinstance(child, Histogram):
        return Sample(labels, child.total, tuple(child.counts))
    return Sample(labels, child.value)


def _number(value: Any) -> float | None:
    """The value if it is a number that can be shown; Protobuf's JSON may have one as a string."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _pair(item: tuple[Any, Any]) -> tuple[str, str]:
    return str(item[0]), _shown(item[1])


def _shown(value: Any) -> str:
    return str(value)[:_VALUE_LENGTH]


def _metric_name(key: str | None, kind: Kind) -> str:
    """As Prometheus writes it; empty if there is none."""
    name = _ODD.sub("_", key or "")[:_NAME_LENGTH]
    if name[:1].isdigit():
        name = f"_{name}"
    return name + "_total" if name and kind == "counter" and not name.endswith("_total") else name


def _label(key: Any) -> str:
    """As Prometheus writes it; two underscores in front are its own."""
    name = _ODD.sub("_", str(key))[:_NAME_LENGTH]
    return "_" + name.lstrip("_") if not name or name[0].isdigit() or name[:2] == "__" else name
