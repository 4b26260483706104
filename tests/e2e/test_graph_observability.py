"""What a running server shows of graphs: a span for each step, numbers that add up, log lines."""

from __future__ import annotations

import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import yaml

from salver.protocol import inference_pb2 as pb
from salver.protocol import seldon_pb2
from tests.e2e.load import post
from tests.e2e.server import Server, serving, wait_until
from tests.e2e.test_observability import collecting, log_lines, spans_in

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
STEP = """
import time

import numpy as np


class Step:
    batchable = True

    def predict(self, x: np.ndarray) -> np.ndarray:
        if x.flat[0] == 13:
            raise RuntimeError("unlucky")
        if x.flat[0] == 77:
            time.sleep(1)
        return x * 2
"""
OURS = "salver.dev/v1alpha1"
SERVICES = "serving.kserve.io/v1alpha1"


class Elsewhere:
    """A service that no server of ours runs: doubles rows, and notes the headers it gets."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.headers.append({key.lower(): value for key, value in self.headers.items()})
                rows = body.get("instances") or body["predictions"]
                text = json.dumps({"predictions": [[2 * x for x in row] for row in rows]}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/double"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def inference_graph(name: str, kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": SERVICES,
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {"nodes": {"root": {"routerType": kind, "steps": list(steps)}}},
    }


class Running(NamedTuple):
    server: Server
    received: queue.Queue[bytes]
    elsewhere: Elsewhere


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("graphs")
    models = []
    for name in ("one", "two"):
        path = folder / f"{name}.py"
        path.write_text(STEP)
        models.append(str(path))
    elsewhere = Elsewhere()
    five = (Path(__file__).parent / "seldon" / "five.yaml").read_text()
    manifests = [
        inference_graph(
            "inner",
            "Sequence",
            {"serviceName": "one", "dependency": "Hard"},
            {"serviceName": "two", "data": "$response"},
        ),
        inference_graph(
            "outer",
            "Sequence",
            {"serviceName": "inner", "name": "within"},
            {"serviceUrl": elsewhere.url, "name": "away", "data": "$response"},
        ),
        yaml.safe_load(five.replace("$FOLDER", str(Path(__file__).parent))),
    ]
    file = folder / "graphs.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    options = ("-f", str(file), "--state-dir", str(folder / "state"), "--log-requests")
    options += ("--propagate-headers", "^X-Team$")
    try:
        with (
            collecting() as (url, received),
            serving(*models, *options, "--otlp-endpoint", url) as server,
        ):
            ready = ("/v2/models/one", "/v2/models/outer", "/v2/models/inner", "/v2/models/five")
            wait_until(lambda: all(server.get(f"{each}/ready").is_success for each in ready), 60)
            yield Running(server, received, elsewhere)
    finally:
        elsewhere.close()


class Spans:
    """The spans of one trace, as they come."""

    def __init__(self, running: Running, trace: str) -> None:
        self._received = running.received
        self._trace = trace
        self.all: list[Any] = []

    def named(self, *names: str) -> dict[str, Any]:
        """Those of these names, once they are there."""
        deadline_s = time.monotonic() + 15
        while not set(names) <= {each.name for each in self.all}:
            assert time.monotonic() < deadline_s, sorted(each.name for each in self.all)
            try:
                found = spans_in(self._received.get(timeout=0.1))
            except queue.Empty:
                continue
            self.all += [each for each in found if each.trace_id.hex() == self._trace]
        return {each.name: each for each in self.all}


def said(span: Any) -> dict[str, Any]:
    values = {each.key: each.value for each in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def assert_within(inner: Any, outer: Any) -> None:
    assert outer.start_time_unix_nano <= inner.start_time_unix_nano + 1_000_000
    assert inner.start_time_unix_nano <= inner.end_time_unix_nano
    assert inner.end_time_unix_nano <= outer.end_time_unix_nano + 1_000_000


def v2(number: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [number]}]}


def trace_of(number: int) -> str:
    return f"{number:032x}"


def traceparent(number: int) -> dict[str, str]:
    return {"traceparent": f"00-{trace_of(number)}-{PARENT}-01"}


@pytest.mark.parametrize("path", ["/v1/models/outer:predict", "/serving/default/outer"])
def test_a_graph_s_steps_are_spans_that_nest(running: Running, path: str) -> None:
    number = 1 + len(path)
    body = {"instances": [[1.0]]}
    headers = {**traceparent(number), "x-request-id": f"nest-{number}", "x-team": "blue"}
    answer = running.server.post(path, body, headers=headers)
    assert answer.json() == {"predictions": [[8.0]]}
    assert answer.headers["x-request-id"] == f"nest-{number}"
    _, trace, root_id, flags = answer.headers["traceparent"].split("-")
    assert (trace, flags) == (trace_of(number), "01")
    spans = Spans(running, trace).named(
        "infer outer", "step root.within", "step root.away", "step root.one", "step root.two"
    )
    assert len(spans) == 5
    root, within, away = (
        spans[each] for each in ("infer outer", "step root.within", "step root.away")
    )
    assert root.span_id.hex() == root_id
    assert root.parent_span_id.hex() == PARENT
    assert within.parent_span_id == away.parent_span_id == root.span_id
    for name in ("step root.one", "step root.two"):
        assert spans[name].parent_span_id == within.span_id
        assert said(spans[name])["salver.graph"] == "default/inner"
        assert_within(spans[name], within)
    assert_within(within, root)
    assert_within(away, root)
    assert within.end_time_unix_nano <= away.start_time_unix_nano + 1_000_000
    assert said(within)["salver.step.target"] == "default/inner"
    assert said(away)["salver.step.kind"] == "address"
    assert said(away)["salver.step.target"] == running.elsewhere.url
    assert said(away)["salver.step.bytes_out"] == len(b'{"predictions": [[8.0]]}')
    sent = running.elsewhere.headers[-1]
    assert sent["x-team"] == "blue"
    assert "x-request-id" not in sent
    assert sent["traceparent"] == f"00-{trace}-{away.span_id.hex()}-01"


def test_a_graph_asked_over_grpc_has_spans_too(running: Running) -> None:
    request = pb.ModelInferRequest(model_name="inner")
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 1])
    tensor.contents.fp64_contents.append(3)
    with grpc.insecure_channel(running.server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        metadata = tuple(traceparent(99).items())
        raw, call = ask.with_call(request.SerializeToString(), timeout=30, metadata=metadata)
    assert pb.ModelInferResponse.FromString(raw).outputs[0].shape == [1, 1]
    told = dict(call.initial_metadata())
    spans = Spans(running, trace_of(99)).named("infer inner", "step root.one", "step root.two")
    root = spans["infer inner"]
    assert told["traceparent"] == f"00-{trace_of(99)}-{root.span_id.hex()}-01"
    assert root.parent_span_id.hex() == PARENT
    assert said(root)["rpc.method"] == "ModelInfer"
    assert said(root)["rpc.grpc.status_code"] == 0
    for name in ("step root.one", "step root.two"):
        assert spans[name].parent_span_id == root.span_id
        assert_within(spans[name], root)


def test_a_step_that_is_a_url_says_over_grpc_that_it_speaks_http(running: Running) -> None:
    request = pb.ModelInferRequest(model_name="outer")
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 1])
    tensor.contents.fp64_contents.append(3)
    with grpc.insecure_channel(running.server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            ask(request.SerializeToString(), timeout=30, metadata=tuple(traceparent(98).items()))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "step 'root.away'" in refused.value.details()
    assert f"{running.elsewhere.url} is asked over HTTP" in refused.value.details()
    failed = Spans(running, trace_of(98)).named("infer outer", "step root.away")["step root.away"]
    assert said(failed)["error.type"] == "unsupported"


def test_a_step_that_fails_is_an_error_with_its_kind(running: Running) -> None:
    answer = running.server.post("/v2/models/inner/infer", v2(13), headers=traceparent(100))
    assert answer.status_code == 500
    spans = Spans(running, trace_of(100)).named("infer inner", "step root.one")
    failed = spans["step root.one"]
    assert failed.status.code == 2
    assert "unlucky" in failed.status.message
    assert said(failed)["error.type"] == "model_failed"
    assert "step root.two" not in spans


@pytest.mark.parametrize("is_grpc", [False, True])
def test_functions_and_choices_of_a_deployment_are_spans(running: Running, is_grpc: bool) -> None:
    number = 200 + is_grpc
    headers = traceparent(number)
    if is_grpc:
        message = seldon_pb2.SeldonMessage()
        message.data.tensor.shape.extend([1, 2])
        message.data.tensor.values.extend([50.0, 2.0])
        metadata = (*headers.items(), ("seldon", "five"), ("namespace", "default"))
        with grpc.insecure_channel(running.server.grpc) as channel:
            ask = channel.unary_unary("/seldon.protos.Seldon/Predict")
            ask(message.SerializeToString(), timeout=30, metadata=metadata)
    else:
        body = {"data": {"ndarray": [[50.0, 2.0]]}}
        path = "/seldon/default/five/api/v1.0/predictions"
        assert running.server.post(path, body, headers=headers).status_code == 200
    spans = Spans(running, trace_of(number)).named("infer five", "step high", "step shift")
    assert "step low" not in spans
    root = spans["infer five"]
    steps = [each for name, each in spans.items() if name.startswith("step ")]
    for each in steps:
        assert each.parent_span_id == root.span_id
        assert_within(each, root)
    chosen = [
        said(each)["salver.step.branch"] for each in steps if "salver.step.branch" in said(each)
    ]
    assert chosen == [1]
    assert said(spans["step high"])["salver.step.kind"] == "function"


def test_requests_are_counted_with_their_failures_and_those_under_way(running: Running) -> None:
    server = running.server

    def count(name: str, **labels: str) -> float:
        return server.metric(f"salver_graph_{name}", graph="default/inner", **labels)

    before = {name: count(name) for name in ("requests_total", "request_errors_total")}
    steps = {name: count("step_answers_total", step=f"root.{name}") for name in ("one", "two")}
    for _ in range(3):
        assert server.post("/v2/models/inner/infer", v2(1)).status_code == 200
    assert server.post("/v2/models/inner/infer", v2(13)).status_code == 500
    assert server.post("/v2/models/inner/infer", b"{").status_code == 400
    assert count("requests_total") == before["requests_total"] + 5
    assert count("request_errors_total") == before["request_errors_total"] + 2
    assert count("request_errors_total", reason="model_failed") >= 1
    assert count("request_errors_total", reason="invalid_input") >= 1
    assert count("step_answers_total", step="root.one") == steps["one"] + 3
    assert count("step_answers_total", step="root.two") == steps["two"] + 3
    assert count("requests_in_flight") == 0
    asking = threading.Thread(target=server.post, args=("/v2/models/inner/infer", v2(77)))
    asking.start()
    wait_until(lambda: count("requests_in_flight") == 1)
    asking.join()
    assert count("requests_in_flight") == 0


def test_a_client_that_leaves_is_no_longer_under_way(running: Running) -> None:
    server = running.server

    def under_way() -> float:
        return server.metric("salver_graph_requests_in_flight", graph="default/inner")

    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(post("/v2/models/inner/infer", json.dumps(v2(77)).encode()))
        wait_until(lambda: under_way() == 1)
        # To close with a reset: a client that only sends no more may still wait.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: under_way() == 0)
    wait_until(lambda: [each for each in log_lines(server) if each.get("status") == 499])
    gone = [each for each in log_lines(server) if each.get("status") == 499]
    assert [each["model"] for each in gone] == ["inner"]


def test_the_log_line_of_a_request_names_the_graph(running: Running) -> None:
    server = running.server
    asked = {
        "l1": ("/v1/models/outer:predict", {"instances": [[1.0]]}, "outer"),
        "l2": ("/serving/default/outer", {"instances": [[1.0]]}, "outer"),
        "l3": ("/v2/models/inner/infer", v2(1), "inner"),
        "l4": (
            "/seldon/default/five/api/v1.0/predictions",
            {"data": {"ndarray": [[1.0, 2.0]]}},
            "five",
        ),
    }
    for key, (path, body, _) in asked.items():
        answer = server.post(path, body, headers={"x-request-id": key})
        assert answer.status_code == 200, answer.text

    def lines() -> dict[str, dict[str, Any]]:
        return {each["request_id"]: each for each in log_lines(server) if "request_id" in each}

    wait_until(lambda: asked.keys() <= lines().keys())
    for key, (path, _, name) in asked.items():
        assert lines()[key]["model"] == name
        assert lines()[key]["target"] == path
        assert lines()[key]["status"] == 200
