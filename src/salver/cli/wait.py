"""`salver wait`: until a condition holds, a field has a value, or a resource is gone."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from salver.cli import jsonpath
from salver.cli.ages import duration
from salver.cli.progress import condition, is_current
from salver.cli.resource_names import Target, collection_path, full_name, read_targets
from salver.cli.session import Session
from salver.cli.watching import DeadlinePassed, states
from salver.errors import CommandFailed

USAGE = "TYPE NAME... --for=WHAT [options]"
DESCRIPTION = """\
Waits until resources are as asked for; fails if they are not in time.
"""
EXAMPLES = """\
examples:
  salver wait isvc iris --for=condition=Ready
  salver wait isvc --all --for=condition=Ready --timeout=5m
  salver wait isvc/iris --for=delete
  salver wait isvc/iris --for=jsonpath='{.status.modelStatus.transitionStatus}'=UpToDate
"""

Check = Callable[[dict[str, Any] | None], bool]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver wait`."""
    parser.add_argument(
        "resources", nargs="+", metavar="RESOURCE", help="TYPE NAME... or TYPE/NAME"
    )
    parser.add_argument(
        "--for",
        dest="what",
        required=True,
        metavar="WHAT",
        help="condition=TYPE[=VALUE], jsonpath={PATH}[=VALUE], delete or create",
    )
    parser.add_argument(
        "--timeout", default="30s", metavar="DURATION", help="how long (default: 30s)"
    )
    parser.add_argument("--all", action="store_true", help="all resources of the type")
    parser.add_argument(
        "-l", "--selector", default="", metavar="LABELS", help="those with these labels, e.g. a=b"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Waits for one after another, all within one deadline."""
    check = read_check(arguments.what)
    deadline_s = session.clock() + duration(arguments.timeout, "--timeout")
    is_gone = arguments.what == "delete"
    must_exist = arguments.what not in ("delete", "create")
    failed = 0
    for target in _chosen(arguments, session):
        name = full_name(target.type, target.name)
        if _wait(target, check, must_exist, deadline_s, session):
            session.say(f"{name} {'deleted' if is_gone else 'condition met'}")
        else:
            failed += 1
            session.complain(f"timed out after {arguments.timeout} waiting for {name}")
    return 1 if failed else 0


def _chosen(arguments: argparse.Namespace, session: Session) -> list[Target]:
    chosen: list[Target] = []
    for target in read_targets(arguments.resources):
        if target.name:
            chosen.append(target)
            continue
        if not arguments.all and not arguments.selector:
            raise CommandFailed(f"wait: which {target.type.plural}? give names, -l or --all")
        path = collection_path(target.type, session.namespace)
        listed = session.client.get(path, {"labelSelector": arguments.selector})
        chosen += [Target(target.type, each["metadata"]["name"]) for each in listed["items"]]
    if not chosen and arguments.what != "delete":
        raise CommandFailed("wait: there are no resources that match; check their names and -n")
    return chosen


def _wait(
    target: Target, check: Check, must_exist: bool, deadline_s: float, session: Session
) -> bool:
    """Whether it came to pass before the deadline."""
    path = collection_path(target.type, session.namespace)
    try:
        for obj in states(session, path, target.name, deadline_s):
            if check(obj):
                return True
            if obj is None and must_exist:
                name = full_name(target.type, target.name)
                raise CommandFailed(f"{name} is not there; check its name and -n")
    except DeadlinePassed:
        return False
    return False


def read_check(what: str) -> Check:
    """What `--for` asks for. Raises `CommandFailed`."""
    kind, _, rest = what.partition("=")
    if kind == "delete" and not rest:
        return lambda obj: obj is None
    if kind == "create" and not rest:
        return lambda obj: obj is not None
    if kind == "condition" and rest:
        type, _, value = rest.partition("=")
        return _condition_check(type, value or "True")
    if kind == "jsonpath" and rest:
        return _path_check(rest)
    raise CommandFailed(
        f"--for: '{what}' is not known; give condition=Ready, delete, create or jsonpath={{.a}}=b"
    )


def _condition_check(type: str, value: str) -> Check:
    def holds(obj: dict[str, Any] | None) -> bool:
        if obj is None or not is_current(obj):
            return False
        return str(condition(obj, type).get("status", "")).lower() == value.lower()

    return holds


def _path_check(text: str) -> Check:
    end = text.rfind("}")
    path, rest = (text[: end + 1], text[end + 1 :]) if end >= 0 else _halves(text)
    wanted = rest.removeprefix("=") if rest.startswith("=") else None
    jsonpath.find(path, {})  # reads it once, so that a wrong one is refused at once

    def holds(obj: dict[str, Any] | None) -> bool:
        if obj is None:
            return False
        found = jsonpath.find(path, obj)
        if wanted is None:
            return bool(found)
        return any(jsonpath.shown(each) == wanted for each in found)

    return holds


def _halves(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    return path, equals + value
