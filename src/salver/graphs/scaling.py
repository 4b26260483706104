"""How a component scales, from the annotations and fields of its manifest. Pure.

Owns the names, spellings, limits and defaults of Knative's and KServe's autoscaling
annotations. Says everything that is wrong with them at once; decides no number of replicas.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from salver.graphs.plan import Metric, ScalingPolicy

KNATIVE = "autoscaling.knative.dev/"
KSERVE = "serving.kserve.io/"
SALVER = "salver.dev/"

MAX_CONTAINER_CONCURRENCY = 1000
_MAX_REPLICAS = 2**31 - 1
_MAX_WINDOW_S = 3600.0
_DURATION = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)")
_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_METRICS = ("concurrency", "rps", "cpu", "memory")
_RESOURCES = ("cpu", "memory")
_KNATIVE_CLASSES = ("kpa.autoscaling.knative.dev", "hpa.autoscaling.knative.dev")
_KSERVE_CLASSES = ("hpa", "kpa", "keda", "external", "none")
_RAW_MODES = ("RawDeployment", "Standard")


class ScalingFields(msgspec.Struct, frozen=True):
    """The fields of a manifest's component that concern scaling; None: not set."""

    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_target: float | None = None
    scale_metric: str | None = None
    container_concurrency: int | None = None


class ScalingReading(NamedTuple):
    """The policy, all that is wrong (then the policy is of no use), and remarks for people."""

    policy: ScalingPolicy
    problems: tuple[str, ...]
    notes: tuple[str, ...]


class _Knob(NamedTuple):
    """One annotation: the policy's field it sets, how it is read, what it may be."""

    field: str
    read: Callable[[str], float]
    least: float
    most: float
    kind: str
    whole: bool = False
    also: float | None = None


def duration_s(text: str) -> float:
    """A duration as Go writes it (`60s`, `1m30s`, `1.5h`) in seconds. Raises `ValueError`."""
    sign, unsigned = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if unsigned == "0":
        return 0.0
    total, at = 0.0, 0
    while at < len(unsigned):
        part = _DURATION.match(unsigned, at)
        if part is None or unsigned[at] in "+-":
            raise ValueError(f"{text!r} is no duration")
        number = part[0].rstrip("nuµμmsh")
        total += float(number) * _UNITS_S[part[0][len(number) :]]
        at = part.end()
    if not unsigned:
        raise ValueError("an empty text is no duration")
    return sign * total


def _integer(text: str) -> float:
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise ValueError(f"{text!r} is no integer")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text or text != text.strip():
        raise ValueError(f"{text!r} is no number")
    return value


_COUNT = "a whole number"
_NUMBER = "a number"
_TIME = "a duration, such as 60s or 1m30s,"
_KNOBS: Mapping[str, _Knob] = {
    KNATIVE + "min-scale": _Knob("min_replicas", _integer, 0, _MAX_REPLICAS, _COUNT),
    KNATIVE + "max-scale": _Knob("max_replicas", _integer, 0, _MAX_REPLICAS, _COUNT),
    KNATIVE + "initial-scale": _Knob("initial_scale", _integer, 0, _MAX_REPLICAS, _COUNT),
    KNATIVE + "activation-scale": _Knob("activation_scale", _integer, 1, _MAX_REPLICAS, _COUNT),
    KNATIVE + "target": _Knob("target", _number, 0.01, math.inf, _NUMBER),
    KNATIVE + "target-utilization-percentage": _Knob(
        "target_utilization_percent", _number, 1, 100, _NUMBER
    ),
    KNATIVE + "target-burst-capacity": _Knob(
        "target_burst_capacity", _number, 0, math.inf, _NUMBER, also=-1
    ),
    KNATIVE + "window": _Knob("stable_window_s", duration_s, 6, _MAX_WINDOW_S, _TIME, whole=True),
    KNATIVE + "panic-window-percentage": _Knob("panic_window_percent", _number, 1, 100, _NUMBER),
    KNATIVE + "panic-threshold-percentage": _Knob(
        "panic_threshold_percent", _number, 110, 1000, _NUMBER
    ),
    KNATIVE + "scale-down-delay": _Knob(
        "scale_down_delay_s", duration_s, 0, _MAX_WINDOW_S, _TIME, whole=True
    ),
    KNATIVE + "scale-to-zero-pod-retention-period": _Knob(
        "scale_to_zero_retention_s", duration_s, 0, _MAX_WINDOW_S, _TIME
    ),
    # Knative has these for a whole cluster, in its ConfigMap; here each service may have its own.
    SALVER + "scale-to-zero-grace-period": _Knob(
        "scale_to_zero_grace_s", duration_s, 0, _MAX_WINDOW_S, _TIME
    ),
    SALVER + "max-scale-up-rate": _Knob("max_scale_up_rate", _number, 1.01, math.inf, _NUMBER),
    SALVER + "max-scale-down-rate": _Knob("max_scale_down_rate", _number, 1.01, math.inf, _NUMBER),
}
_OTHER_KNATIVE = ("class", "metric", "metric-aggregation-algorithm")


