"""`salver apply`: the server gets what the files say, and only what they say.

Client-side by default, with kubectl's three-way merge, so that either tool goes on where the
other left off; `--server-side` leaves the merge to the server.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

from salver.cli.ages import duration
from salver.cli.client import APPLY_PATCH, ApiError
from salver.cli.printing import as_text
from salver.cli.progress import ProgressLines, failure_of, is_rolled_out, step_of
from salver.cli.resource_names import collection_path, full_name
from salver.cli.session import Session
from salver.cli.sources import add_file_flags, read_objects
from salver.cli.terminal import style_of
from salver.cli.three_way import last_applied, three_way_patch, with_last_applied
from salver.cli.watching import DeadlinePassed, states
from salver.errors import CommandFailed
from salver.spec.kinds import ResourceType, resource_type

USAGE = "-f FILE... [options]"
DESCRIPTION = """\
Creates the resources in the files, or changes those that are there to what the files say.

All files are checked first; if anything in them is wrong, all of it is printed with its line,
and nothing is applied. What others have set and the files never had stays as it is.
"""
EXAMPLES = """\
examples:
  salver apply -f isvc.yaml
  salver apply -f models/ -R --wait
  salver apply -f https://example.com/isvc.yaml --dry-run
  cat isvc.yaml | salver apply -f -
