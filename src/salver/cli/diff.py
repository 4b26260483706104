"""`salver diff`: what `apply` would change, line by line.

The server says what the result would be (a dry run), so that its defaults and checks count.
Exit codes: 0 no differences, 1 differences, 2 it failed.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterator
from typing import Any

from salver.cli.apply import Place, in_namespace, live_object, patch_for, place_of
from salver.cli.printing import as_yaml
from salver.cli.session import Session
from salver.cli.sources import add_file_flags, read_objects
from salver.cli.terminal import Style
from salver.cli.three_way import with_last_applied, without_last_applied
from salver.errors import CommandFailed

USAGE = "-f FILE... [options]"
DESCRIPTION = """\
Shows what apply would change, and changes nothing. Exit code 0: nothing, 1: something,
2: it failed.
"""
EXAMPLES = """\
examples:
  salver diff -f isvc.yaml
  salver diff -f models/ -R && echo up to date
"""

_OF_SERVER = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver diff`."""
    add_file_flags(parser, "compare")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints a unified diff for each object that would change."""
    if not arguments.filename:
        raise CommandFailed("diff: there is nothing to compare; give a file or folder with -f")
    differs = False
    for obj in read_objects(arguments, session):
        place = place_of(obj, session)
        live, merged = _before_and_after(obj, place, session)
        lines = list(diff_lines(live, merged, place.title, session.style))
        differs = differs or bool(lines)
        session.say(*lines)
    return 1 if differs else 0


def _before_and_after(
    obj: dict[str, Any], place: Place, session: Session
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    modified = with_last_applied(in_namespace(obj, place.namespace))
    query = {"dryRun": "All", "fieldManager": "salver"}
    live = live_object(place, session)
    if live is None:
        body = json.dumps(modified).encode()
        return None, session.client.send("POST", place.collection, query=query, body=body).json()
    patch = patch_for(modified, live, place, session)
    return live, session.patch(place.path, patch, query) if patch else live


def diff_lines(
    before: dict[str, Any] | None, after: dict[str, Any], title: str, style: Style
) -> Iterator[str]:
    """The diff of the two as YAML, without what the server alone sets."""
    lines = difflib.unified_diff(
        _yaml_lines(before) if before is not None else [],
        _yaml_lines(after),
        f"live/{title}",
        f"applied/{title}",
        lineterm="",
    )
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        yield style.paint(line, "bold" if line.startswith(("---", "+++")) else colour)


def _yaml_lines(obj: dict[str, Any]) -> list[str]:
    bare = without_last_applied(obj)
    metadata = {k: v for k, v in (bare.get("metadata") or {}).items() if k not in _OF_SERVER}
    if not metadata.get("annotations"):
        metadata.pop("annotations", None)
    shown = {k: v for k, v in bare.items() if k != "status"}
    return as_yaml({**shown, "metadata": metadata}).splitlines()
