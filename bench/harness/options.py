"""The command-line options that both benchmarks have, and a safe end on signals."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from types import FrameType

from harness.cases import CASES
from harness.measure import Plan


def parser(text: str) -> argparse.ArgumentParser:
    """Cases, rounds, seconds, connections, output."""
    made = argparse.ArgumentParser(description=text)
    names = ",".join([*CASES, "startup"])
    made.add_argument("--cases", default=names, help="comma-separated; default: %(default)s")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=int, default=3, help="of each load")
    made.add_argument("--connections", default="", help="comma-separated; default: the case's")
    made.add_argument("-o", "--output", default="", help="write all measurements here as JSON")
    return made


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan that the options describe."""
    counts = tuple(int(each) for each in arguments.connections.split(",") if each)
    if arguments.rounds < 1 or arguments.seconds < 1:
        raise SystemExit("--rounds and --seconds must be at least 1")
    return Plan(rounds=arguments.rounds, seconds=arguments.seconds, connections=counts)


def cases_of(arguments: argparse.Namespace) -> list[str]:
    """The chosen cases; ends the program if one is unknown."""
    chosen = [each.strip() for each in arguments.cases.split(",") if each.strip()]
    for name in chosen:
        if name not in CASES and name != "startup":
            raise SystemExit(f"case '{name}' is unknown; there are: {', '.join(CASES)}, startup")
    _require_tools()
    return chosen


def _require_tools() -> None:
    for name, package in (("uv", "uv"), ("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(name) is None:
            raise SystemExit(f"'{name}' is not in PATH; install {package} to run the benchmark")


def end_on_signals() -> None:
    """The first SIGINT or SIGTERM unwinds, so that every server is stopped; later ones wait."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


def say(text: str) -> None:
    """Progress goes to stderr; stdout has only the tables."""
    print(text, file=sys.stderr, flush=True)
