"""Collects the results of the cases into one Markdown text and one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.cases import CASES
from harness.environments import EnvironmentFailed
from harness.machine import machine, sentence
from harness.measure import Plan, run_case, run_startups
from harness.models import make_models
from harness.places import MODELS
from harness.servers import Server
from harness.table import (
    Sample,
    Standing,
    cost_table,
    failures,
    rate_table,
    ratios,
    startup_table,
)


@dataclass
class Report:
    """Grows case by case, so that an interrupted run still shows what it has."""

    reference: str
    plan: Plan
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=machine)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    standings: dict[str, list[Standing]] = field(default_factory=dict)
    startups: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The tables, with machine, date and versions."""
        parts = [sentence(self.machine), self._method()]
        for name, samples in self.samples.items():
            if not samples:
                continue
            parts += [f"**{CASES[name].text}**", rate_table(samples, self.reference)]
            parts.append(cost_table(samples, self.standings.get(name, [])))
            parts += [f"- {line}" for line in failures(samples)]
        if self.startups:
            parts += ["**Start**", startup_table(self.startups, self.reference)]
        known = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "\n\n".join([*parts, f"Versions: {known}."])

    def _method(self) -> str:
        return (
            f"Medians of {self.plan.rounds} interleaved rounds of {self.plan.seconds} s; in "
            f"brackets {self.reference}'s rate over that server's, formed in each round, then "
            "the median."
        )

    def json(self) -> str:
        """Everything measured."""
        document = {
            "machine": self.machine,
            "versions": self.versions,
            "reference": self.reference,
            "rounds": self.plan.rounds,
            "seconds": self.plan.seconds,
            "startups_s": self.startups,
            "samples": [asdict(each) for case in self.samples.values() for each in case],
            "standings": [asdict(each) for case in self.standings.values() for each in case],
            "ratios": {
                case: {f"{server} @{count}": value for (server, count), value in found.items()}
                for case, samples in self.samples.items()
                for found in [ratios(samples, self.reference)]
            },
        }
        return json.dumps(document, indent=1)


def measure(
    report: Report, cases: Iterable[str], servers: Sequence[Server], say: Callable[[str], None]
) -> None:
    """Runs the cases (and `startup`) into the report."""
    make_models(MODELS)
    usable = [server for server in servers if _is_installed(server, report, say)]
    for name in cases:
        if name == "startup":
            report.startups = run_startups(CASES["lr"], usable, report.plan.rounds, MODELS, say)
            continue
        # Filled while it runs: an interrupted case still shows its samples.
        samples = report.samples.setdefault(name, [])
        standings = run_case(CASES[name], usable, report.plan, MODELS, say, samples)
        report.standings[name] = standings


def _is_installed(server: Server, report: Report, say: Callable[[str], None]) -> bool:
    """Makes the server's environment if need be, and notes its version."""
    try:
        version = server.version()
    except EnvironmentFailed as error:
        say(f"{server.name} left out: its environment could not be made: {error}")
        return False
    if server.package:
        report.versions[server.package] = version
    return True


def finish(report: Report, output: str) -> None:
    """Prints the tables; writes the JSON document if a file is named."""
    print(report.markdown())
    if output:
        Path(output).write_text(report.json())
