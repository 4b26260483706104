"""`salver logs`: what a service's workers write, of one pod or of all of them at once."""

from __future__ import annotations

import argparse
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from salver.cli.resource_names import collection_path, find_type, object_path, read_service
from salver.cli.session import Session
from salver.cli.terminal import width_of
from salver.errors import CommandFailed
from salver.spec.kinds import ResourceType

USAGE = "[TYPE/]NAME [options]"
DESCRIPTION = """\
Prints the log of a service's workers, or of one pod. If there are several, each line begins
with its pod's name.
"""
EXAMPLES = """\
examples:
  salver logs iris
  salver logs iris -f --tail 20
  salver logs iris -c transformer
  salver logs graph/fraud -c gbm
  salver logs pod/iris-predictor-00001-0
"""

_SERVICE_LABELS = ("salver.dev/service", "serving.kserve.io/inferenceservice")
_GRAPH_LABEL = "salver.dev/graph"
_COMPONENT_LABELS = ("salver.dev/component", "component")
_COLOURS = ("cyan", "green", "yellow")
_MOST_WAITING = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver logs`."""
    parser.add_argument(
        "resources", nargs="+", metavar="NAME", help="NAME of a service, or pod/NAME"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on and print new lines")
    parser.add_argument("--tail", type=int, default=-1, metavar="N", help="the last N lines only")
    parser.add_argument(
        "-c",
        "--component",
        default="",
        metavar="NAME",
        help="only the predictor, transformer or explainer, or a graph's unit of that name",
    )
    parser.add_argument("--prefix", action="store_true", help="the pod's name before every line")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints the logs, one pod after another, or as lines come."""
    target = read_service(arguments.resources)
    if target.type.plural == "pods":
        pods = [target.name]
    else:
        pods = _pods_of(target.type, target.name, arguments.component, session)
    query = {"follow": "true"} if arguments.follow else {}
    if arguments.tail >= 0:
        query["tailLines"] = str(arguments.tail)
    prefixes = _prefixes(pods, session) if len(pods) > 1 or arguments.prefix else [""] * len(pods)
    if arguments.follow and len(pods) > 1:
        lines = _merged(pods, prefixes, query, session)
    else:
        lines = (
            prefix + line
            for pod, prefix in zip(pods, prefixes, strict=True)
            for line in _lines(pod, query, session)
        )
    for line in lines:
        session.say(line)
    return 0


def _pods_of(type: ResourceType, name: str, component: str, session: Session) -> list[str]:
    """The pods of a service or graph. Raises `CommandFailed` if it has none, or is not there."""
    listed = session.client.get(collection_path(find_type("pods"), session.namespace))
    pods = [
        each
        for each in listed["items"]
        if name in (_label(each, _SERVICE_LABELS), _label(each, (_GRAPH_LABEL,)))
    ]
    found = [each for each in pods if not component or component == _part(each, name)]
    if found:
        return sorted(str(each["metadata"]["name"]) for each in found)
    if pods:
        known = sorted({_part(each, name) for each in pods})
        raise CommandFailed(f"'{name}' has no {component} that runs; it has {', '.join(known)}")
    session.client.get(object_path(type, session.namespace, name))
    raise CommandFailed(
        f"'{name}' has no worker now, and so no log; "
        f"salver describe {(*type.short_names, type.plural)[0]} {name} says why"
    )


def _part(pod: dict[str, Any], name: str) -> str:
    """Which component of a service, or unit of a graph, the pod belongs to."""
    if _label(pod, (_GRAPH_LABEL,)) == name:
        return _label(pod, _SERVICE_LABELS).removeprefix(name).removeprefix("-") or name
    return _label(pod, _COMPONENT_LABELS)


def _label(pod: dict[str, Any], names: Sequence[str]) -> str:
    labels = pod["metadata"].get("labels") or {}
    return next((str(labels[name]) for name in names if name in labels), "")


def _prefixes(pods: Sequence[str], session: Session) -> list[str]:
    width = max(width_of(pod) for pod in pods)
    return [
        session.style.paint(pod.ljust(width), _COLOURS[index % len(_COLOURS)]) + " | "
        for index, pod in enumerate(pods)
    ]


def _lines(pod: str, query: dict[str, str], session: Session) -> Iterator[str]:
    path = object_path(find_type("pods"), session.namespace, pod, "log")
    for line in session.client.stream(path, query=query, accept="text/plain, */*"):
        yield line.decode("utf-8", "replace")


def _merged(
    pods: Sequence[str], prefixes: Sequence[str], query: dict[str, str], session: Session
) -> Iterator[str]:
    """The lines of all pods as they come; ends when all have ended."""
    waiting: queue.Queue[str | Exception | None] = queue.Queue(_MOST_WAITING)

    def read(pod: str, prefix: str) -> None:
        try:
            for line in _lines(pod, query, session):
                waiting.put(prefix + line)
            waiting.put(None)
        except (CommandFailed, OSError) as error:
            waiting.put(error)

    for pod, prefix in zip(pods, prefixes, strict=True):
        threading.Thread(target=read, args=(pod, prefix), daemon=True).start()
    running = len(pods)
    while running:
        item = waiting.get()
        if isinstance(item, Exception):
            session.complain(str(item))
        if isinstance(item, str):
            yield item
        else:
            running -= 1
