"""Medians, ratios and the Markdown tables. Pure: samples in, text out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One load of one server."""

    case: str
    server: str
    round: int
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int
    error: str

    @classmethod
    def spoiled(cls, case: str, server: str, index: int, connections: int, error: str) -> Sample:
        """A load that counts for nothing, with its reason."""
        nan = math.nan
        return cls(case, server, index, connections, 0.0, nan, nan, nan, 0, error)

    def line(self) -> str:
        """What is printed while the benchmark runs."""
        text = (
            f"{self.case}: round {self.round + 1}, {self.connections:>3} connections, "
            f"{self.server:<24} {self.rate:>9,.0f}/s  p50 {self.p50_ms:.2f} ms  "
            f"p99 {self.p99_ms:.2f} ms  {self.cpu_us:.0f} us CPU"
        )
        failed = f"  {self.failed} FAILED" if self.failed else ""
        return text + failed + (f"  {self.error}" if self.error else "")


@dataclass(frozen=True)
class Standing:
    """What a server took to be there; memory after the load. `front`: who holds the port."""

    case: str
    server: str
    start_s: float
    memory_mb: float
    front_mb: float


def ratios(samples: Iterable[Sample], reference: str) -> dict[tuple[str, int], float]:
    """(server, connections) -> the median over the rounds of reference's rate / server's rate.

    Formed within a round, where both met the same machine. A server that answered nothing has
    no ratio; so has one that shares no round with the reference.
    """
    rates = {(s.server, s.connections, s.round): s.rate for s in samples}
    found: dict[tuple[str, int], list[float]] = {}
    for (server, connections, index), rate in rates.items():
        own = rates.get((reference, connections, index))
        if server != reference and own is not None and rate > 0:
            found.setdefault((server, connections), []).append(own / rate)
    return {key: statistics.median(values) for key, values in found.items()}


def rate_table(samples: Sequence[Sample], reference: str) -> str:
    """Requests per second by connections; in brackets, how many times that the reference does."""
    connections = sorted({sample.connections for sample in samples})
    by_peer = ratios(samples, reference)
    rows = []
    for server in _in_order(sample.server for sample in samples):
        cells = [server]
        for count in connections:
            rate = _median(s.rate for s in samples if (s.server, s.connections) == (server, count))
            ratio = by_peer.get((server, count))
            cells.append(_number(rate) + (f" ({ratio:.2f}x)" if ratio is not None else ""))
        rows.append(cells)
    return markdown(["requests/s at", *(f"{count} conn." for count in connections)], rows)


def cost_table(samples: Sequence[Sample], standings: Sequence[Standing]) -> str:
    """Latency at the fewest and at 64 (else most) connections, CPU, memory."""
    counts = sorted({sample.connections for sample in samples})
    few, many = counts[0], 64 if 64 in counts else counts[-1]
    memory = {each.server: each for each in standings}
    rows = []
    for server in _in_order(sample.server for sample in samples):
        cells = [server]
        for count in dict.fromkeys((few, many)):
            chosen = [s for s in samples if (s.server, s.connections) == (server, count)]
            p50, p99 = _median(s.p50_ms for s in chosen), _median(s.p99_ms for s in chosen)
            cells.append(f"{_number(p50)} / {_number(p99)}")
        chosen = [s for s in samples if (s.server, s.connections) == (server, many)]
        cells.append(_number(_median(s.cpu_us for s in chosen)))
        standing = memory.get(server)
        cells.append(f"{standing.memory_mb:.0f} ({standing.front_mb:.0f})" if standing else "-")
        rows.append(cells)
    latency = [f"p50 / p99 ms at {count}" for count in dict.fromkeys((few, many))]
    head = ["", *latency, f"CPU us/request at {many}", "memory MB (of it front)"]
    return markdown(head, rows)


def startup_table(seconds: dict[str, float], reference: str) -> str:
    """Seconds from spawn to first right answer, and the reference's share of them."""
    own = seconds.get(reference)
    rows = [
        [server, f"{each:.2f}", f"{own / each:.2f}x" if own is not None else "-"]
        for server, each in seconds.items()
    ]
    return markdown(["", "start to first right answer, s", f"{reference} takes"], rows)


def failures(samples: Iterable[Sample]) -> list[str]:
    """A line for each server and load that had failed requests or wrong answers."""
    return [
        f"{s.server} at {s.connections} connections, round {s.round + 1}: "
        + (s.error or f"{s.failed} requests failed")
        for s in samples
        if s.failed or s.error
    ]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _median(values: Iterable[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.median(numbers) if numbers else math.nan


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
