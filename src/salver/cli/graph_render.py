"""`salver graph render`: the graphs of a Python file as YAML. Asks no server."""

from __future__ import annotations

from salver.cli.printing import as_text
from salver.cli.python_graphs import manifests_of
from salver.cli.session import Session
from salver.errors import CommandFailed


def render(target: str, output: str, session: Session) -> int:
    """Prints the manifests of `FILE.py`, or `FILE.py:NAME`. Raises `CommandFailed`."""
    if not target:
        raise CommandFailed("graph render: which file? give a Python file with @salver.graph")
    output = "yaml" if output == "text" else output
    shown = target if target.endswith(".py") else target.rpartition(":")[0]
    for number, each in enumerate(manifests_of(target, shown=shown)):
        if number and output == "yaml":
            session.say("---")
        session.say(as_text(each, output))
    return 0
