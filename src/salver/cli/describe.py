"""`salver describe`: all about a resource and its events, for people.

Asks the server; what is shown is made in `description.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from salver.cli.client import ApiError
from salver.cli.description import describe_object
from salver.cli.engine_tables import engine_lines
from salver.cli.resource_names import collection_path, object_path, read_targets
from salver.cli.session import Session

USAGE = "TYPE [NAME...] [options]"
DESCRIPTION = "Shows a resource with its components, traffic, conditions and events."
EXAMPLES = """\
examples:
  salver describe isvc iris
  salver describe isvc/iris -n flowers
  salver describe rev -l serving.kserve.io/inferenceservice=iris
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver describe`."""
    parser.add_argument(
        "resources", nargs="+", metavar="RESOURCE", help="TYPE NAME... or TYPE/NAME"
    )
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="in all namespaces")
    parser.add_argument(
        "-l", "--selector", default="", metavar="LABELS", help="those with these labels, e.g. a=b"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints one description after another, two blank lines between them."""
    objects: list[dict[str, Any]] = []
    for type, name in read_targets(arguments.resources):
        if name:
            objects.append(session.client.get(object_path(type, session.namespace, name)))
            continue
        path = collection_path(type, session.scope)
        listed = session.client.get(path, {"labelSelector": arguments.selector})
        group = f"{type.group}/" if type.group else ""
        of_type = {"apiVersion": f"{group}{type.versions[0]}", "kind": type.kind}
        objects += [{**of_type, **each} for each in listed["items"]]
    if not objects:
        session.err.write("No resources found.\n")
    for index, obj in enumerate(objects):
        lines = describe_object(obj, _events(obj, session), session.clock(), session.style)
        session.say(*(["", ""] if index else []), *lines, *_engines(obj, session))
    return 0


def _engines(obj: dict[str, Any], session: Session) -> Sequence[str]:
    """What came of compiling a service's model, if it runs in workers of this server."""
    if obj.get("kind") != "InferenceService":
        return ()
    metadata = obj["metadata"]
    name = quote(metadata["name"], safe="")
    namespace = quote(metadata.get("namespace") or session.namespace, safe="")
    try:
        known = session.client.get(f"/serving/{namespace}/{name}/salver/v1/models/{name}")
    except ApiError:
        return ()
    return engine_lines(known)


def _events(obj: dict[str, Any], session: Session) -> Sequence[dict[str, Any]]:
    """The events of the object; none from a server that keeps none."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace") or session.namespace
    selector = f"involvedObject.kind={obj.get('kind')},involvedObject.name={metadata['name']}"
    try:
        listed = session.client.get(
            f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": selector}
        )
    except ApiError:
        return ()
    return [
        each
        for each in listed["items"]
        if (each.get("involvedObject") or {}).get("name") == metadata["name"]
        and (each.get("involvedObject") or {}).get("kind") == obj.get("kind")
    ]
