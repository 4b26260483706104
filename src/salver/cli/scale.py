"""`salver scale`: sets how many replicas there are, through the `scale` sub-resource."""

from __future__ import annotations

import argparse

from salver.cli.resource_names import full_name, object_path, read_service
from salver.cli.session import Session
from salver.errors import CommandFailed

USAGE = "[TYPE] NAME --replicas N [options]"
DESCRIPTION = """\
Sets the number of replicas. An autoscaled service keeps at least so many.
"""
EXAMPLES = """\
examples:
  salver scale isvc iris --replicas 4
  salver scale isvc/iris --replicas 0
  salver scale iris --replicas 4 --current-replicas 2
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver scale`."""
    parser.add_argument(
        "resources", nargs="+", metavar="RESOURCE", help="NAME, TYPE NAME or TYPE/NAME"
    )
    parser.add_argument("--replicas", type=int, required=True, metavar="N", help="how many")
    parser.add_argument(
        "--current-replicas",
        type=int,
        default=-1,
        metavar="N",
        help="only if there are so many now",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Sets it."""
    target = read_service(arguments.resources)
    if arguments.replicas < 0:
        raise CommandFailed(f"--replicas: {arguments.replicas} is below 0; give 0 or more")
    if "scale" not in target.type.subresources:
        raise CommandFailed(f"{target.type.plural} have no replicas to set; isvc have")
    path = object_path(target.type, session.namespace, target.name, "scale")
    name = full_name(target.type, target.name)
    if arguments.current_replicas >= 0:
        now = (session.client.get(path).get("spec") or {}).get("replicas")
        if now != arguments.current_replicas:
            raise CommandFailed(
                f"{name} has {now} replicas, not {arguments.current_replicas}: nothing is changed"
            )
    session.patch(path, {"spec": {"replicas": arguments.replicas}})
    session.say(f"{name} scaled")
    return 0
