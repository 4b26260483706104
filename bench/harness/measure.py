"""Runs a case: starts its servers, loads them in turns, writes down what each did.

Interleaved: in every round each server is loaded once at each number of connections, so that a
busy moment of the machine hits all of them. Servers that cannot start or answer wrong are
reported and left out, never timed.
"""

from __future__ import annotations

import math
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.answers import WrongAnswer, ask
from harness.cases import Case, Payload, make_payload
from harness.environments import EnvironmentFailed
from harness.load import LoadFailed, drive
from harness.places import RUNS
from harness.processes import (
    cpu_s,
    free_ports,
    listener,
    memory_bytes,
    started,
    tree,
    wait_quiet,
)
from harness.servers import Launch, Server
from harness.table import Sample, Standing

START_S = 60.0
POLL_S = 0.02
SETTLE_S = 5.0
WARM_UP_CONNECTIONS = 16
Say = Callable[[str], None]


class DidNotStart(Exception):
    """The server did not come to a right answer."""


@dataclass(frozen=True)
class Running:
    """A server that has answered right once."""

    server: Server
    pid: int
    http_port: int
    grpc_port: int
    start_s: float

    def port(self, case: Case) -> int:
        """The port that the case is asked on."""
        return self.grpc_port if case.wire == "grpc" else self.http_port


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: int
    connections: tuple[int, ...] = ()


@contextmanager
def running(server: Server, case: Case, models: Path, payload: Payload) -> Iterator[Running]:
    """The server up and answering right, with the time that took; gone after the block."""
    environment = server.environment()
    http_port, grpc_port, metrics_port = free_ports(3)
    folder = RUNS / f"{case.name}-{server.name}".replace(" ", "-").replace("/", "-").replace(
        ":", ""
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    launch = Launch(
        case=case,
        model_path=models / case.model_file,
        folder=folder,
        environment=environment,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    command = server.recipe(launch)
    log = folder / "log"
    begin = time.perf_counter()
    with started(command.arguments, env=command.env, cwd=folder, log=log) as root:
        _wait_right(root, case, payload, http_port, grpc_port, log)
        yield Running(server, root.pid, http_port, grpc_port, time.perf_counter() - begin)


def _wait_right(
    root: subprocess.Popen[bytes],
    case: Case,
    payload: Payload,
    http_port: int,
    grpc_port: int,
    log: Path,
) -> None:
    deadline = time.monotonic() + START_S
    reason = "no answer"
    while time.monotonic() < deadline:
        if root.poll() is not None:
            raise DidNotStart(f"it ended with {root.returncode}; its log: {_tail(log)}")
        try:
            ask(case, payload, http_port, grpc_port)
            return
        except (OSError, WrongAnswer, ValueError, KeyError) as error:
            # Not yet: servers answer 404, 503 or worse while they load.
            reason = f"{type(error).__name__}: {error}"
        time.sleep(POLL_S)
    raise DidNotStart(f"no right answer in {START_S:.0f} s ({reason}); its log: {_tail(log)}")


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-6:])[-900:]


def run_case(
    case: Case,
    servers: Sequence[Server],
    plan: Plan,
    models: Path,
    say: Say,
    samples: list[Sample],
) -> list[Standing]:
    """Appends the samples of all rounds as they come; what each server took standing."""
    payload = make_payload(case, models)
    connections = plan.connections or case.connections
    with ExitStack() as stack:
        up = _start_all(stack, case, servers, models, payload, say)
        for each in up:
            _warm_up(each, case, payload, say)
        for index in range(plan.rounds):
            for count in connections:
                # Each round begins with another server: none always follows the same one.
                for each in up[index % len(up) :] + up[: index % len(up)]:
                    sample = _sample(each, case, payload, index, count, plan.seconds)
                    samples.append(sample)
                    say(sample.line())
        return [_standing(each, case) for each in up]


def _start_all(
    stack: ExitStack,
    case: Case,
    servers: Sequence[Server],
    models: Path,
    payload: Payload,
    say: Say,
) -> list[Running]:
    up = []
    for server in servers:
        if case.name not in server.cases:
            continue
        try:
            up.append(stack.enter_context(running(server, case, models, payload)))
        except (DidNotStart, EnvironmentFailed, OSError) as error:
            say(f"{case.name}: {server.name} left out: {error}")
        else:
            say(f"{case.name}: {server.name} answers right after {up[-1].start_s:.2f} s")
    return up


def _warm_up(each: Running, case: Case, payload: Payload, say: Say) -> None:
    port = each.port(case)
    try:
        drive(case, payload, port=port, connections=WARM_UP_CONNECTIONS, seconds=1)
    except LoadFailed as error:
        say(f"{case.name}: {each.server.name} was not warmed up: {error}")
    if not wait_quiet(each.pid, at_most_s=SETTLE_S):
        say(f"{case.name}: {each.server.name} stays busy though nobody asks; the others suffer")


def _sample(
    each: Running, case: Case, payload: Payload, index: int, connections: int, seconds: int
) -> Sample:
    """One load. A wrong answer after it spoils it: its rate counts as zero."""
    before = cpu_s(each.pid)
    wrong = ""
    try:
        report = drive(
            case, payload, port=each.port(case), connections=connections, seconds=seconds
        )
        spent = cpu_s(each.pid) - before
        wait_quiet(each.pid, at_most_s=SETTLE_S)
        ask(case, payload, each.http_port, each.grpc_port)
    except (WrongAnswer, LoadFailed, OSError, ValueError) as error:
        wrong = f"{type(error).__name__}: {error}"
        return Sample.spoiled(case.name, each.server.name, index, connections, wrong)
    return Sample(
        case=case.name,
        server=each.server.name,
        round=index,
        connections=connections,
        rate=report.rate,
        p50_ms=report.p50_ms,
        p99_ms=report.p99_ms,
        cpu_us=spent / report.requests * 1e6 if report.requests else math.nan,
        failed=report.failed,
        error="",
    )


def _standing(each: Running, case: Case) -> Standing:
    mib = 1 << 20
    return Standing(
        case=case.name,
        server=each.server.name,
        start_s=each.start_s,
        memory_mb=memory_bytes(tree(each.pid)) / mib,
        front_mb=memory_bytes([listener(each.pid, each.port(case))]) / mib,
    )


def run_startups(
    case: Case, servers: Sequence[Server], rounds: int, models: Path, say: Say
) -> dict[str, float]:
    """The median seconds from spawn to first right answer, server by server in turns."""
    payload = make_payload(case, models)
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for server in servers:
            if case.name not in server.cases:
                continue
            try:
                with running(server, case, models, payload) as up:
                    times.setdefault(server.name, []).append(up.start_s)
            except (DidNotStart, EnvironmentFailed, OSError) as error:
                say(f"startup: {server.name} left out: {error}")
    return {name: statistics.median(each) for name, each in times.items()}
