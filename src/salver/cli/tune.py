"""`salver tune`: finds workers, threads and batch limit for a latency goal on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from salver.cli.ages import duration
from salver.cli.closed_loop import Measured, http_request, measure
from salver.cli.progress import ProgressLines
from salver.cli.session import Session
from salver.cli.terminal import columns
from salver.cli.tuned_server import TunedServer, tuned_server
from salver.cli.tuning import (
    Point,
    Settings,
    best,
    first_settings,
    further_settings,
    nearest,
    next_connections,
    quantile,
    table,
)
from salver.errors import CommandFailed

USAGE = "TARGET [--p99 DURATION] [options]"
DESCRIPTION = """\
Starts servers of its own with one setting after another, asks them with more and more clients,
and says which setting answers most requests a second within the goal. TARGET is a model as for
salver serve. The clients run on this machine too: on the real one, they will not take its cores.
"""
EXAMPLES = """\
examples:
  salver tune examples/iris.skops --p99 20ms
  salver tune churn.joblib --p99 5ms --seconds 60 -f request.json
  salver tune trees.ubj --max-workers 8 -o json
"""
_LEAST_POINT_S, _MOST_POINT_S = 0.25, 3.0
_POINTS = 25
"""As many as a search has, about."""
_START_S = 120.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver tune`."""
    parser.add_argument("target", metavar="TARGET", help="a model, as for salver serve")
    parser.add_argument(
        "--p99", default="", metavar="DURATION", help="99 of 100 requests are to be quicker"
    )
    parser.add_argument(
        "--seconds",
        default="30s",
        metavar="DURATION",
        help="what the search may take, starts of servers included (default: 30s)",
    )
    parser.add_argument(
        "-f",
        "--filename",
        default="",
        metavar="FILE",
        help="a V2 request to ask with (JSON); default: one row of zeros",
    )
    parser.add_argument(
        "--max-workers", type=int, default=0, metavar="N", help="default: as many as cores"
    )
    parser.add_argument(
        "-o",
        "--output",
        default="table",
        choices=("table", "json"),
        metavar="FORMAT",
        help="table or json (default: table)",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Searches, then prints the curve and the flags; 1 if nothing is within the goal."""
    goal_s = duration(arguments.p99, "--p99") if arguments.p99 else 0.0
    budget_s = duration(arguments.seconds, "--seconds")
    cores = len(os.sched_getaffinity(0))
    most = arguments.max_workers or cores
    if budget_s <= 0 or goal_s < 0 or most < 1:
        raise CommandFailed("tune: --seconds, --p99 and --max-workers must be more than 0")
    progress = ProgressLines(session.err, session.style)
    search = Search(arguments.target, _request(arguments.filename), goal_s, budget_s, progress.show)
    try:
        search.run(first_settings(cores, most))
    finally:
        progress.clear()
    return _print(search, arguments, goal_s, session)


class Search:
    """One search, bounded in time."""

    def __init__(
        self,
        target: str,
        body: bytes,
        goal_s: float,
        budget_s: float,
        show: Callable[[str, str], object],
    ) -> None:
        self.points: list[Point] = []
        self.untried: list[Settings] = []
        self._target = target
        self._body = body
        self._goal_s = goal_s
        self._deadline_s = time.monotonic() + budget_s
        self._point_s = min(_MOST_POINT_S, max(_LEAST_POINT_S, budget_s / _POINTS / 2))
        self._show = show

    def run(self, settings: Sequence[Settings]) -> None:
        """Tries these, then what follows from them. Raises `CommandFailed` if none starts."""
        for each in settings:
            self._try(each)
        for each in further_settings(self.points, self._goal_s):
            self._try(each)

    def _try(self, settings: Settings) -> None:
        if self.points and time.monotonic() >= self._deadline_s:
            self.untried.append(settings)
            return
        flags = " ".join(settings.flags)
        self._show(flags, "starting")
        own: list[Point] = []
        with tuned_server(self._target, settings.flags, start_timeout_s=_START_S) as server:
            while (clients := next_connections(own, self._goal_s)) is not None:
                if own and time.monotonic() >= self._deadline_s:
                    break
                self._show(flags, f"{clients} clients")
                own.append(self._measured(server, settings, clients))
                self.points.append(own[-1])

    def _measured(self, server: TunedServer, settings: Settings, clients: int) -> Point:
        request = http_request(server.path, self._body or server.sample)
        found: Measured = measure(server.host, server.port, request, clients, self._point_s)
        if not found.latencies_s and found.errors and len(self.points) == 0:
            raise CommandFailed(
                "tune: the model does not answer the request; give one that it does with -f FILE"
            )
        return Point(
            settings,
            clients,
            len(found.latencies_s) / found.seconds,
            quantile(found.latencies_s, 0.5),
            quantile(found.latencies_s, 0.99),
            found.errors,
        )


def _request(name: str) -> bytes:
    """The request of a file; none without one. Raises `CommandFailed`."""
    if not name:
        return b""
    try:
        text = Path(name).expanduser().read_bytes()
        document = json.loads(text)
    except OSError as error:
        raise CommandFailed(f"{name}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandFailed(f"{name}: is no JSON: {error}") from error
    if not isinstance(document, dict) or "inputs" not in document:
        raise CommandFailed(f"{name}: is no V2 request; give an object with 'inputs'")
    return text


def _print(search: Search, arguments: argparse.Namespace, goal_s: float, session: Session) -> int:
    winner = best(search.points, goal_s)
    shown = winner or nearest(search.points)
    flags = shown.settings.flags if shown is not None else []
    if arguments.output == "json":
        found = {
            "goal_p99_s": goal_s or None,
            "best": msgspec.to_builtins(winner),
            "flags": flags,
            "points": msgspec.to_builtins(search.points),
            "untried": msgspec.to_builtins(search.untried),
        }
        session.say(json.dumps(found, indent=2))
        return 0 if winner is not None else 1
    session.say(*columns(list(table(search.points, goal_s)), right=frozenset(range(7))), "")
    if search.untried:
        session.say(f"not tried for lack of time: {len(search.untried)} settings (see --seconds)")
    if winner is None:
        least = f"{shown.p99_s * 1e3:.2f} ms" if shown is not None else "none"
        session.say(f"nothing is within {arguments.p99}: the least P99 is {least}")
    words = ["salver", "serve", arguments.target, *flags]
    session.say(" ".join(shlex.quote(word) for word in words))
    return 0 if winner is not None else 1
