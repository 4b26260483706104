"""A call whose times are written down: on its way to a worker it wraps the caller's own.

The worker puts a report in front of its answer (`protocol/trace_report.py`), which is taken off
here. What becomes of the times is the tracing's (`tracing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from salver.engine.call import Call, PartSource
from salver.errors import ErrorKind
from salver.protocol.operations import TRACED, traced
from salver.protocol.trace_report import TraceReport, split_report
from salver.telemetry.trace import TraceContext

Ended = Callable[[Call, int, int, TraceReport | None], None]
"""Told the call, when it was queued and when it was answered (in ns), and the worker's report."""


class TracedCall(Call):
    """The caller's call on its way to a model's queue."""

    __slots__ = ("_clock_ns", "_on_ended", "_parent", "_queued_ns")

    def __init__(
        self, parent: Call, *, with_tensors: bool, clock_ns: Callable[[], int], on_ended: Ended
    ) -> None:
        self._parent = parent
        self._clock_ns = clock_ns
        self._on_ended = on_ended
        self._queued_ns = clock_ns()
        super().__init__(
            traced(parent.codec, with_tensors=with_tensors),
            parent.aux,
            parent.body,
            arrived_s=parent.arrived_s,
            deadline_s=parent.deadline_s,
        )

    @property
    def granted_s(self) -> float:
        """The caller's own."""
        return self._parent.granted_s

    def limit(self, deadline_s: float) -> None:
        """The caller's is limited too."""
        self._parent.limit(deadline_s)
        self.deadline_s = self._parent.deadline_s

    @property
    def is_abandoned(self) -> bool:
        """The caller's own flag."""
        return self._parent.is_abandoned

    @is_abandoned.setter
    def is_abandoned(self, value: bool) -> None:
        # `Call.__init__` sets False, which must not bring a caller back who has left.
        if value:
            self._parent.is_abandoned = True

    def deliver(self, body: bytes, aux: int) -> None:
        report = None
        if self.codec & TRACED:
            report, body = split_report(body)
        self._parent.coding, self._parent.attempts = self.coding, self.attempts
        answered_ns = self._clock_ns()
        self._parent.deliver(body, aux)
        self._on_ended(self._parent, self._queued_ns, answered_ns, report)

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self._parent.deliver_part(body, aux, source)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._parent.attempts = self.attempts
        self._parent.fail(kind, message)
        self._on_ended(self._parent, self._queued_ns, self._clock_ns(), None)

    def add_header(self, name: bytes, value: bytes) -> None:
        self._parent.add_header(name, value)

    @property
    def span(self) -> TraceContext | None:
        return self._parent.span

    def header(self, name: bytes) -> bytes:
        return self._parent.header(name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._parent.headers()
