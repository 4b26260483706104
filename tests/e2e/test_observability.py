"""Metrics that add up, logs and traces of each request, and the pages about the API."""

from __future__ import annotations

import gzip
import http.server
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from salver.protocol import inference_pb2 as pb
from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

MODEL = """
import numpy as np


class Sum:
    batchable = True

    def predict(self, x: np.ndarray) -> np.ndarray:
        if x[0, 0] == 13:
            raise RuntimeError("unlucky")
        return x.sum(axis=1)
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "adder.py"
    path.write_text(MODEL)
    return path


def body(*rows: list[float]) -> dict[str, Any]:
    values = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP64", "data": values}]}


def infer(server: Server, *rows: list[float], **extra: Any) -> Any:
    return server.post("/v2/models/adder/infer", body(*rows), **extra)


def test_metrics_count_what_was_asked(model: Path) -> None:
    with serving(str(model)) as server:
        assert server.metric("salver_requests_total", model="adder") == 0
        for rows in (1, 3, 10):
            assert infer(server, *[[1.0, 2.0]] * rows).status_code == 200
        assert infer(server, [13.0, 0.0]).status_code == 500
        for _ in range(2):
            assert server.post("/v2/models/adder/infer", b"{").status_code == 400
        assert server.post("/v2/models/nobody/infer", b"{}").status_code == 404

        def count(name: str, **labels: str) -> float:
            return server.metric(f"salver_{name}", model="adder", **labels)

        assert count("requests_total", version="1") == 6
        assert count("request_errors_total", reason="invalid_input") == 2
        assert count("request_errors_total", reason="model_failed") == 1
        assert count("request_errors_total") == 3
        assert count("request_duration_seconds_count") == 6
        assert count("queue_duration_seconds_count") == 6
        assert count("batch_requests_sum") == 6
        assert 14 <= count("batch_rows_sum") <= 17
        assert count("batches_total") == count("batch_rows_count") == 6
        assert count("requests_in_flight") == count("requests_queued") == 0
        assert count("worker_restarts_total") == 0
        assert count("model_ready") == 1
        assert 0 < count("model_load_duration_seconds") < 60
        assert count("model_memory_bytes") > 1 << 20
        assert server.metric("salver_http_responses_total", status="404") == 1


def test_metrics_are_well_formed(model: Path) -> None:
    with serving(str(model)) as server:
        infer(server, [1.0, 2.0])
        answer = server.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        families = list(text_string_to_metric_families(answer.text))
        names = [family.name for family in families]
        assert len(names) == len(set(names))
        for family in families:
            assert family.documentation, family.name
            assert family.type != "unknown", family.name
            for labels in (
                {
                    tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
                    for sample in family.samples
                }
                if family.type == "histogram"
                else ()
            ):
                buckets = [
                    s.value
                    for s in family.samples
                    if s.name.endswith("_bucket")
                    and labels == tuple(sorted((k, v) for k, v in s.labels.items() if k != "le"))
                ]
                assert buckets == sorted(buckets), family.name


def test_grpc_requests_are_counted_too(model: Path) -> None:
    with serving(str(model)) as server, grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        request = pb.ModelInferRequest(model_name="adder")
        tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 2])
        tensor.contents.fp64_contents.extend([1, 2])
        for _ in range(4):
            ask(request.SerializeToString(), timeout=30)
        assert server.metric("salver_requests_total", model="adder") == 4


def test_a_dead_worker_shows_in_the_metrics(model: Path) -> None:
    with serving(str(model)) as server:
        (worker,) = server.workers()
        import os
        import signal

        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: infer(server, [1.0, 2.0]).status_code == 200)
        wait_until(lambda: server.metric("salver_worker_restarts_total", model="adder") == 1)


@pytest.mark.parametrize("arguments", [(), ("--log-requests",)])
def test_a_request_id_comes_back(model: Path, arguments: tuple[str, ...]) -> None:
    with serving(str(model), *arguments) as server:
        answer = infer(server, [1.0, 2.0], headers={"x-request-id": "abc-123"})
        assert answer.headers["x-request-id"] == "abc-123"
        failed = server.post("/v2/models/adder/infer", b"{", headers={"x-request-id": "abc-124"})
        assert (failed.status_code, failed.headers["x-request-id"]) == (400, "abc-124")
        unknown = server.post("/v2/models/nobody/infer", b"{}", headers={"x-request-id": "abc-125"})
        assert (unknown.status_code, unknown.headers["x-request-id"]) == (404, "abc-125")


def log_lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line]


def test_access_logs_are_json_with_an_id_each(model: Path) -> None:
    with serving(str(model), "--log-requests") as server:
        infer(server, [1.0, 2.0], headers={"x-request-id": "good-1"})
        infer(server, [13.0, 2.0], headers={"x-request-id": "bad-1"})
        anonymous = infer(server, [1.0, 2.0]).headers["x-request-id"]
        assert anonymous

        def requests() -> dict[str, dict[str, Any]]:
            return {each["request_id"]: each for each in log_lines(server) if "request_id" in each}

        wait_until(lambda: {"good-1", "bad-1", anonymous} <= requests().keys())
        good, bad = requests()["good-1"], requests()["bad-1"]
        assert (good["status"], bad["status"]) == (200, 500)
        assert good["model"] == bad["model"] == "adder"
        assert "unlucky" in bad["error"]
        assert good["duration_s"] > 0 if "duration_s" in good else good["duration_ms"] > 0


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes OTLP exports and keeps them."""

    received: queue.Queue[bytes]

    def do_POST(self) -> None:
        payload = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            payload = gzip.decompress(payload)
        self.received.put(payload)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def collecting() -> Iterator[tuple[str, queue.Queue[bytes]]]:
    received: queue.Queue[bytes] = queue.Queue()
    handler = type("Handler", (Collector,), {"received": received})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans_in(payload: bytes) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    request = trace_service_pb2.ExportTraceServiceRequest.FromString(payload)
    return [
        span
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_a_trace_goes_through_to_the_collector(model: Path) -> None:
    sent = f"00-{TRACE}-{PARENT}-01"
    with collecting() as (url, received):
        with serving(str(model), "--otlp-endpoint", url) as server:
            answer = infer(server, [1.0, 2.0], headers={"traceparent": sent})
            version, trace, span_id, flags = answer.headers["traceparent"].split("-")
            assert (version, trace, flags) == ("00", TRACE, "01")
            assert span_id != PARENT
            failed = infer(server, [13.0, 2.0], headers={"traceparent": sent})
            assert failed.status_code == 500
            ignored = infer(
                server, [1.0, 2.0], headers={"traceparent": f"00-{'a' * 32}-{PARENT}-00"}
            )
            assert ignored.headers["traceparent"].endswith("-00")
            server.stop()
        spans = {}
        while not received.empty():
            for span in spans_in(received.get()):
                spans[span.span_id.hex()] = span
    span = spans[span_id]
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.end_time_unix_nano > span.start_time_unix_nano
    attributes = {each.key: each.value for each in span.attributes}
    assert attributes["salver.model.name"].string_value == "adder"
    assert attributes["http.response.status_code"].int_value == 200
    errors = [each for each in spans.values() if each.status.code == 2]
    assert len(errors) == 1
    assert "unlucky" in errors[0].status.message
    assert len(spans) == 2, "what the caller did not sample is not sent"


def test_a_collector_that_is_away_costs_no_request(model: Path) -> None:
    with serving(str(model), "--otlp-endpoint", "http://127.0.0.1:9") as server:
        for _ in range(20):
            assert infer(server, [1.0, 2.0]).status_code == 200


def test_the_pages_are_there(model: Path) -> None:
    with serving(str(model)) as server:
        page = server.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "adder" in page.text or "openapi.json" in page.text
        schema = server.get("/openapi.json").json()
        assert schema["openapi"].startswith("3.")
        assert any("infer" in path for path in schema["paths"])
        assert {"/metrics", "/v2/health/ready"} <= set(schema["paths"])
        assert server.get("/").status_code in (200, 307)
