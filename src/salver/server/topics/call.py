"""A request that came over a topic, on its way through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from salver.engine.call import Call
from salver.errors import ErrorKind
from salver.server.observe import REQUEST_ID, Observation
from salver.server.topics.messages import Asked, header_pairs
from salver.telemetry.trace import TRACEPARENT, TraceContext, header_of, in_span

Answer = tuple[ErrorKind, bytes, int, str]
"""Kind, body, the body's `aux`, and the error message."""


class TopicCall(Call):
    """`answer` becomes what the model said."""

    __slots__ = ("_headers", "answer", "observation")

    def __init__(
        self,
        asked: Asked,
        headers: Mapping[str, str],
        observation: Observation | None,
        *,
        now_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(asked.tag, asked.aux, asked.body, arrived_s=now_s, deadline_s=deadline_s)
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.observation = observation
        self._headers = header_pairs(headers)

    def deliver(self, body: bytes, aux: int) -> None:
        if not self.answer.done():
            self.answer.set_result((ErrorKind.OK, bytes(body), aux, ""))

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.answer.done():
            self.answer.set_result((kind, b"", 0, message))

    @property
    def span(self) -> TraceContext | None:
        return None if self.observation is None else self.observation.span

    def header(self, name: bytes) -> bytes:
        if name == TRACEPARENT and self.span is not None:
            return header_of(self.span)
        if name == REQUEST_ID and self.observation is not None:
            return self.observation.request_id.encode()
        return next((value for key, value in self._headers if key == name), b"")

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return in_span(self._headers, self.span)
