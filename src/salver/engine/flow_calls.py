"""The calls that a run makes for its steps, on behalf of its caller's call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from salver.engine.call import Call
from salver.engine.flow_ports import Failure
from salver.engine.flow_program import Node
from salver.errors import ErrorKind
from salver.telemetry.trace import TRACEPARENT, TraceContext, header_of, in_span

if TYPE_CHECKING:
    from salver.engine.flow_run import FlowRun


class FlowCall(Call):
    """A step's own call, on behalf of the caller's."""

    __slots__ = ("_is_given_up", "node", "run", "started_s")

    def __init__(
        self, run: FlowRun, node: Node, tag: int, aux: int, body: bytes | bytearray, now_s: float
    ) -> None:
        self.run = run
        self.node = node
        self.started_s = now_s
        self._is_given_up = False
        super().__init__(tag, aux, body, arrived_s=now_s, deadline_s=run.call.deadline_s)
        if node.step.timeout_s:
            self.deadline_s = min(self.deadline_s, now_s + node.step.timeout_s)

    @property
    def granted_s(self) -> float:
        """See `Call`. What the caller's was given: a step has the rest of it."""
        return self.node.step.timeout_s or self.run.call.granted_s

    def limit(self, deadline_s: float) -> None:
        """See `Call`. A step that may take longer leaves no less time to those after it."""
        if self.node.step.timeout_s:
            self.deadline_s = min(self.deadline_s, deadline_s)
            return
        self.deadline_s = deadline_s
        if deadline_s > self.run.call.deadline_s and not self.run.model.flow.timeout_s:
            self.run.call.limit(deadline_s)

    @property
    def is_abandoned(self) -> bool:
        """The caller has left, or nobody needs this step any more."""
        return self._is_given_up or self.run.call.is_abandoned

    @is_abandoned.setter
    def is_abandoned(self, value: bool) -> None:
        self._is_given_up = value

    def deliver(self, body: bytes, aux: int) -> None:
        if not self.is_abandoned:
            self.run.on_answer(self, body, aux)

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self.run.on_failure(self.node, Failure(kind, message), self.started_s)

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self.run.on_failure(self.node, Failure(kind, message, status, body), self.started_s)

    def add_header(self, name: bytes, value: bytes) -> None:
        self.run.call.add_header(name, value)

    @property
    def span(self) -> TraceContext | None:
        """See `Call`: the step's own, below the caller's."""
        observer = self.run.observer
        own = observer.span(self.node.number) if observer is not None else None
        return own or self.run.call.span

    def header(self, name: bytes) -> bytes:
        if name == TRACEPARENT:
            span = self.span
            return self.run.call.header(name) if span is None else header_of(span)
        return self.run.call.header(name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return in_span(self.run.call.headers(), self.span)
