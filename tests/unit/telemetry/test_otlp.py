"""Spans on their way to a collector: a real HTTP server that decodes what it gets."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from salver.errors import StartupError
from salver.telemetry.otlp import SpanRecord, SpanSink, otlp_exporter, traces_url
from salver.telemetry.trace import TraceContext

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(HTTPServer):
    """Keeps what it is sent; answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def span(number: int = 1, *, is_sampled: bool = True, error: str = "") -> SpanRecord:
    return SpanRecord(
        name="infer iris",
        context=TraceContext(TRACE, f"{number:016x}", is_sampled),
        parent_span_id=PARENT if number == 1 else "",
        start_ns=1_700_000_000_000_000_000,
        end_ns=1_700_000_000_005_000_000,
        attributes={"salver.model": "iris", "salver.batch_rows": 8, "salver.queue_ms": 0.25},
        error=error,
    )


def test_a_span_arrives_with_its_ids_times_and_attributes(collector: Collector) -> None:
    sink = SpanSink(otlp_exporter(collector.url, service="salver", version="1.2.3"))
    sink.start()
    sink.record(span())
    sink.record(span(2, error="the model raised"))
    sink.close(10.0)
    ((path, request),) = collector.requests
    assert path == "/v1/traces"
    (resource_spans,) = request.resource_spans
    resource = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
    assert resource["service.name"] == "salver"
    assert resource["service.version"] == "1.2.3"
    good, bad = resource_spans.scope_spans[0].spans
    assert good.name == "infer iris"
    assert good.trace_id.hex() == TRACE
    assert good.span_id.hex() == f"{1:016x}"
    assert good.parent_span_id.hex() == PARENT
    assert good.end_time_unix_nano - good.start_time_unix_nano == 5_000_000
    values = {a.key: a.value for a in good.attributes}
    assert values["salver.model"].string_value == "iris"
    assert values["salver.batch_rows"].int_value == 8
    assert values["salver.queue_ms"].double_value == 0.25
    assert bad.parent_span_id == b""
    assert (bad.status.code, bad.status.message) == (2, "the model raised")
    assert (sink.sent, sink.dropped) == (2, 0)


def test_spans_that_the_collector_refuses_are_counted_as_dropped(collector: Collector) -> None:
    collector.status = 400
    sink = SpanSink(otlp_exporter(collector.url, service="salver", version="1"))
    sink.start()
    sink.record(span())
    sink.close(10.0)
    assert len(collector.requests) == 1
    assert (sink.sent, sink.dropped) == (0, 1)


def test_a_span_of_an_unsampled_trace_is_not_sent() -> None:
    batches: list[Sequence[SpanRecord]] = []
    sink = SpanSink(lambda batch: not batches.append(batch))
    sink.start()
    sink.record(span(is_sampled=False))
    sink.close(10.0)
    assert batches == []


def test_a_full_queue_drops_and_counts_instead_of_growing() -> None:
    sink = SpanSink(lambda batch: True, max_queue=10)
    for number in range(1, 16):
        sink.record(span(number))
    assert sink.dropped == 5
    sink.start()
    sink.close(10.0)
    assert (sink.sent, sink.dropped) == (10, 5)


def test_a_collector_that_hangs_does_not_hold_up_the_close() -> None:
    may_answer = threading.Event()
    sink = SpanSink(lambda batch: may_answer.wait(30))
    sink.start()
    for number in range(1, 600):
        sink.record(span(number))
    sink.close(0.05)
    assert sink.dropped == 599 - 512
    may_answer.set()


def test_an_exporter_that_raises_costs_its_batch_and_not_the_thread() -> None:
    calls: list[int] = []

    def export(batch: Sequence[SpanRecord]) -> bool:
        calls.append(len(batch))
        if len(calls) == 1:
            raise OSError("no route")
        return True

    sink = SpanSink(export)
    for number in range(1, 514):
        sink.record(span(number))
    sink.start()
    sink.close(10.0)
    assert calls == [512, 1]
    assert (sink.sent, sink.dropped) == (1, 512)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp", "https://c/otlp/v1/traces"),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
    ],
)
def test_the_path_for_traces_is_added_once(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["c:4318", "grpc://c:4317", "http://", "nonsense"])
def test_an_address_that_is_none_is_refused_at_start(endpoint: str) -> None:
    with pytest.raises(StartupError, match="is no HTTP address; give one like"):
        traces_url(endpoint)


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(StartupError, match=r"pip install 'salver\[otel\]'"):
        otlp_exporter("http://127.0.0.1:1", service="salver", version="1")
