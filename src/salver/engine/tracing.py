"""Which requests to this machine's workers are traced, and what is written of them.

Models are handed a tap only while one of their requests may be traced: without one, a request goes
the same way as if there were no tracing at all. Knows no file and no clock of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from salver.engine.call import Call
from salver.engine.traced_call import TracedCall
from salver.protocol.trace_report import TracedTensor, TraceReport
from salver.telemetry.trace_settings import TENSORS, TIMESTAMPS, Sampler, TraceBook, Wanted

Tap = Callable[[Call], Call]
"""Takes a call on its way to a queue, and gives the one that goes there in its place."""


class TraceSink(Protocol):
    """Where traces go."""

    def record(self, trace: bytes, frequency: int) -> None: ...

    def flush(self) -> None: ...


class RequestTracing:
    """The settings, and the taps that come of them."""

    def __init__(self, book: TraceBook, sink: TraceSink, clock_ns: Callable[[], int]) -> None:
        self._book = book
        self._sink = sink
        self._clock_ns = clock_ns
        self._ids = itertools.count(1)
        self.on_changed: Callable[[], object] = lambda: None
        """Called when models are to be given other taps, or none."""

    def shown(self, model: str = "") -> dict[str, tuple[str, ...]]:
        """The settings that hold for the model, or for all."""
        return self._book.shown(model)

    def update(self, wanted: Wanted, model: str = "") -> None:
        """Sets and clears settings. Raises `InvalidInput` or `Unsupported`."""
        self._book.update(model, wanted)
        self._sink.flush()
        self.on_changed()

    def tap(self, model: str, version: str) -> Tap | None:
        """What calls to the model pass through; None while none of them can be traced."""
        sampler = self._book.sampler(model)
        return partial(self._tapped, sampler, model, version) if sampler.is_on else None

    def _tapped(self, sampler: Sampler, model: str, version: str, call: Call) -> Call:
        if not sampler.samples():
            return call
        settings = sampler.settings
        if not sampler.is_on:
            # That was the last one: from now on calls go untapped.
            self.on_changed()
        number = next(self._ids)

        def ended(call: Call, queued_ns: int, answered_ns: int, report: TraceReport | None) -> None:
            moments = _moments(call, queued_ns, answered_ns, report)
            ended_ns = self._clock_ns()
            moments.append(("REQUEST_END", ended_ns))
            events = [_head(number, model, version, report)]
            if TIMESTAMPS in settings.trace_level:
                events += [_moment(number, *each) for each in moments]
            if TENSORS in settings.trace_level and report is not None:
                events += _tensors(number, report)
            text = b",".join(map(msgspec.json.encode, events))
            self._sink.record(text, settings.log_frequency)

        with_tensors = TENSORS in settings.trace_level
        return TracedCall(call, with_tensors=with_tensors, clock_ns=self._clock_ns, on_ended=ended)


def _head(number: int, model: str, version: str, report: TraceReport | None) -> dict[str, Any]:
    head: dict[str, Any] = {"id": number, "model_name": model}
    head["model_version"] = int(version) if version.isdecimal() else version
    if report is not None and report.request_id:
        head["request_id"] = report.request_id
    return head


def _moments(
    call: Call, queued_ns: int, answered_ns: int, report: TraceReport | None
) -> list[tuple[str, int]]:
    moments = [("REQUEST_START", round(call.arrived_s * 1e9)), ("QUEUE_START", queued_ns)]
    if report is not None:
        moments += [
            ("COMPUTE_START", report.compute_start_ns),
            ("COMPUTE_INPUT_END", report.input_end_ns),
            ("COMPUTE_OUTPUT_START", report.output_start_ns),
            ("COMPUTE_END", report.compute_end_ns),
        ]
    moments.append(("INFER_RESPONSE_COMPLETE", answered_ns))
    return moments


def _moment(number: int, name: str, at_ns: int) -> dict[str, Any]:
    return {"id": number, "timestamps": [{"name": name, "ns": at_ns}]}


def _tensors(number: int, report: TraceReport) -> list[dict[str, Any]]:
    return [
        {"id": number, "activity": activity, "tensor": _shown(tensor)}
        for activity, tensors in (
            ("TENSOR_QUEUE_INPUT", report.inputs),
            ("TENSOR_BACKEND_OUTPUT", report.outputs),
        )
        for tensor in tensors
    ]


def _shown(tensor: TracedTensor) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(tensor)
    if not tensor.is_cut:
        del fields["is_cut"]
    return fields
