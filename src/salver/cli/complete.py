"""`salver __complete`: what may stand at the end of a command line; asked by shells.

Never fails: without a server, there are no names to offer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise

from salver.cli.resource_names import (
    ALL,
    Target,
    collection_path,
    find_type,
    names_of,
)
from salver.cli.session import Session
from salver.errors import SalverError
from salver.spec.kinds import RESOURCE_TYPES

USAGE = "-- WORD..."
DESCRIPTION = "Prints what may stand in place of the last word."
EXAMPLES = ""

_TYPED = frozenset({"get", "describe", "delete", "wait", "scale"})
_SERVICES = frozenset({"rollout", "logs", "predict", "top"})
_VALUED = frozenset(
    {"-n", "--namespace", "-s", "--server", "--api-key", "--cacert", "--request-timeout"}
    | {"-o", "--output", "-l", "--selector", "--for", "--timeout", "--tail", "-c", "--replicas"}
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver __complete`."""
    parser.add_argument("words", nargs="*")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints the candidates, one a line."""
    session.say(*candidates(arguments.words, session))
    return 0


def candidates(words: Sequence[str], session: Session) -> list[str]:
    """What begins with the last word and may stand there."""
    *before, current = words or [""]
    position = _positional(before)
    if not position:
        return []
    command, given = position[0], position[1:]
    found: list[str] = []
    if command in _TYPED:
        found = _typed(given, current, before, session)
    elif command in _SERVICES and (command != "rollout" or given):
        found = _names("isvc", before, session)
    elif command == "explain":
        found = _fields(current)
    return sorted(each for each in found if each.startswith(current))


def _positional(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skips = False
    for word in words:
        if skips:
            skips = False
        elif word.startswith("-"):
            skips = word in _VALUED
        else:
            kept.append(word)
    return kept


def _typed(given: Sequence[str], current: str, words: Sequence[str], session: Session) -> list[str]:
    if given and "/" not in given[0]:
        return _names(given[0], words, session)
    if "/" in current:
        kind = current.partition("/")[0]
        return [f"{kind}/{name}" for name in _names(kind, words, session)]
    types = [name for each in RESOURCE_TYPES for name in (each.plural, *each.short_names)]
    return [*types, ALL]


def _names(kind: str, words: Sequence[str], session: Session) -> list[str]:
    """The names of that type's objects; none if the server does not answer."""
    try:
        target = Target(find_type(kind))
        path = collection_path(target.type, _value_of(words, ("-n", "--namespace"), session))
        items = session.client.get(path)["items"]
        return [str(each["metadata"]["name"]) for each in items]
    except (SalverError, KeyError, TypeError):
        return []


def _value_of(words: Sequence[str], flags: Sequence[str], session: Session) -> str:
    for word, following in pairwise(words):
        if word in flags:
            return following
    return session.namespace


def _fields(current: str) -> list[str]:
    """Types, then the fields below what has been typed."""
    head, dot, _ = current.rpartition(".")
    if not dot:
        return [min(names_of(each), key=len) for each in RESOURCE_TYPES]
    from salver.spec.explain import explain

    try:
        lines = explain(head).splitlines()
    except SalverError:
        return []
    start = lines.index("FIELDS:") + 1 if "FIELDS:" in lines else len(lines)
    fields = [line.split()[0] for line in lines[start:] if line[:2] == "  " and line[2:3] != " "]
    return [f"{head}.{field}" for field in fields]
