"""Kafka's records and headers, and ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salver.server.topics.addresses import KAFKA_NAME
from salver.server.topics.messages import TopicMessage, TopicReply


def message_of(record: Any, model: str) -> TopicMessage:
    """The library's record as a message. The key is the request's id, as MLServer has it."""
    headers: dict[str, str] = {}
    if record.key:
        headers["salver-request-id"] = bytes(record.key).decode("utf-8", "replace")
    for name, value in record.headers:
        name = name.lower()
        name = "ce-" + name[3:] if name.startswith("ce_") else name
        headers[name] = (value or b"").decode("utf-8", "replace")
    identity = f"{record.topic}:{record.partition}:{record.offset}"
    return TopicMessage(record.topic, model, identity, headers, record.value or b"")


def kafka_headers(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """Headers as Kafka has them: CloudEvents' attributes begin with `ce_` there."""
    return [
        ("ce_" + name[3:] if name.startswith("ce-") else name, value.encode())
        for name, value in headers.items()
    ]


def named(model: str, reply: TopicReply) -> str:
    """The model's name as part of a topic: the topic's, else the one that the message gave."""
    name = model or reply.headers.get("salver-model", "")
    return name if KAFKA_NAME.fullmatch(name) else "_"
