"""Traced calls: what is sent in their place, what they give back, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from salver.engine.call import Call
from salver.engine.tracing import RequestTracing
from salver.errors import ErrorKind
from salver.protocol.operations import TRACED, TRACED_TENSORS, Operation, marked
from salver.protocol.trace_report import TracedTensor, TraceReport, with_report
from salver.protocol.wire_codes import Codec
from salver.telemetry.trace_settings import TraceBook, Wanted

TENSOR = TracedTensor("X", "1,2", "1,2", "FP32")
REPORT = TraceReport("r7", 30, 40, 50, 60, (TENSOR,), (TENSOR,))
ALL: Wanted = {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "log_frequency": ["2"]}


class Asked(Call):
    """A caller's call, which keeps what it is told."""

    def __init__(self, codec: int = Codec.V2_JSON) -> None:
        super().__init__(codec, 5, b"body", arrived_s=1e-8, deadline_s=9.0)
        self.told: list[Any] = []

    def deliver(self, body: bytes, aux: int) -> None:
        self.told.append((body, aux, self.coding))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.told.append((kind, message))


class Sink:
    """Where traces go: each as its objects, with the frequency."""

    def __init__(self) -> None:
        self.traces: list[tuple[Any, int]] = []
        self.flushes = 0

    def record(self, trace: bytes, frequency: int) -> None:
        self.traces.append((json.loads(b"[" + trace + b"]"), frequency))

    def flush(self) -> None:
        self.flushes += 1


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def tracing(sink: Sink) -> RequestTracing:
    times: Callable[[], int] = iter(range(20, 2000, 50)).__next__
    return RequestTracing(TraceBook("f"), sink, times)


def traced(tracing: RequestTracing, call: Call) -> Call:
    tap = tracing.tap("m", "3")
    assert tap is not None
    return tap(call)


def test_without_a_level_calls_pass_through_nothing(tracing: RequestTracing, sink: Sink) -> None:
    assert tracing.tap("m", "1") is None
    tracing.update(ALL, "m")
    assert tracing.tap("other", "1") is None
    tracing.update({"trace_level": None}, "m")
    assert tracing.tap("m", "1") is None
    assert sink.flushes == 2, "what waited is written when settings change"


def test_a_sampled_call_asks_its_worker_for_a_report(tracing: RequestTracing) -> None:
    tracing.update({**ALL, "trace_rate": ["2"]})
    first, second = Asked(), Asked(Codec.V2_JSON | 1 << 16)
    tap = tracing.tap("m", "3")
    assert tap is not None
    assert tap(first) is first
    call = tap(second)
    assert call.codec == Codec.V2_JSON | TRACED, "its answer is not to be packed"
    assert (call.aux, call.body, call.deadline_s) == (5, b"body", 9.0)


def test_the_answer_is_the_caller_s_and_the_times_are_written(
    tracing: RequestTracing, sink: Sink
) -> None:
    tracing.update(ALL)
    asked = Asked()
    traced(tracing, asked).deliver(with_report(REPORT, b"answer"), 3)
    assert asked.told == [(b"answer", 3, 0)]
    ((events, frequency),) = sink.traces
    assert frequency == 2
    assert events[0] == {"id": 1, "model_name": "m", "model_version": 3, "request_id": "r7"}
    moments = [(e["timestamps"][0]["name"], e["timestamps"][0]["ns"]) for e in events[1:]]
    assert moments == [
        ("REQUEST_START", 10),
        ("QUEUE_START", 20),
        ("COMPUTE_START", 30),
        ("COMPUTE_INPUT_END", 40),
        ("COMPUTE_OUTPUT_START", 50),
        ("COMPUTE_END", 60),
        ("INFER_RESPONSE_COMPLETE", 70),
        ("REQUEST_END", 120),
    ]


def test_tensors_are_written_on_demand_and_times_only_then(
    tracing: RequestTracing, sink: Sink
) -> None:
    tracing.update({**ALL, "trace_level": ["TENSORS"]})
    call = traced(tracing, Asked())
    assert call.codec & TRACED_TENSORS
    call.deliver(with_report(REPORT, b"answer"), 0)
    shown = {"name": "X", "data": "1,2", "shape": "1,2", "dtype": "FP32"}
    assert sink.traces[0][0][1:] == [
        {"id": 1, "activity": "TENSOR_QUEUE_INPUT", "tensor": shown},
        {"id": 1, "activity": "TENSOR_BACKEND_OUTPUT", "tensor": shown},
    ]


def test_a_call_that_fails_is_traced_without_its_worker(
    tracing: RequestTracing, sink: Sink
) -> None:
    tracing.update(ALL)
    asked = Asked()
    traced(tracing, asked).fail(ErrorKind.QUEUE_FULL, "full")
    assert asked.told == [(ErrorKind.QUEUE_FULL, "full")]
    names = [e["timestamps"][0]["name"] for e in sink.traces[0][0][1:]]
    assert names == ["REQUEST_START", "QUEUE_START", "INFER_RESPONSE_COMPLETE", "REQUEST_END"]


def test_one_that_is_timed_out_and_answered_after_all_is_one_trace(
    tracing: RequestTracing, sink: Sink
) -> None:
    tracing.update(ALL)
    asked = Asked()
    call = traced(tracing, asked)
    call.attempts = 1
    call.fail(ErrorKind.DEADLINE_EXCEEDED, "late")
    call.is_abandoned = True
    call.deliver(with_report(REPORT, b"answer"), 0)
    assert len(sink.traces) == 1
    assert asked.is_abandoned
    assert asked.attempts == 1


def test_what_is_no_prediction_goes_to_the_worker_as_it_is(
    tracing: RequestTracing, sink: Sink
) -> None:
    tracing.update(ALL)
    asked = Asked(marked(Codec.V2_JSON, Operation.STREAM))
    call = traced(tracing, asked)
    assert call.codec == asked.codec
    call.deliver(b"the last of them", 0)
    assert asked.told == [(b"the last of them", 0, 0)]
    assert len(sink.traces) == 1


def test_after_the_last_trace_calls_pass_through_nothing_again(tracing: RequestTracing) -> None:
    changes: list[object] = []
    tracing.on_changed = lambda: changes.append(tracing.tap("m", "3"))
    tracing.update({**ALL, "trace_count": ["1"]})
    traced(tracing, Asked())
    assert len(changes) == 2
    assert changes[1] is None


def test_the_caller_who_leaves_is_seen_to_have_left(tracing: RequestTracing) -> None:
    tracing.update(ALL)
    asked = Asked()
    asked.is_abandoned = True
    call = traced(tracing, asked)
    assert call.is_abandoned
    assert call.granted_s == asked.granted_s
    call.limit(4.0)
    assert (asked.deadline_s, call.deadline_s) == (4.0, 4.0)
