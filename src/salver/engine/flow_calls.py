"""The calls that a run makes for its steps, on behalf of its caller's call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from salver.engine.call import Call
from salver.engine.flow_ports import Failure
from salver.engine.flow_program import Node
from salver.errors import ErrorKind
from salver.protocol.wire_codes import Codec
from salver.telemetry.trace import TRACEPARENT, TraceContext, header_of, in_span

if TYPE_CHECKING:
    from salver.engine.flow_run import FlowRun


class FlowCall(Call):
    """A step's own call, on behalf of the caller's."""

    __slots__ = ("__weakref__", "_is_given_up", "node", "run", "started_s")

    def __init__(
        self, run: FlowRun, node: Node, tag: int, aux: int, body: bytes | bytearray, now_s: float
    ) -> None:
        self.run = run
        self.node = node
        self.started_s = now_s
        self._is_given_up = False
        super().__init__(tag, aux, body, arrived_s=now_s, deadline_s=run.call.deadline_s)
        if node.timeout_s:
            self.deadline_s = min(self.deadline_s, now_s + node.timeout_s)

    @property
    def granted_s(self) -> float:
        """See `Call`. What the caller's was given: a step has the rest of it."""
        return self.node.timeout_s or self.run.call.granted_s

    def limit(self, deadline_s: float) -> None:
        """See `Call`. A step that may take longer leaves no less time to those after it."""
        caller, own_s = self.run.call, self.run.model.flow.timeout_s
        if self.node.timeout_s:
            self.deadline_s = min(self.deadline_s, deadline_s)
            return
        if own_s:
            deadline_s = min(deadline_s, caller.arrived_s + own_s)
        if deadline_s > caller.deadline_s:
            caller.limit(deadline_s)
        self.deadline_s = min(deadline_s, caller.deadline_s)

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
            self.run.on_refusal(self, Failure(kind, message))

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self.run.on_refusal(self, Failure(kind, message, status, body))

    def add_header(self, name: bytes, value: bytes) -> None:
        run = self.run
        if name == self._id_header:
            if run.run_id:
                return  # The caller is told one id, which graphs within graphs have too.
            run.run_id = value.decode("latin-1")
        run.call.add_header(name, value)

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
        if name == self._id_header and self.run.run_id:
            return self.run.run_id.encode("latin-1", "replace")
        return self.run.call.header(name)

    @property
    def _id_header(self) -> bytes:
        """The header that names the request to its caller."""
        is_seldon = self.run.request.codec in (Codec.SELDON_JSON, Codec.SELDON_GRPC)
        return b"seldon-puid" if is_seldon else b"x-request-id"

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return in_span(self.run.call.headers(), self.span)