def _camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)


_SPELLINGS: Mapping[str, str] = {
    spelling: name
    for name in (*_KNOBS, *(KNATIVE + other for other in _OTHER_KNATIVE))
    for group, _, local in [name.partition("/")]
    for spelling in (name, f"{group}/{_camel(local)}")
}


def scaling_policy(
    annotations: Mapping[str, str],
    min_replicas: int | None = None,
    max_replicas: int | None = None,
    scale_target: float | None = None,
    scale_metric: str | None = None,
    container_concurrency: int | None = None,
) -> ScalingReading:
    """The policy that annotations and fields of a component make together.

    A field wins over the annotation that says the same, as on KServe.
    """
    fields = ScalingFields(
        min_replicas, max_replicas, scale_target, scale_metric, container_concurrency
    )
    reader = _Reader(annotations, fields)
    return reader.read()


class _Reader:
    """Collects values, problems and notes while it reads one component."""

    def __init__(self, annotations: Mapping[str, str], fields: ScalingFields) -> None:
        self._fields = fields
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._kserve = annotations
        self._values: dict[str, Any] = {}
        self._texts: dict[str, tuple[str, str]] = {}
        """By the annotation's first spelling: the spelling used, and the value."""
        for key in sorted(annotations):
            self._sort_in(key, annotations[key])

    def read(self) -> ScalingReading:
        for name, (key, text) in self._texts.items():
            if name in _KNOBS:
                self._read_knob(_KNOBS[name], key, text)
        self._read_fields()
        metric = self._metric()
        self._read_kserve_target(metric)
        self._values["metric"] = metric
        self._settle_bounds(metric)
        policy = ScalingPolicy(**self._values)
        self._check_bounds(policy)
        return ScalingReading(
            ScalingPolicy() if self._problems else policy,
            tuple(self._problems),
            tuple(self._notes),
        )

    def _sort_in(self, key: str, text: str) -> None:
        name = _SPELLINGS.get(key)
        if name is not None:
            # Knative prefers the newer spelling, with hyphens, where both are given.
            if name not in self._texts or key == name:
                self._texts[name] = (key, text)
        elif key.startswith(KNATIVE):
            near = difflib.get_close_matches(key, _SPELLINGS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self._notes.append(f"annotation {key} is unknown and has no effect{hint}")

    def _read_knob(self, knob: _Knob, key: str, text: str) -> None:
        try:
            value = knob.read(text)
        except ValueError:
            self._problems.append(f"annotation {key} is {text!r}: give {knob.kind} in quotes")
            return
        if not knob.least <= value <= knob.most and value != knob.also:
            limits = f"at least {_plain(knob.least, knob)}"
            if knob.most not in (math.inf, _MAX_REPLICAS):
                limits = f"{_plain(knob.least, knob)} to {_plain(knob.most, knob)}"
            self._problems.append(f"annotation {key} is {text}: it must be {limits}")
        elif knob.whole and value != round(value):
            self._problems.append(f"annotation {key} is {text}: give whole seconds")
        else:
            self._values[knob.field] = value

    def _read_fields(self) -> None:
        fields = self._fields
        for name, field, value, most in (
            ("minReplicas", "min_replicas", fields.min_replicas, _MAX_REPLICAS),
            ("maxReplicas", "max_replicas", fields.max_replicas, _MAX_REPLICAS),
            (
                "containerConcurrency",
                "container_concurrency",
                fields.container_concurrency,
                MAX_CONTAINER_CONCURRENCY,
            ),
        ):
            if value is None:
                continue
            if not 0 <= value <= most:
                limit = "0 or more" if most == _MAX_REPLICAS else f"0 to {most}"
                self._problems.append(f"{name} is {value}: it must be {limit}")
            elif value or name != "maxReplicas":
                self._values[field] = value
        if fields.scale_target is not None:
            if not 0.01 <= fields.scale_target < math.inf:
                self._problems.append(f"scaleTarget is {fields.scale_target}: it must be above 0")
            else:
                self._values["target"] = float(fields.scale_target)

    def _metric(self) -> Metric:
        """The metric, by what names one; resources go with the HPA's algorithm."""
        classes = self._classes()
        asked = self._asked_metric()
        if asked is None:
            by_hpa = "hpa" in classes or "keda" in classes or self._is_raw_without_class(classes)
            return "cpu" if by_hpa else "concurrency"
        origin, metric = asked
        if metric not in _METRICS:
            known = ", ".join(_METRICS)
            self._problems.append(f"{origin} is {metric!r}: it must be one of {known}")
            return "concurrency"
        if classes == {"hpa"} and metric not in _RESOURCES:
            self._problems.append(
                f"{origin} is {metric}, which the hpa autoscaler does not have: use cpu or memory, "
                "or the class kpa"
            )
        if classes == {"kpa"} and metric in _RESOURCES:
            self._problems.append(
                f"{origin} is {metric}, which the kpa autoscaler does not have: use concurrency "
                "or rps, or the class hpa"
            )
        return cast(Metric, metric)

    def _asked_metric(self) -> tuple[str, str] | None:
        if self._fields.scale_metric is not None:
            return "scaleMetric", self._fields.scale_metric
        if KNATIVE + "metric" in self._texts:
            key, metric = self._texts[KNATIVE + "metric"]
            return f"annotation {key}", metric
        if KSERVE + "metrics" in self._kserve:
            return f"annotation {KSERVE}metrics", self._kserve[KSERVE + "metrics"]
        return None

    def _classes(self) -> set[str]:
        """The autoscalers asked for by name: kpa, hpa, keda, external, none."""
        found: set[str] = set()
        key, text = self._texts.get(KNATIVE + "class", ("", ""))
        if text in _KNATIVE_CLASSES:
            found.add(text.partition(".")[0])
        elif key:
            known = " or ".join(_KNATIVE_CLASSES)
            self._problems.append(f"annotation {key} is {text!r}: it must be {known}")
        text = self._kserve.get(KSERVE + "autoscalerClass", "")
        if text in _KSERVE_CLASSES:
            found.add(text)
            self._note_class(text)
        elif KSERVE + "autoscalerClass" in self._kserve:
            known = ", ".join(_KSERVE_CLASSES)
            self._problems.append(
                f"annotation {KSERVE}autoscalerClass is {text!r}: it must be one of {known}"
            )
        _, text = self._texts.get(KNATIVE + "metric-aggregation-algorithm", ("", ""))
        if text and text != "linear":
            self._notes.append(
                f"annotation {KNATIVE}metric-aggregation-algorithm: values are averaged linearly"
            )
        return found

    def _note_class(self, name: str) -> None:
        key = f"annotation {KSERVE}autoscalerClass"
        if name == "keda":
            self._notes.append(f"{key} keda: the HPA's algorithm is used, as KEDA does")
        elif name in ("external", "none"):
            self._notes.append(f"{key} {name}: replicas stay at minReplicas")

    def _is_raw_without_class(self, classes: set[str]) -> bool:
        return not classes and self._kserve.get(KSERVE + "deploymentMode") in _RAW_MODES

    def _read_kserve_target(self, metric: Metric) -> None:
        key = KSERVE + "targetUtilizationPercentage"
        text = self._kserve.get(key)
        if text is None:
            return
        try:
            value = _integer(text)
        except ValueError:
            self._problems.append(f"annotation {key} is {text!r}: give a whole number in quotes")
            return
        if not 1 <= value <= 100:
            self._problems.append(f"annotation {key} is {text}: it must be 1 to 100")
        elif metric in _RESOURCES:
            self._values.setdefault("target", float(value))
        else:
            self._values.setdefault("target_utilization_percent", float(value))

    def _settle_bounds(self, metric: Metric) -> None:
        """The bounds that the autoscaler's kind implies."""
        values = self._values
        least = values.get("min_replicas", 1)
        if metric in _RESOURCES and least == 0:
            self._notes.append(
                f"minReplicas 0 is raised to 1: autoscaling by {metric} cannot scale to zero"
            )
            values["min_replicas"] = least = 1
        fixed = self._kserve.get(KSERVE + "autoscalerClass") in ("external", "none")
        if fixed:
            values["min_replicas"] = values["max_replicas"] = max(1, least)
        elif metric in _RESOURCES and not values.get("max_replicas"):
            # KServe's HPA never goes above minReplicas unless maxReplicas says so.
            values["max_replicas"] = least

    def _check_bounds(self, policy: ScalingPolicy) -> None:
        most = policy.max_replicas
        if not most:
            return
        if policy.min_replicas > most:
            self._problems.append(
                f"minReplicas is {policy.min_replicas}, above maxReplicas, which is {most}: "
                "raise maxReplicas or lower minReplicas"
            )
        if policy.activation_scale > most:
            self._problems.append(
                f"annotation {KNATIVE}activation-scale is {policy.activation_scale}, above "
                f"maxReplicas, which is {most}: lower it"
            )


def _plain(value: float, knob: _Knob) -> str:
    text = f"{value:g}"
    return f"{text}s" if knob.read is duration_s else text