"""

_MANAGER = "salver"
_NOT_FOUND = 404
_COME_UP = {
    "InferenceService",
    "InferenceGraph",
    "SeldonDeployment",
    "Model",
    "Pipeline",
    "Experiment",
    "Graph",
}
"""Kinds whose status says `Ready`, so that `--wait` waits for them."""


class Place(NamedTuple):
    """Where an object belongs on the server."""

    type: ResourceType
    collection: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"

    @property
    def title(self) -> str:
        """How results name it."""
        return full_name(self.type, self.name)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver apply`."""
    add_file_flags(parser, "apply")
    parser.add_argument(
        "--dry-run",
        nargs="?",
        const="server",
        choices=("server", "client"),
        help="say what would be done, and do not do it",
    )
    parser.add_argument("--server-side", action="store_true", help="let the server merge")
    parser.add_argument(
        "--force-conflicts",
        action="store_true",
        help="with --server-side: take fields over from other managers",
    )
    parser.add_argument("--wait", action="store_true", help="wait until all of it is ready")
    parser.add_argument(
        "--timeout", default="5m", metavar="DURATION", help="with --wait: how long (default: 5m)"
    )
    parser.add_argument(
        "-o", "--output", default="", metavar="FORMAT", help="print the objects: json, yaml or name"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Applies everything in the order of the files; what fails does not stop the rest."""
    if not arguments.filename:
        raise CommandFailed("apply: there is nothing to apply; give a file or folder with -f")
    deadline_s = session.clock() + duration(arguments.timeout, "--timeout")
    objects = read_objects(arguments, session)
    failed = 0
    applied: list[Place] = []
    for obj in objects:
        place = place_of(obj, session)
        try:
            outcome, result = _apply(obj, place, arguments, session)
        except ApiError as error:
            failed += 1
            session.complain(f"{place.title}: {error.problems[0]}")
            for line in error.problems[1:]:
                session.complain(line)
            continue
        _report(outcome, result, place, arguments, session)
        applied.append(place)
    if arguments.wait and not arguments.dry_run and not failed:
        failed += wait_ready(applied, deadline_s, session)
    return 1 if failed else 0


def place_of(obj: dict[str, Any], session: Session) -> Place:
    """Where the manifest goes: its own namespace, or else the command's.

    Raises `CommandFailed` if it and the command name different ones.
    """
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    type = resource_type(group, version, str(obj.get("kind", "")))
    name = str(obj["metadata"].get("name", ""))
    if type is None:
        raise CommandFailed(f"{obj.get('apiVersion')} {obj.get('kind')} '{name}': unknown type")
    own = str(obj["metadata"].get("namespace") or "")
    if type.namespaced and own and session.is_namespace_given and own != session.namespace:
        raise CommandFailed(
            f"{type.singular} '{name}' is in namespace '{own}' by its file and "
            f"'{session.namespace}' by -n; make them the same, or leave -n out"
        )
    namespace = (own or session.namespace) if type.namespaced else ""
    return Place(type, collection_path(type, namespace, version, group), namespace, name)


def in_namespace(obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The manifest with its namespace written down; as it is if that is empty."""
    if not namespace:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


def as_applied(obj: dict[str, Any], default_namespace: str) -> dict[str, Any]:
    """The manifest as it is sent when there is no such object yet."""
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    type = resource_type(group, version, str(obj.get("kind", "")))
    own = str(obj["metadata"].get("namespace") or default_namespace)
    is_namespaced = type is not None and type.namespaced
    return with_last_applied(in_namespace(obj, own if is_namespaced else ""))


def live_object(place: Place, session: Session) -> dict[str, Any] | None:
    """What the server has, or None."""
    try:
        found: dict[str, Any] = session.client.get(place.path)
    except ApiError as error:
        if error.status == _NOT_FOUND and error.reason == "NotFound":
            return None
        raise
    return found


def _apply(
    obj: dict[str, Any], place: Place, arguments: argparse.Namespace, session: Session
) -> tuple[str, dict[str, Any]]:
    """What became of it, and the object as it is now."""
    manifest = in_namespace(obj, place.namespace)
    query = {"fieldManager": _MANAGER}
    if arguments.dry_run == "server":
        query["dryRun"] = "All"
    if arguments.server_side:
        return "serverside-applied", _server_side(manifest, place, query, arguments, session)
    modified = with_last_applied(manifest)
    current = live_object(place, session)
    is_told_only = arguments.dry_run == "client"
    if current is None:
        if is_told_only:
            return "created", modified
        return "created", _sent("POST", place.collection, modified, query, session)
    patch = patch_for(modified, current, place, session)
    if not patch:
        return "unchanged", current
    if is_told_only:
        return "configured", current
    result = session.patch(place.path, patch, query)
    return "configured" if _has_changed(current, result) else "unchanged", result


def patch_for(
    modified: dict[str, Any], current: dict[str, Any], place: Place, session: Session
) -> dict[str, Any]:
    """The patch for an object that is there already."""
    original = last_applied(current)
    if original is None:
        session.warn(
            f"{place.title} was not made by apply: fields that its file does not have stay"
        )
    return three_way_patch(original or {}, modified, current)


def _has_changed(before: dict[str, Any], after: dict[str, Any]) -> bool:
    versions = [(each.get("metadata") or {}).get("resourceVersion") for each in (before, after)]
    return versions[0] is None or versions[0] != versions[1]


def _server_side(
    manifest: dict[str, Any],
    place: Place,
    query: dict[str, str],
    arguments: argparse.Namespace,
    session: Session,
) -> dict[str, Any]:
    if arguments.force_conflicts:
        query = {**query, "force": "true"}
    body = json.dumps(manifest, ensure_ascii=False).encode()
    answer = session.client.send(
        "PATCH", place.path, query=query, body=body, content_type=APPLY_PATCH
    )
    result: dict[str, Any] = answer.json()
    return result


def _sent(
    method: str, path: str, obj: dict[str, Any], query: dict[str, str], session: Session
) -> dict[str, Any]:
    body = json.dumps(obj, ensure_ascii=False).encode()
    result: dict[str, Any] = session.client.send(method, path, query=query, body=body).json()
    return result


def _report(
    outcome: str,
    result: dict[str, Any],
    place: Place,
    arguments: argparse.Namespace,
    session: Session,
) -> None:
    if arguments.output:
        if arguments.output == "yaml":
            session.say("---")
        session.say(as_text(result, arguments.output))
        return
    suffix = f" ({arguments.dry_run} dry run)" if arguments.dry_run else ""
    colour = {"created": "green", "configured": "yellow"}.get(outcome, "")
    session.say(f"{place.title} {session.style.paint(outcome, colour)}{suffix}")


def wait_ready(places: list[Place], deadline_s: float, session: Session) -> int:
    """Waits until what was applied serves; gives how many of it do not."""
    lines = ProgressLines(session.err, style_of(session.err, session.environ))
    failed = 0
    for place in places:
        if place.type.kind not in _COME_UP:
            continue
        problem = _wait_one(place, deadline_s, lines, session)
        lines.clear()
        if problem:
            failed += 1
            session.complain(f"{place.title}: {problem}")
        else:
            session.say(f"{place.title} {session.style.paint('ready', 'green')}")
    return failed


def _wait_one(place: Place, deadline_s: float, lines: ProgressLines, session: Session) -> str:
    """Empty once it is ready, else why it is not."""
    step = "no status yet"
    style = style_of(session.err, session.environ)
    try:
        for obj in states(session, place.collection, place.name, deadline_s):
            if obj is None:
                return "was deleted while it was waited for"
            if is_rolled_out(obj):
                return ""
            problem = failure_of(obj)
            if problem:
                return problem
            step = step_of(obj, style)
            lines.show(place.title, step)
    except DeadlinePassed:
        return f"is not ready in time ({step}); allow more with --timeout"
    return ""
