"""Following changes of resources: what wait, rollout, events and `get -w` have in common.

A watch that the server ends is opened again where it ended, until the deadline passes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from salver.cli.client import ApiError
from salver.errors import CommandFailed

if TYPE_CHECKING:
    from salver.cli.session import Session

_PAUSE_S = 0.2
_ROUND_S = 300.0
_GONE = 410


class Change(NamedTuple):
    """What a watch tells: ADDED, MODIFIED or DELETED, and the object."""

    type: str
    object: dict[str, Any]


class DeadlinePassed(CommandFailed):
    """The time for what was waited for is over."""


def changes(
    session: Session,
    path: str,
    version: str,
    *,
    query: Mapping[str, str] | None = None,
    accept: str = "application/json",
    deadline_s: float | None = None,
) -> Iterator[Change]:
    """The changes after `version`, in order, without an end.

    Raises `DeadlinePassed` at the deadline, and `ApiError` with status 410 if the version is
    too old to go on from.
    """
    while True:
        left_s = _ROUND_S if deadline_s is None else deadline_s - session.clock()
        if left_s <= 0:
            raise DeadlinePassed("the deadline has passed")
        window_s = min(left_s, _ROUND_S)
        asked = {
            **(query or {}),
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(window_s))),
        }
        try:
            lines = session.client.stream(path, query=asked, accept=accept, idle_s=window_s)
            for change in _read(lines):
                version = _version_of(change.object) or version
                if change.type != "BOOKMARK":
                    yield change
        except TimeoutError:
            continue
        # The server ended it: not at once again, should it do so every time.
        session.sleep(_PAUSE_S)


def _read(lines: Iterator[bytes]) -> Iterator[Change]:
    for line in lines:
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            change = Change(str(event["type"]), event["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise CommandFailed(f"the server's watch answered {line[:60]!r}") from error
        if change.type == "ERROR":
            code = int(change.object.get("code") or 500)
            message = str(change.object.get("message", "the watch failed"))
            raise ApiError(code, str(change.object.get("reason", "")), (message,))
        yield change


def _version_of(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata") or {}
    if not metadata.get("resourceVersion"):
        rows = obj.get("rows") or [{}]
        metadata = (rows[-1].get("object") or {}).get("metadata") or {}
    return str(metadata.get("resourceVersion", ""))


def states(
    session: Session, collection: str, name: str, deadline_s: float | None
) -> Iterator[dict[str, Any] | None]:
    """One object now and after each of its changes; None while it is not there.

    Raises `DeadlinePassed`.
    """
    query = {"fieldSelector": f"metadata.name={name}"}
    while True:
        try:
            listed = session.client.get(collection, query)
            found = [each for each in listed["items"] if each["metadata"]["name"] == name]
            yield found[0] if found else None
            version = str((listed.get("metadata") or {}).get("resourceVersion", ""))
            for change in changes(session, collection, version, query=query, deadline_s=deadline_s):
                if change.object.get("metadata", {}).get("name") == name:
                    yield None if change.type == "DELETED" else change.object
        except ApiError as error:
            if error.status != _GONE:
                raise
