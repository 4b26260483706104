"""Transformers, explainers, loggers, batchers and commands of InferenceServices, served."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from tests.e2e.server import Server, serving, wait_until
from tests.models import iris, save_sklearn_lr

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SMALL_SERVER = Path(__file__).parents[1] / "small_server.py"
ROWS = iris()[0][[0, 60, 120]]
SCALED = [[value * 10 for value in row] for row in ROWS.tolist()]
"""What callers send to services whose transformer divides by ten."""

DOCUMENTS = '''
class Steps:
    """Divides by ten before, names the class after."""

    def preprocess(self, payload: dict, headers: dict[str, str]) -> dict:
        if headers.get("x-refuse"):
            raise ValueError("refused by a header")
        if "instances" in payload:
            rows = payload["instances"]
            return {"instances": [[value / 10 for value in row] for row in rows]}
        for tensor in payload["inputs"]:
            tensor["data"] = [value / 10 for value in tensor["data"]]
        return payload

    def postprocess(self, result: dict) -> dict:
        if "predictions" in result:
            return {"predictions": [{"class": value} for value in result["predictions"]]}
        for tensor in result["outputs"]:
            tensor["data"] = [value + 100 for value in tensor["data"]]
        return result
'''
ARRAYS = """
import numpy as np

class Steps:
    def preprocess(self, rows: np.ndarray) -> np.ndarray:
        return rows / 10

    def postprocess(self, classes: np.ndarray) -> np.ndarray:
        return classes + 100

class Why:
    def explain(self, payload: dict, headers: dict[str, str]) -> dict:
        rows = payload["instances"]
        base = self.predict({"instances": rows})["predictions"]
        without = [[[0.0 if i == k else v for i, v in enumerate(row)] for row in rows]
                   for k in range(4)]
        changed = [self.predict({"instances": each})["predictions"] for each in without]
        return {"base": base, "changed": changed, "asked_by": headers.get("x-user", "")}
