"""Metric values at one moment: frozen, summed over processes, rendered for Prometheus.

Pure functions only. A snapshot crosses a process boundary as MessagePack; live counters
never do. See `registry.py` for those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
MergeRule = Literal["sum", "max", "min"]
Labels = tuple[tuple[str, str], ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One labelled value; of a histogram, `value` is the sum and `counts` the buckets.

    `counts` is not cumulative and has one entry more than the family's bounds.
    """

    labels: Labels
    value: float = 0.0
    counts: tuple[int, ...] = ()


class Family(msgspec.Struct, frozen=True, array_like=True):
    """All samples of one metric name."""

    name: str
    help: str
    kind: Kind
    merge: MergeRule = "sum"
    bounds: tuple[float, ...] = ()
    samples: tuple[Sample, ...] = ()


Snapshot = tuple[Family, ...]

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as MessagePack, for a sibling process."""
    return _ENCODER.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """Raises `msgspec.DecodeError` for bytes that are no snapshot."""
    return _DECODER.decode(data)


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several: counters and histograms are added, gauges by their rule.

    Families and samples keep the order in which they were first seen. Raises `ValueError` if
    two snapshots disagree about what a name means.
    """
    merged: dict[str, Family] = {}
    for snapshot in snapshots:
        for family in snapshot:
            known = merged.get(family.name)
            merged[family.name] = family if known is None else _join(known, family)
    return tuple(merged.values())


def _join(left: Family, right: Family) -> Family:
    if (left.kind, left.bounds) != (right.kind, right.bounds):
        raise ValueError(
            f"metric {left.name} is a {left.kind} with bounds {left.bounds} in one process and "
            f"a {right.kind} with bounds {right.bounds} in another; give them the same definition"
        )
    samples = {sample.labels: sample for sample in left.samples}
    for sample in right.samples:
        known = samples.get(sample.labels)
        samples[sample.labels] = sample if known is None else _add(left.merge, known, sample)
    return msgspec.structs.replace(left, samples=tuple(samples.values()))


def _add(rule: MergeRule, left: Sample, right: Sample) -> Sample:
    if rule == "max":
        return max(left, right, key=lambda sample: sample.value)
    if rule == "min":
        return min(left, right, key=lambda sample: sample.value)
    counts = tuple(a + b for a, b in zip(left.counts, right.counts, strict=True))
    return Sample(left.labels, left.value + right.value, counts)


def render(snapshot: Snapshot) -> bytes:
    """The snapshot in Prometheus's text format 0.0.4."""
    lines: list[str] = []
    for family in snapshot:
        lines.append(f"# HELP {family.name} {_escape_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.kind == "histogram":
            bounds = [number(bound) for bound in (*family.bounds, math.inf)]
            for sample in family.samples:
                lines.extend(_histogram_lines(family, sample, bounds))
        else:
            lines.extend(_value_line(family, sample) for sample in family.samples)
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _histogram_lines(family: Family, sample: Sample, bounds: Sequence[str]) -> Iterator[str]:
    labels = _pairs(sample.labels)
    prefix = f'{family.name}_bucket{{{labels}{"," if labels else ""}le="'
    total = 0
    for bound, total in zip(bounds, accumulate(sample.counts), strict=True):
        yield f'{prefix}{bound}"}} {total}'
    braces = f"{{{labels}}}" if labels else ""
    yield f"{family.name}_sum{braces} {number(sample.value)}"
    yield f"{family.name}_count{braces} {total}"


def _value_line(family: Family, sample: Sample) -> str:
    labels = _pairs(sample.labels)
    braces = f"{{{labels}}}" if labels else ""
    return f"{family.name}{braces} {number(sample.value)}"


def number(value: float) -> str:
    """A value as Prometheus reads it: whole numbers without a fraction."""
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _pairs(labels: Labels) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
