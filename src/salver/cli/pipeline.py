"""`salver pipeline inspect`: the last values on each edge of a pipeline, as tensors.

Asks the server for the messages as they were sent, and decodes them here (`messages_shown.py`).
"""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from salver.cli.client import ApiError
from salver.cli.messages_shown import Shown, read_message, tensor_line
from salver.cli.session import Session
from salver.errors import CommandFailed
from salver.protocol.messages import Message

USAGE = "inspect NAME[.STEP][.inputs|.outputs[.TENSOR]] [options]"
DESCRIPTION = "Shows the last values on the edges of a pipeline."
EXAMPLES = """\
examples:
  salver pipeline inspect tfsimples
  salver pipeline inspect tfsimples.tfsimple1.outputs.OUTPUT0 --last 5
  salver pipeline inspect tfsimples -o json | jq '.topics[0].msgs[0].value'
  salver pipeline inspect tfsimples --request-id 7f3a
"""
OUTPUTS = ("text", "raw", "json")
_END = re.compile(r"(?P<place>.+?)(?:\.(?P<end>inputs|outputs)(?:\.(?P<tensor>.+))?)?")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver pipeline`."""
    parser.add_argument("action", choices=("inspect",), metavar="inspect", help="what to do")
    parser.add_argument("expression", metavar="NAME...", help="NAME, NAME.STEP, NAME.STEP.outputs")
    parser.add_argument(
        "--last", type=_count, default=1, metavar="N", help="messages of each (default: 1)"
    )
    parser.add_argument("--request-id", default="", metavar="ID", help="of this request alone")
    parser.add_argument(
        "-o",
        "--output",
        default="text",
        choices=OUTPUTS,
        metavar="FORMAT",
        help=f"{', '.join(OUTPUTS)} (default: text)",
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of messages: write 1 or more")
    return int(text)


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints each message, edge by edge."""
    match = _END.fullmatch(arguments.expression)
    assert match is not None, "the pattern takes any text"
    found, step = _edges(match["place"], session)
    end, tensor = match["end"] or "", match["tensor"] or ""
    if step and step not in found["steps"]:
        known = ", ".join(found["steps"]) or "none"
        raise CommandFailed(f"'{found['graph']}' has no step '{step}': it has {known}")
    topics = [
        {**topic, "messages": _chosen(topic["messages"], arguments)}
        for topic in found["topics"]
        if _is_asked_for(topic, step, end, is_whole=match["place"] == found["graph"])
    ]
    if arguments.output == "json":
        session.say(json.dumps({"topics": [_as_json(each, tensor) for each in topics]}, indent=2))
        return 0
    lines = list(_lines(topics, tensor, session, is_raw=arguments.output == "raw"))
    session.say(*lines)
    if not lines:
        session.err.write("No messages yet: send the pipeline a request.\n")
    return 0


def _edges(place: str, session: Session) -> tuple[dict[str, Any], str]:
    """What the server keeps of a graph, and the step that the place names behind it."""
    parts = place.split(".")
    missing: ApiError | None = None
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        path = f"/salver/v1/graphs/{quote(session.namespace)}/{quote(name)}/edges"
        try:
            return session.client.get(path), ".".join(parts[length:])
        except ApiError as error:
            if error.status != 404:
                raise
            missing = missing or error
    assert missing is not None
    raise missing


def _is_asked_for(topic: Mapping[str, Any], step: str, end: str, *, is_whole: bool) -> bool:
    if step:
        return topic["step"] == step and end in ("", topic["end"])
    if end and is_whole:
        return not topic["step"] and topic["end"] == end
    return True


def _chosen(messages: list[dict[str, Any]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    wanted = arguments.request_id
    return [each for each in messages if not wanted or each["runId"] == wanted][-arguments.last :]


def _shown(message: Mapping[str, Any], tensor: str) -> list[Shown]:
    """The parts of a message, decoded; with only one of their tensors, if one is named."""
    found = []
    for part in message["parts"]:
        body = base64.b64decode(part["body"])
        shown = read_message(
            Message(
                part["codec"], part["aux"], body, part["isRequest"], part["coding"], part["status"]
            )
        )
        found.append(shown.only(tensor) if tensor else shown)
    return found


def _as_json(topic: Mapping[str, Any], tensor: str) -> dict[str, Any]:
    messages = []
    for each in topic["messages"]:
        values = [shown.value for shown in _shown(each, tensor)]
        entry: dict[str, Any] = {"key": each["runId"], "time": each["time"]}
        if "error" in each:
            entry |= {"error": each["error"], "step": each["step"]}
        elif len(values) == 1:
            entry["value"] = values[0]
        else:
            entry |= {"values": values} if values else {"bytes": each["size"]}
        messages.append(entry)
    return {"name": topic["name"], "msgs": messages}


def _lines(
    topics: list[dict[str, Any]], tensor: str, session: Session, *, is_raw: bool
) -> Iterator[str]:
    now = session.clock()
    for topic in topics:
        for message in topic["messages"]:
            if is_raw:
                for value in _raw_values(message, tensor):
                    yield f"{topic['name']}\t{message['runId']}\t{value}"
                continue
            age = max(0.0, now - message["time"])
            yield f"{topic['name']}  {message['runId']}  {age:.0f}s ago"
            for line in _text_lines(message, tensor):
                yield f"  {line}"


def _raw_values(message: Mapping[str, Any], tensor: str) -> Iterator[str]:
    if "error" in message:
        yield json.dumps({"error": message["error"], "step": message["step"]})
    for shown in _shown(message, tensor):
        yield json.dumps(shown.value)


def _text_lines(message: Mapping[str, Any], tensor: str) -> Iterator[str]:
    if "error" in message:
        yield f"{message['step']}: {message['error']}"
    elif not message["parts"]:
        yield f"{message['size']} bytes: too many to be kept"
    for shown in _shown(message, tensor):
        if not shown.tensors:
            yield json.dumps(shown.value)
        for each in shown.tensors:
            yield tensor_line(each)
