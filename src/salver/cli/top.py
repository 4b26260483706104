"""`salver top`: load, latency, memory and CPU, from two looks at `/metrics`."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, NamedTuple

from salver.cli import samples
from salver.cli.ages import duration
from salver.cli.batch_loads import Key, batch_lines, batch_loads, sums_of
from salver.cli.samples import GraphLoad, ModelLoad, ProcessLoad, Scrape
from salver.cli.session import Session
from salver.cli.terminal import columns, is_terminal
from salver.errors import CommandFailed

USAGE = "[models | batches | graphs | processes] [NAME...] [options]"
DESCRIPTION = """\
Shows what models do now: requests and errors a second, latency, requests that wait, rows in
a batch, how long batches wait and are computed (means), memory and CPU (1000m is one core), and
the part of the requests that response caches answered, where models have such.
Batches are shown by their rows: how many, how long the oldest request waited for the worker, and
how long the prediction took. Of graphs, those of each variant, and the requests
under way; their steps are shown by salver graph show NAME --watch.
"""
EXAMPLES = """\
examples:
  salver top
  salver top models iris --interval 5s
  salver top batches iris
  salver top graphs fraud
  salver top processes -w
"""

_MODEL_HEADER = [
    *("MODEL", "VERSIONS", "REQ/S", "ERR/S", "P50", "P99"),
    *("QUEUE", "WAIT", "BATCH", "COMPUTE", "MEMORY", "CPU"),
]
_GRAPH_HEADER = ["GRAPH", "VARIANT", "REQ/S", "ERR/S", "P50", "P99", "UNDER-WAY"]
_PROCESS_HEADER = ["PROCESS", "ROLE", "CPU", "MEMORY"]
_WHATS = {
    **dict.fromkeys(("model", "models"), "models"),
    **dict.fromkeys(("batch", "batches"), "batches"),
    **dict.fromkeys(("graph", "graphs"), "graphs"),
    **dict.fromkeys(("process", "processes"), "processes"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver top`."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="models (the default), batches, graphs or processes, and their names",
    )
    parser.add_argument(
        "--interval",
        default="1s",
        metavar="DURATION",
        help="time between the two looks (default: 1s)",
    )
    parser.add_argument("-w", "--watch", action="store_true", help="go on")
    parser.add_argument("--no-headers", action="store_true", help="leave out the column names")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints one table; with `-w`, one after another until it is interrupted."""
    names = list(arguments.what)
    what = _WHATS[names.pop(0)] if names and names[0] in _WHATS else "models"
    interval_s = duration(arguments.interval, "--interval")
    if interval_s <= 0:
        raise CommandFailed("--interval: must be more than 0; give such as 1s")
    look = partial(_look, what, session)
    before, before_s = look()
    while True:
        session.sleep(interval_s)
        after, after_s = look()
        lines = _lines(what, names, before, after, max(after_s - before_s, 1e-6))
        if arguments.watch and is_terminal(session.out):
            session.out.write("\x1b[H\x1b[2J")
        session.say(*(lines[1:] if arguments.no_headers else lines))
        if not arguments.watch:
            return 0
        before, before_s = after, after_s


class _Look(NamedTuple):
    """What the server says now: its metrics or, for batches, its statistics."""

    scrape: Scrape
    batches: dict[Key, Any]


def _look(what: str, session: Session) -> tuple[_Look, float]:
    if what == "batches":
        found = sums_of(session.client.get("/v2/models/stats"))
        return _Look(Scrape(""), found), session.clock()
    answer = session.client.send("GET", "/metrics", accept="text/plain")
    return _Look(Scrape(answer.body.decode("utf-8", "replace")), {}), session.clock()


def _lines(what: str, names: list[str], was: _Look, now: _Look, seconds: float) -> list[str]:
    if what == "batches":
        loads = batch_loads(was.batches, now.batches, seconds)
        return batch_lines([each for each in loads if not names or each.model in names])
    before, after = was.scrape, now.scrape
    if what == "processes":
        processes = samples.process_loads(before, after, seconds)
        return process_lines([each for each in processes if not names or each.process in names])
    if what == "graphs":
        return _graph_lines(names, samples.graph_loads(before, after, seconds))
    models = samples.model_loads(before, after, seconds)
    unknown = set(names) - {each.model for each in models}
    if unknown:
        raise CommandFailed(f"top: the server has no model '{min(unknown)}'; see salver top")
    return model_lines([each for each in models if not names or each.model in names])


def _graph_lines(names: list[str], loads: list[GraphLoad]) -> list[str]:
    """The table of the graphs with these names, or of all; `default/` need not be said."""
    wanted = {name if "/" in name else f"default/{name}": name for name in names}
    unknown = wanted.keys() - {each.graph for each in loads}
    if unknown:
        name = wanted[min(unknown)]
        raise CommandFailed(f"top: no graph '{name}' takes requests; see salver top graphs")
    return graph_lines([each for each in loads if not names or each.graph in wanted])


def graph_lines(loads: list[GraphLoad]) -> list[str]:
    """The table of graphs."""
    rows = [
        [
            load.graph.removeprefix("default/"),
            load.variant,
            samples.count_text(load.requests_per_s),
            samples.count_text(load.errors_per_s),
            samples.latency_text(load.p50_s),
            samples.latency_text(load.p99_s),
            f"{load.in_flight:.0f}",
        ]
        for load in loads
    ]
    return columns([_GRAPH_HEADER, *rows], right=frozenset(range(2, 7)))


def model_lines(loads: list[ModelLoad]) -> list[str]:
    """The table of models."""
    rows = [
        [
            load.model,
            str(load.versions),
            samples.count_text(load.requests_per_s),
            samples.count_text(load.errors_per_s),
            samples.latency_text(load.p50_s),
            samples.latency_text(load.p99_s),
            f"{load.queued:.0f}",
            samples.latency_text(load.wait_s),
            samples.count_text(load.batch_rows),
            samples.latency_text(load.compute_s),
            samples.bytes_text(load.memory_bytes),
            samples.cores_text(load.cpu_cores),
        ]
        for load in loads
    ]
    header = _MODEL_HEADER
    if any(load.cached is not None for load in loads):
        header = [*header, "CACHED"]
        rows = [
            [*row, samples.share_text(load.cached)] for row, load in zip(rows, loads, strict=True)
        ]
    return columns([header, *rows], right=frozenset(range(1, len(header))))


def process_lines(loads: list[ProcessLoad]) -> list[str]:
    """The table of processes."""
    rows = [
        [
            load.process,
            load.role,
            samples.cores_text(load.cpu_cores),
            samples.bytes_text(load.memory_bytes),
        ]
        for load in loads
    ]
    return columns([_PROCESS_HEADER, *rows], right=frozenset({2, 3}))
