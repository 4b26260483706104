"""The command line against a stand-in of the admin API, in this process."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.admin_api import AdminApi, admin_api

from salver.cli.commands import COMMANDS, HIDDEN, find_module
from salver.cli.main import error_lines
from salver.cli.parser import parse_client, parse_command
from salver.cli.session import Session
from salver.errors import SalverError

NOW_S = 1795248600.0
"""2026-11-21T08:10:00Z."""


class Clock:
    """Runs with the real one, from a fixed time on; sleeping takes no time."""

    def __init__(self) -> None:
        self._offset_s = NOW_S - time.monotonic()

    def __call__(self) -> float:
        return self._offset_s + time.monotonic()

    def sleep(self, seconds: float) -> None:
        self._offset_s += seconds


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def served() -> Iterator[tuple[AdminApi, str]]:
    with admin_api() as found:
        yield found


@pytest.fixture
def api(served: tuple[AdminApi, str]) -> AdminApi:
    return served[0]


Run = Callable[..., Done]


@pytest.fixture
def run(served: tuple[AdminApi, str]) -> Run:
    def run_command(*words: str, stdin: str = "", **environ: str) -> Done:
        out, err, clock = io.StringIO(), io.StringIO(), Clock()
        name, rest = parse_command(words)
        command = COMMANDS.get(name) or HIDDEN[name]
        module = find_module(command)
        session = Session(
            parse_client(name, module, rest),
            {"SALVER_SERVER": served[1], **environ},
            out=out,
            err=err,
            stdin=io.StringIO(stdin),
            clock=clock,
            sleep=clock.sleep,
        )
        try:
            code = module.run(session._arguments, session)
        except SalverError as error:
            code = command.failure
            err.write("".join(f"salver: {line}\n" for line in error_lines(error)))
        finally:
            session.client.close()
        return Done(code, out.getvalue(), err.getvalue())

    return run_command


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with a file in `golden/`; SALVER_WRITE_GOLDEN=1 writes it instead."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("SALVER_WRITE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return check
