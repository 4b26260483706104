"""Batches by size, from two looks at `/v2/models/stats`, for `salver top batches`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from salver.cli import samples
from salver.cli.terminal import columns

_HEADER = [
    "MODEL",
    "VERSION",
    "ROWS",
    "BATCHES/S",
    "SHARE",
    "REQ/BATCH",
    "WAIT",
    "COMPUTE",
    "PER-ROW",
]


class BatchLoad(NamedTuple):
    """What one model did with batches of one size. Seconds for a batch: its oldest request's wait,
    and the prediction."""

    model: str
    version: str
    rows: int
    batches_per_s: float
    share: float
    requests: float
    wait_s: float
    compute_s: float


class _Sums(NamedTuple):
    batches: float = 0
    requests: float = 0
    wait_ns: float = 0
    compute_ns: float = 0

    def less(self, other: _Sums) -> _Sums:
        return _Sums(*(max(0, mine - its) for mine, its in zip(self, other, strict=True)))


Key = tuple[str, str, int]


def sums_of(document: Mapping[str, Any]) -> dict[Key, _Sums]:
    """The body of a statistics answer, by model, version and size."""
    return {
        (model["name"], model["version"], each["batch_size"]): _Sums(
            each["compute_infer"]["count"],
            each.get("requests", 0),
            each.get("queue", {}).get("ns", 0),
            each["compute_infer"]["ns"],
        )
        for model in document["model_stats"]
        for each in model["batch_stats"]
    }


def batch_loads(
    before: Mapping[Key, _Sums], after: Mapping[Key, _Sums], seconds: float
) -> list[BatchLoad]:
    """What came between the two looks; sizes that did not are left out."""
    gained = {key: sums.less(before.get(key, _Sums())) for key, sums in after.items()}
    totals: dict[tuple[str, str], float] = {}
    for (model, version, _), sums in gained.items():
        totals[model, version] = totals.get((model, version), 0) + sums.batches
    return [
        BatchLoad(
            *key,
            batches_per_s=sums.batches / seconds,
            share=sums.batches / totals[key[:2]],
            requests=sums.requests / sums.batches,
            wait_s=sums.wait_ns / sums.batches * 1e-9,
            compute_s=sums.compute_ns / sums.batches * 1e-9,
        )
        for key, sums in sorted(gained.items())
        if sums.batches
    ]


def batch_lines(loads: list[BatchLoad]) -> list[str]:
    """The table."""
    rows = [
        [
            load.model,
            load.version,
            str(load.rows),
            samples.count_text(load.batches_per_s),
            f"{load.share * 100:.0f}%",
            samples.count_text(load.requests),
            samples.latency_text(load.wait_s),
            samples.latency_text(load.compute_s),
            samples.latency_text(load.compute_s / load.rows if load.rows else math.nan),
        ]
        for load in loads
    ]
    return columns([_HEADER, *rows], right=frozenset(range(2, 9)))
