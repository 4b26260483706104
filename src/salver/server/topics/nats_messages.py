"""NATS' messages and headers, and ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salver.server.topics.addresses import NATS_NAME
from salver.server.topics.messages import TopicMessage, TopicReply


def message_of(raw: Any, model: str, identity: str) -> TopicMessage:
    """The library's message as ours."""
    headers = {name.lower(): value for name, value in (raw.headers or {}).items()}
    return TopicMessage(raw.subject, model, identity, headers, raw.data)


def named(model: str, reply: TopicReply) -> str:
    """The model's name as part of a subject: the topic's, else the one that the message gave."""
    name = model or reply.headers.get("salver-model", "")
    return name if NATS_NAME.fullmatch(name) else "_"


def reply_headers(reply: TopicReply) -> Mapping[str, str]:
    """The headers of a reply; errors have those that NATS' own services tell them with."""
    if not reply.error:
        return reply.headers
    line = " ".join(reply.error.split())[:200].encode("ascii", "replace").decode()
    code = reply.headers.get("salver-status", "500")
    return {**reply.headers, "Nats-Service-Error": line, "Nats-Service-Error-Code": code}
