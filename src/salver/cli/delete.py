"""`salver delete`: by type and name, by label, all of a type, or what files name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from salver.cli.ages import duration
from salver.cli.apply import Place, place_of
from salver.cli.client import ApiError
from salver.cli.resource_names import collection_path, full_name, qualified, read_targets
from salver.cli.session import Session
from salver.cli.sources import add_file_flags, read_objects
from salver.cli.watching import DeadlinePassed, states
from salver.errors import CommandFailed

USAGE = "(TYPE NAME... | TYPE --all | TYPE -l SELECTOR | -f FILE) [options]"
DESCRIPTION = "Deletes resources; requests that are being answered are still finished."
EXAMPLES = """\
examples:
  salver delete isvc iris
  salver delete -f isvc.yaml --ignore-not-found
  salver delete isvc -l team=flowers
  salver delete isvc --all -n test
"""

_NOT_FOUND = 404


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver delete`."""
    parser.add_argument(
        "resources", nargs="*", metavar="RESOURCE", help="TYPE NAME... or TYPE/NAME"
    )
    add_file_flags(parser, "delete")
    parser.add_argument("--all", action="store_true", help="all resources of the type")
    parser.add_argument(
        "-l", "--selector", default="", metavar="LABELS", help="those with these labels, e.g. a=b"
    )
    parser.add_argument("--ignore-not-found", action="store_true", help="gone already is fine")
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until they are gone (default: yes)",
    )
    parser.add_argument(
        "--timeout", default="1m", metavar="DURATION", help="how long to wait (default: 1m)"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Deletes them one after another; what fails does not stop the rest."""
    deadline_s = session.clock() + duration(arguments.timeout, "--timeout")
    failed = 0
    deleted: list[Place] = []
    for place in list(_chosen(arguments, session)):
        try:
            if _delete(place, arguments, session):
                deleted.append(place)
        except ApiError as error:
            failed += 1
            session.complain(f"{place.title}: {error}")
    if arguments.wait and not arguments.dry_run:
        for place in deleted:
            _wait_gone(place, deadline_s, session)
    return 1 if failed else 0


def _chosen(arguments: argparse.Namespace, session: Session) -> Iterable[Place]:
    if arguments.filename:
        if arguments.resources:
            raise CommandFailed("delete: give either -f or TYPE NAME, not both")
        # Backwards: what was made first may be needed by what was made later.
        return [place_of(obj, session) for obj in reversed(read_objects(arguments, session))]
    places: list[Place] = []
    for type, name in read_targets(arguments.resources):
        namespace = session.namespace if type.namespaced else ""
        collection = collection_path(type, namespace)
        if name:
            places.append(Place(type, collection, namespace, name))
            continue
        if not arguments.all and not arguments.selector:
            raise CommandFailed(
                f"delete: which {type.plural}? give names, -l SELECTOR, or --all for all of them"
            )
        listed = session.client.get(collection, {"labelSelector": arguments.selector})
        names = [str(each["metadata"]["name"]) for each in listed["items"]]
        places += [Place(type, collection, namespace, each) for each in names]
    if not places:
        session.say("No resources found")
    return places


def _delete(place: Place, arguments: argparse.Namespace, session: Session) -> bool:
    query = {"dryRun": "All"} if arguments.dry_run else {}
    try:
        session.client.send("DELETE", place.path, query=query)
    except ApiError as error:
        if error.status == _NOT_FOUND and arguments.ignore_not_found:
            return False
        raise
    suffix = " (dry run)" if arguments.dry_run else ""
    scope = f" from {place.namespace} namespace" if place.namespace else ""
    session.say(f'{qualified(place.type)} "{place.name}" deleted{scope}{suffix}')
    return True


def _wait_gone(place: Place, deadline_s: float, session: Session) -> None:
    try:
        for obj in states(session, place.collection, place.name, deadline_s):
            if obj is None:
                return
    except DeadlinePassed as passed:
        raise CommandFailed(
            f"{full_name(place.type, place.name)} is not gone yet; allow more with --timeout"
        ) from passed
