"""A call whose times are written down: on its way to a worker it wraps the caller's own.

The worker puts a report in front of its answer (`protocol/trace_report.py`), which is taken off
here. What becomes of the times is the tracing's (`tracing.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from salver.engine.call import Call
from salver.engine.wrapped_call import WrappedCall
from salver.errors import ErrorKind
from salver.protocol.operations import TRACED, traced
from salver.protocol.trace_report import TraceReport, split_report

Ended = Callable[[Call, int, int, TraceReport | None], None]
"""Told the call, when it was queued and when it was answered (in ns), and the worker's report."""


class TracedCall(WrappedCall):
    """The caller's call on its way to a model's queue."""

    __slots__ = ("_clock_ns", "_has_ended", "_on_ended", "_queued_ns")

    def __init__(
        self, caller: Call, *, with_tensors: bool, clock_ns: Callable[[], int], on_ended: Ended
    ) -> None:
        super().__init__(caller, codec=traced(caller.codec, with_tensors=with_tensors))
        self._clock_ns = clock_ns
        self._on_ended = on_ended
        self._has_ended = False
        self._queued_ns = clock_ns()

    def deliver(self, body: bytes, aux: int) -> None:
        report = None
        if self.codec & TRACED:
            report, body = split_report(body)
        answered_ns = self._clock_ns()
        super().deliver(body, aux)
        self._end(answered_ns, report)

    def fail(self, kind: ErrorKind, message: str) -> None:
        super().fail(kind, message)
        self._end(self._clock_ns(), None)

    def _end(self, answered_ns: int, report: TraceReport | None) -> None:
        """Once: a call that was timed out may be answered by its worker after all."""
        if not self._has_ended:
            self._has_ended = True
            self._on_ended(self._caller, self._queued_ns, answered_ns, report)