"""


class Sink:
    """A CloudEvents sink of the test's own."""

    def __init__(self) -> None:
        self.events: list[tuple[dict[str, str], bytes]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.events.append((headers, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def of(self, service: str) -> list[tuple[dict[str, str], bytes]]:
        return [each for each in self.events if each[0]["ce-inferenceservicename"] == service]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def service(name: str, predictor: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor, **parts},
    }


def python(path: Path, name: str) -> dict[str, Any]:
    return {
        "annotations": {"salver.dev/class": f"{path}:{name}"},
        "containers": [{"name": "kserve-container", "image": "example/none:1"}],
    }


def command(*words: str, **more: Any) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "example/none:1",
        "command": [sys.executable, str(SMALL_SERVER)],
        "args": list(words),
        **more,
    }
    return {"containers": [container]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("components")
    save_sklearn_lr(path / "iris.joblib")
    (path / "documents.py").write_text(DOCUMENTS)
    (path / "arrays.py").write_text(ARRAYS)
    return path


@pytest.fixture(scope="module")
def manifests(folder: Path, sink: Sink) -> Path:
    model: dict[str, Any] = {
        "model": {"modelFormat": {"name": "sklearn"}, "storageUri": str(folder / "iris.joblib")}
    }
    logged = {**model, "logger": {"url": sink.url, "mode": "all", "metadataHeaders": ["X-User"]}}
    lines = {"url": f"file://{folder}/log/events.jsonl", "mode": "response"}
    objects = [
        service("documents", model, transformer=python(folder / "documents.py", "Steps")),
        service("arrays", model, transformer=python(folder / "arrays.py", "Steps")),
        service("why", model, explainer=python(folder / "arrays.py", "Why")),
        service("logged", logged),
        service("lines", {**model, "logger": lines}),
        service("batched", {**model, "batcher": {"maxBatchSize": 4, "maxLatency": 200}}),
        service("custom", {**command("--hello"), "containerConcurrency": 2}),
        service("around", model, transformer=command("--transform")),
        service("failing", command("--fail")),
    ]
    path = folder / "services.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return path


@pytest.fixture(scope="module")
def server(manifests: Path, folder: Path) -> Iterator[Server]:
    with serving("-f", str(manifests), "--state-dir", str(folder / "state")) as running:
        yield running


def wait_ready(server: Server, name: str) -> None:
    wait_until(lambda: server.get(f"/v2/models/{name}/ready").status_code == 200, 60)


def v1(server: Server, name: str, rows: Any, verb: str = "predict", **headers: str) -> Any:
    answer = server.post(
        f"/v1/models/{name}:{verb}",
        {"instances": rows},
        headers={"content-type": "application/json", **headers},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["documents", "arrays"])
def test_a_transformer_class_is_around_v1_v2_binary_and_grpc(server: Server, name: str) -> None:
    wait_ready(server, name)
    expected = [{"class": each} for each in (0, 1, 2)] if name == "documents" else [100, 101, 102]
    assert v1(server, name, SCALED)["predictions"] == expected

    answer = server.infer(name, SCALED, id="mine")
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "mine"
    assert answer.json()["outputs"][0]["data"] == [100, 101, 102]

    rows = np.asarray(SCALED)
    tensor = {"name": "x", "shape": [3, 4], "datatype": "FP64"}
    tensor["parameters"] = {"binary_data_size": rows.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = server.post(
        f"/v2/models/{name}/infer",
        head + rows.tobytes(),
        headers={"inference-header-content-length": str(len(head))},
    )
    assert answer.status_code == 200, answer.text
    if name == "arrays":
        length = int(answer.headers["inference-header-content-length"])
        assert np.frombuffer(answer.content[length:], "<i8").tolist() == [100, 101, 102]
    else:
        assert answer.json()["outputs"][0]["data"] == [100, 101, 102]

    message = ModelInferResponse.FromString(grpc_infer(server, name, rows))
    assert np.frombuffer(message.raw_output_contents[0], "<i8").tolist() == [100, 101, 102]


def grpc_infer(server: Server, name: str, rows: Any) -> bytes:
    import grpc

    message = ModelInferRequest(model_name=name)
    message.inputs.add(name="x", datatype="FP64", shape=rows.shape)
    message.raw_input_contents.append(rows.astype("<f8").tobytes())
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer: bytes = ask(message.SerializeToString(), timeout=30)
        return answer


def test_an_error_of_a_step_names_it_and_headers_reach_the_class(server: Server) -> None:
    wait_ready(server, "documents")
    answer = server.post(
        "/v1/models/documents:predict", {"instances": SCALED}, headers={"x-refuse": "yes"}
    )
    assert answer.status_code == 500
    assert "transformer (preprocess)" in answer.json()["error"]
    assert "refused by a header" in answer.json()["error"]
    answer = server.post("/v1/models/documents:predict", {"instances": [[1.0, 2.0]]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("predictor: ")


def test_many_callers_of_a_transformer_each_get_their_own(server: Server) -> None:
    wait_ready(server, "arrays")
    labels = [100, 101, 102]

    def ask(index: int) -> bool:
        return bool(v1(server, "arrays", [SCALED[index % 3]])["predictions"] == [labels[index % 3]])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_an_explainer_class_asks_its_predictor(server: Server) -> None:
    wait_ready(server, "why")
    wait_until(
        lambda: server.post("/v1/models/why:explain", {"instances": ROWS.tolist()}).is_success, 60
    )
    found = v1(server, "why", ROWS.tolist(), "explain", **{"x-user": "ann"})
    assert (found["base"], found["asked_by"]) == ([0, 1, 2], "ann")
    assert np.shape(found["changed"]) == (4, 3)
    assert v1(server, "why", ROWS.tolist())["predictions"] == [0, 1, 2]


def test_payloads_are_logged_as_cloud_events_for_rest_and_grpc(server: Server, sink: Sink) -> None:
    wait_ready(server, "logged")
    v1(server, "logged", ROWS.tolist(), **{"ce-id": "mine", "x-user": "ann"})
    grpc_infer(server, "logged", ROWS)
    server.post("/v1/models/logged:predict", {"instances": "wrong"})
    wait_until(lambda: len(sink.of("logged")) >= 5)
    time.sleep(0.3)
    events = sink.of("logged")
    assert len(events) == 5
    mine = {
        headers["ce-type"]: (headers, body)
        for headers, body in events
        if headers["ce-id"] == "mine"
    }
    headers, body = mine["org.kubeflow.serving.inference.request"]
    assert json.loads(body) == {"instances": ROWS.tolist()}
    assert headers["content-type"] == "application/json"
    assert json.loads(headers["ce-metadata"].replace("%22", '"')) == {"X-User": ["ann"]}
    assert (headers["ce-namespace"], headers["ce-component"]) == ("default", "predictor")
    _, body = mine["org.kubeflow.serving.inference.response"]
    assert json.loads(body) == {"predictions": [0, 1, 2]}
    packed = [each for each in events if each[0]["content-type"] == "application/x-protobuf"]
    assert len(packed) == 2
    by_type = {headers["ce-type"].rsplit(".", 1)[1]: body for headers, body in packed}
    assert ModelInferRequest.FromString(by_type["request"]).model_name == "logged"
    response = ModelInferResponse.FromString(by_type["response"])
    assert np.frombuffer(response.raw_output_contents[0], "<i8").tolist() == [0, 1, 2]


def test_payloads_are_logged_to_json_lines(server: Server, folder: Path) -> None:
    wait_ready(server, "lines")
    v1(server, "lines", ROWS.tolist())
    path = folder / "log" / "events.jsonl"
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    (record,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert record["type"] == "org.kubeflow.serving.inference.response"
    assert record["data"] == {"predictions": [0, 1, 2]}


def test_no_prediction_has_more_instances_than_the_batcher_says(server: Server) -> None:
    wait_ready(server, "batched")
    rows, classes = iris()

    def ask(index: int) -> bool:
        chosen = [index % 150, (index * 7) % 150]
        got = v1(server, "batched", rows[chosen].tolist())["predictions"]
        return len(got) == 2

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(300)))
    runs = server.metric("salver_batch_rows_count", model="batched")
    rows_seen = server.metric("salver_batch_rows_sum", model="batched")
    assert rows_seen == 600
    assert runs >= 150 / 4
    assert len(classes) == 150


def test_a_command_is_served_by_its_own_process(server: Server) -> None:
    wait_ready(server, "custom")
    seen = v1(server, "custom", [1], **{"x-request-id": "r7"})
    assert (seen["path"], seen["headers"]["x-request-id"]) == ("/v1/models/custom:predict", "r7")
    answer = server.post("/v2/models/custom/infer", {"inputs": []})
    assert answer.json()["path"] == "/v2/models/custom/infer"


def test_a_command_that_dies_comes_back(server: Server) -> None:
    wait_ready(server, "custom")
    pid = v1(server, "custom", [1])["pid"]
    os.kill(pid, signal.SIGKILL)
    assert v1(server, "custom", [1])["pid"] != pid


def test_a_transformer_that_is_a_command_gets_the_whole_request(server: Server) -> None:
    wait_ready(server, "around")
    assert v1(server, "around", [1])["path"] == "/v1/models/around:predict"
    direct = server.post(
        "/serving/default/around-predictor/v1/models/around:predict", {"instances": ROWS.tolist()}
    )
    assert direct.json()["predictions"] == [0, 1, 2]


def test_a_command_that_fails_says_why_in_its_status(server: Server) -> None:
    path = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/failing"
    wait_until(lambda: "no licence found" in server.get(path).text, 60)
    assert server.post("/v1/models/failing:predict", {"instances": [1]}).status_code in (404, 503)


def test_nothing_of_a_command_survives_a_kill_9_of_the_server(folder: Path) -> None:
    path = folder / "one.yaml"
    path.write_text(yaml.safe_dump(service("custom", command("--escape"))))
    with serving("-f", str(path), "--state-dir", str(folder / "state2")) as server:
        wait_ready(server, "custom")
        pids = server.descendants()
        assert len(pids) >= 2
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
