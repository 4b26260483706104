"""What `docs/how-to/manage.md` tells a reader to type is understood."""

import re
import shlex

import pytest
from tests.documents import ROOT, commands

from salver.cli.commands import COMMANDS, find_module
from salver.cli.parser import parse_client, parse_command, parse_serve

PAGE = ROOT / "docs/how-to/manage.md"
SHOWN = re.findall(r"`(salver [^`]+)`", PAGE.read_text())
LINES = [line for line in [*commands(PAGE), *SHOWN] if line.startswith("salver ")]


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_understood(line: str) -> None:
    name, rest = parse_command(shlex.split(line)[1:])
    if name == "serve":
        parse_serve(rest)
    else:
        parse_client(name, find_module(COMMANDS[name]), rest)


def test_every_command_is_shown() -> None:
    text = PAGE.read_text()
    assert [name for name in COMMANDS if f"salver {name}" not in text] == []
