"""`salver explain`: what the fields of a resource mean. Asks no server."""

from __future__ import annotations

import argparse

from salver.cli.session import Session
from salver.cli.terminal import columns
from salver.spec.kinds import RESOURCE_TYPES

USAGE = "[TYPE[.FIELD...]] [options]"
DESCRIPTION = """\
Says what a type of resource, or a field of it, means. Without a type, lists the types.
"""
EXAMPLES = """\
examples:
  salver explain
  salver explain isvc
  salver explain isvc.spec.predictor.batcher
  salver explain isvc.spec --recursive
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver explain`."""
    parser.add_argument(
        "field",
        nargs="?",
        default="",
        metavar="FIELD",
        help="such as isvc.spec.predictor.minReplicas",
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="the fields below it, too")
    parser.add_argument(
        "--api-version",
        default="",
        metavar="VERSION",
        help="of this version, e.g. serving.kserve.io/v1alpha2",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints it."""
    if not arguments.field:
        session.say(*type_lines())
        return 0
    from salver.spec.explain import explain

    text = explain(
        arguments.field, recursive=arguments.recursive, api_version=arguments.api_version
    )
    session.say(text.rstrip("\n"))
    return 0


def type_lines() -> list[str]:
    """The types as a table, like `kubectl api-resources`."""
    rows = [["NAME", "SHORT", "APIVERSION", "NAMESPACED", "KIND"]]
    for each in RESOURCE_TYPES:
        version = f"{each.group}/{each.versions[0]}" if each.group else each.versions[0]
        short = ",".join(each.short_names)
        rows.append([each.plural, short, version, str(each.namespaced).lower(), each.kind])
    return columns(rows)
