"""`salver events`: what happened, oldest first, and what goes on (`-w`)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from salver.cli.ages import duration
from salver.cli.happenings import event_row, in_order
from salver.cli.printing import as_text
from salver.cli.resource_names import Target, collection_path, find_type, read_service
from salver.cli.session import Session
from salver.cli.terminal import column_widths, columns
from salver.cli.watching import DeadlinePassed, changes

USAGE = "[options]"
DESCRIPTION = "Lists events: revisions made, models loaded, what failed and why."
EXAMPLES = """\
examples:
  salver events
  salver events --for isvc/iris
  salver events -A -w
  salver events --types Warning
"""

_HEADER = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver events`."""
    parser.add_argument(
        "--for", dest="about", default="", metavar="TYPE/NAME", help="of one resource only"
    )
    parser.add_argument(
        "--types", default="", metavar="TYPES", help="of these types only: Normal,Warning"
    )
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="in all namespaces")
    parser.add_argument("-w", "--watch", action="store_true", help="go on and print new ones")
    parser.add_argument(
        "--timeout",
        default="",
        metavar="DURATION",
        help="with -w: for how long (default: until Ctrl-C)",
    )
    parser.add_argument("-o", "--output", default="", metavar="FORMAT", help="json or yaml")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints them."""
    about = read_service([arguments.about]) if arguments.about else None
    types = {each.strip().lower() for each in arguments.types.split(",") if each.strip()}
    path = collection_path(find_type("events"), session.scope)
    listed = session.client.get(path)
    events = [each for each in listed["items"] if _is_wanted(each, about, types)]
    if arguments.output:
        whole = {"apiVersion": "v1", "kind": "List", "items": in_order(events)}
        session.say(as_text(whole, arguments.output))
        return 0
    printer = _Printer(session, has_namespace=arguments.all_namespaces)
    if events:
        printer.show(*in_order(events))
    elif not arguments.watch:
        session.err.write("No events found.\n")
    if arguments.watch:
        version = str((listed.get("metadata") or {}).get("resourceVersion", ""))
        limit = arguments.timeout
        deadline_s = session.clock() + duration(limit, "--timeout") if limit else None
        try:
            for change in changes(session, path, version, deadline_s=deadline_s):
                if change.type != "DELETED" and _is_wanted(change.object, about, types):
                    printer.show(change.object)
        except DeadlinePassed:
            pass
    return 0


def _is_wanted(event: Mapping[str, Any], about: Target | None, types: set[str]) -> bool:
    if types and str(event.get("type", "")).lower() not in types:
        return False
    if about is None:
        return True
    involved = event.get("involvedObject") or {}
    return involved.get("name") == about.name and involved.get("kind") == about.type.kind


class _Printer:
    """Rows under one header; columns grow but never shrink."""

    def __init__(self, session: Session, *, has_namespace: bool) -> None:
        self._session = session
        self._has_namespace = has_namespace
        self._widths: list[int] = []

    def show(self, *events: Mapping[str, Any]) -> None:
        rows = [self._row(event) for event in events]
        header = ["NAMESPACE", *_HEADER] if self._has_namespace else _HEADER
        shown = rows if self._widths else [header, *rows]
        self._widths = column_widths([header, *rows], self._widths)
        self._session.say(*columns(shown, least=self._widths))

    def _row(self, event: Mapping[str, Any]) -> list[str]:
        row = event_row(event, self._session.clock())
        namespace = str((event.get("metadata") or {}).get("namespace", ""))
        return [namespace, *row] if self._has_namespace else row
