"""A folder of InferenceServices as KServe documents them, served whole and asked one by one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from tests.e2e.declared import (
    Flowers,
    apply,
    condition,
    is_settled,
    manifest_folder,
    status_of,
    wait_status,
)
from tests.e2e.server import Server, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PUBLISHED = (
    "sklearn.yaml",
    "sklearn-legacy.yaml",
    "sklearn-v2.yaml",
    "xgboost.yaml",
    "lightgbm.yaml",
    "onnx.yaml",
    "s3.yaml",
    "https.yaml",
    "pvc.yaml",
    "kubeflow-v1beta1.yaml",
    "v1alpha2-canary.yaml",
    "batcher.yaml",
    "scale-to-zero.yaml",
    "canary-list.yaml",
    "canary-percent.yaml",
    "scheduling.yaml",
)
SKLEARN = "gs/models/sklearn/1.0/model/model.joblib"
OTHER = "gs/models/sklearn/1.0/model-2/model.joblib"
XGBOOST = "gs/models/xgboost/iris/model.bst"
LIGHTGBM = "gs/models/lightgbm/iris/model.bst"
ONNX = "gs/onnx/style/model.onnx"
MODELS = {
    "sklearn-iris": SKLEARN,
    "sklearn-legacy": SKLEARN,
    "sklearn-v2-iris": SKLEARN,
    "xgboost-iris": XGBOOST,
    "lightgbm-iris": LIGHTGBM,
    "style-sample": ONNX,
    "iris-s3": SKLEARN,
    "iris-https": SKLEARN,
    "iris-pvc": SKLEARN,
    "iris-kubeflow": SKLEARN,
    "sklearn-iris-batched": SKLEARN,
    "iris-scaled": SKLEARN,
    "iris-rollout": OTHER,
    "iris-scheduled": SKLEARN,
    "iris-logged": SKLEARN,
    "iris-logged-to-file": SKLEARN,
    "iris-twice": SKLEARN,
    "iris-versioned": SKLEARN,
    "iris-shadowed": SKLEARN,
}
"""Services that answer as a library does, with the model each has."""


class Sink:
    """A sink for CloudEvents; keeps (headers, body)."""

    def __init__(self) -> None:
        self.events: list[tuple[dict[str, str], bytes]] = []
        events = self.events

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                events.append(({name.lower(): each for name, each in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Flowers:
    return Flowers(tmp_path_factory.mktemp("flowers"))


@pytest.fixture(scope="module")
def server(flowers: Flowers, sink: Sink) -> Iterator[Server]:
    import sklearn

    folder = manifest_folder(
        flowers.folder / "manifests",
        PUBLISHED,
        FOLDER=str(flowers.folder),
        SINK=sink.url,
        SKLEARN=sklearn.__version__,
    )
    state = str(flowers.folder / "state")
    arguments = ("-f", str(folder), "--state-dir", state, "--threads", "1", *flowers.maps)
    with serving(*arguments, start_timeout_s=120) as running:
        yield running


def rows_of(flowers: Flowers, name: str) -> Any:
    rows = flowers.rows[[3, 55, 77, 120, 149]]
    return rows.astype(np.float32) if MODELS[name] == ONNX else rows


def expected_of(flowers: Flowers, name: str) -> Any:
    return np.asarray(flowers.predict[MODELS[name]](rows_of(flowers, name)))


def v1(server: Server, name: str, rows: Any, prefix: str = "", **headers: str) -> httpx.Response:
    return server.post(
        f"{prefix}/v1/models/{name}:predict",
        {"instances": np.asarray(rows).tolist()},
        headers={"content-type": "application/json", **headers},
    )


def classes(server: Server, name: str, rows: Any, prefix: str = "", **headers: str) -> list[int]:
    """What a classifier answers in V1."""
    answer = v1(server, name, rows, prefix, **headers)
    assert answer.status_code == 200, answer.text
    found: list[int] = answer.json()["predictions"]
    return found


def grpc_infer(server: Server, name: str, rows: Any, datatype: str) -> Any:
    import grpc

    message = ModelInferRequest(model_name=name)
    message.inputs.add(name="input-0", datatype=datatype, shape=rows.shape)
    message.raw_input_contents.append(rows.tobytes())
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = ModelInferResponse.FromString(call(message.SerializeToString(), timeout=30))
    output = answer.outputs[0]
    dtype = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}[output.datatype]
    return np.frombuffer(answer.raw_output_contents[0], dtype).reshape(output.shape)


def test_every_service_of_the_folder_becomes_ready(server: Server) -> None:
    listed = server.get("/apis/serving.kserve.io/v1beta1/inferenceservices").json()["items"]
    assert len(listed) >= 24
    for each in listed:
        metadata = each["metadata"]
        if metadata["name"] != "iris-stopped":
            wait_status(
                server, metadata["name"], is_settled, namespace=metadata["namespace"], timeout_s=90
            )
    assert server.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize("name", MODELS)
def test_v1_v2_and_grpc_answer_what_the_library_does(
    server: Server, flowers: Flowers, name: str
) -> None:
    wait_status(server, name, is_settled, timeout_s=90)
    rows, expected = rows_of(flowers, name), expected_of(flowers, name)
    datatype = {"float64": "FP64", "float32": "FP32"}[str(rows.dtype)]
    answer = v1(server, name, rows)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["predictions"], expected, rtol=1e-5)
    answer = server.infer(name, rows.tolist(), datatype)
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected, rtol=1e-5)
    np.testing.assert_allclose(grpc_infer(server, name, rows, datatype), expected, rtol=1e-5)


def test_a_custom_container_with_a_command_answers_with_its_secret(
    server: Server, flowers: Flowers
) -> None:
    wait_status(server, "custom-model", is_settled)
    rows = flowers.rows[:3]
    answer = v1(server, "custom-model", rows).json()
    assert answer["token"] == "s3cr3t"
    np.testing.assert_allclose(answer["predictions"], rows.sum(axis=1))
    outputs = server.infer("custom-model", rows.tolist()).json()["outputs"]
    np.testing.assert_allclose(outputs[0]["data"], rows.sum(axis=1))
    assert (
        "s3cr3t"
        not in server.get(
            "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/custom-model"
        ).text
    )


def test_a_custom_container_of_v1alpha2_answers(server: Server, flowers: Flowers) -> None:
    wait_status(server, "custom-old", is_settled)
    answer = v1(server, "custom-old", flowers.rows[:3]).json()
    np.testing.assert_allclose(answer["predictions"], flowers.rows[:3].sum(axis=1))


def test_an_applied_runtime_runs_its_command_with_the_model_beside(
    server: Server, flowers: Flowers
) -> None:
    wait_status(server, "by-runtime", is_settled)
    answer = v1(server, "by-runtime", flowers.rows[:3]).json()
    np.testing.assert_allclose(answer["predictions"], flowers.rows[:3].sum(axis=1))
    assert answer["files"] == ["model.joblib"]


def test_a_transformer_class_and_an_explainer_class_are_around_the_predictor(
    server: Server, flowers: Flowers
) -> None:
    name = "iris-class-transformer"
    wait_status(server, name, is_settled)
    rows = flowers.rows[[0, 60, 120]]
    assert classes(server, name, rows * 10) == ["setosa", "versicolor", "virginica"]
    body = {"instances": rows.tolist()}
    answer = server.post(f"/v1/models/{name}:explain", body)
    assert answer.json() == {"rows": 3, "predictions": [0, 1, 2]}
    assert classes(server, name, rows, f"/serving/default/{name}-predictor") == [0, 1, 2]


def test_a_transformer_written_for_kserve_finds_its_predictor(
    server: Server, flowers: Flowers
) -> None:
    wait_status(server, "iris-transformed", is_settled)
    rows = flowers.rows[[0, 60, 120]] * 10
    assert classes(server, "iris-transformed", rows) == ["class 0", "class 1", "class 2"]


def test_payloads_go_to_the_sink_as_cloud_events(
    server: Server, flowers: Flowers, sink: Sink
) -> None:
    wait_status(server, "iris-logged", is_settled)
    rows = flowers.rows[:2]
    classes(server, "iris-logged", rows, **{"x-request-id": "r-17", "ce-id": "c-17"})

    def mine() -> list[tuple[dict[str, str], bytes]]:
        return [each for each in sink.events if each[0]["ce-id"] == "c-17"]

    wait_until(lambda: len(mine()) == 2)
    kinds = {headers["ce-type"]: json.loads(body) for headers, body in mine()}
    assert kinds == {
        "org.kubeflow.serving.inference.request": {"instances": rows.tolist()},
        "org.kubeflow.serving.inference.response": {"predictions": [0, 0]},
    }
    assert {headers["ce-inferenceservicename"] for headers, _ in mine()} == {"iris-logged"}
    assert "r-17" in mine()[0][0]["ce-metadata"]


def test_payloads_go_to_a_file_as_json_lines(server: Server, flowers: Flowers) -> None:
    wait_status(server, "iris-logged-to-file", is_settled)
    path = flowers.folder / "events.jsonl"
    before = len(path.read_text().splitlines()) if path.exists() else 0
    classes(server, "iris-logged-to-file", flowers.rows[:2])
    wait_until(lambda: path.exists() and len(path.read_text().splitlines()) > before)
    record = json.loads(path.read_text().splitlines()[-1])
    assert record["data"] == {"predictions": [0, 0]}


def test_a_service_answers_by_path_and_by_host_too(server: Server, flowers: Flowers) -> None:
    wait_status(server, "sklearn-iris", is_settled)
    rows = flowers.rows[[0, 60]]
    assert classes(server, "sklearn-iris", rows, "/serving/default/sklearn-iris") == [0, 1]
    for host in ("sklearn-iris-default.example.com", "sklearn-iris.default.example.com:8080"):
        assert classes(server, "sklearn-iris", rows, host=host) == [0, 1]
        answer = v1(server, "xgboost-iris", rows, host=host)
        assert answer.status_code == 404
    url = status_of(server, "sklearn-iris")["url"]
    body = {"instances": rows.tolist()}
    assert httpx.post(f"{url}/v1/models/sklearn-iris:predict", json=body).json() == {
        "predictions": [0, 1]
    }
    assert httpx.get(f"{url}/v2/models/sklearn-iris").json()["name"] == "sklearn-iris"
    assert v1(server, "sklearn-iris", rows, "/serving/default/nobody").status_code == 404


def test_one_name_in_two_namespaces_is_two_services(server: Server, flowers: Flowers) -> None:
    wait_status(server, "iris-twice", is_settled)
    wait_status(server, "iris-twice", is_settled, namespace="team-a")
    rows = flowers.rows[[0, 60, 120]]
    expected = flowers.predict[XGBOOST](rows)
    assert classes(server, "iris-twice", rows) == [0, 1, 2]
    for way in (
        {"prefix": "/serving/team-a/iris-twice"},
        {"host": "iris-twice-team-a.example.com"},
    ):
        answer = classes(server, "iris-twice", rows, **way)
        np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_a_stopped_service_runs_nothing_until_it_is_started_again(
    server: Server, flowers: Flowers
) -> None:
    name = "iris-stopped"
    status = wait_status(server, name, lambda each: bool(condition(each, "Stopped")))
    assert condition(status, "Stopped")["status"] == "True"
    assert condition(status)["reason"] == "Stopped"
    assert v1(server, name, flowers.rows[:1]).status_code == 404
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{name}"
    obj = server.get(path).json()
    del obj["metadata"]["annotations"]["serving.kserve.io/stop"]
    apply(server, obj)
    wait_status(server, name, is_settled)
    assert classes(server, name, flowers.rows[:1]) == [0]
    obj = server.get(path).json()
    obj["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
    apply(server, obj)
    wait_status(server, name, lambda each: condition(each, "Stopped")["status"] == "True")
    assert v1(server, name, flowers.rows[:1]).status_code == 404


def test_a_shadow_answers_nobody_and_is_compared(server: Server, flowers: Flowers) -> None:
    wait_status(server, "iris-shadowed", is_settled)
    wait_status(
        server,
        "iris-shadowed",
        lambda each: "shadow" in each["components"]["predictor"],
    )
    of = {"model": "iris-shadowed"}
    before = server.metric("salver_shadow_results_total", **of, result="mismatch")
    for _ in range(20):
        assert classes(server, "iris-shadowed", flowers.rows[[0, 60]]) == [0, 1]
    wait_until(
        lambda: server.metric("salver_shadow_results_total", **of, result="mismatch") == before + 20
    )
    assert server.metric("salver_shadow_results_total", **of, result="match") == 0


@pytest.mark.parametrize(
    ("name", "header"), [("iris-sticky", "x-user: {}"), ("iris-cookie", "cookie: a=1; session={}")]
)
def test_a_caller_stays_on_one_revision(
    server: Server, flowers: Flowers, name: str, header: str
) -> None:
    wait_status(server, name, is_settled)
    seen: dict[int, set[int]] = {}
    for caller in range(40):
        key, _, value = header.format(f"caller-{caller}").partition(": ")
        answers = {classes(server, name, flowers.rows[:1], **{key: value})[0] for _ in range(4)}
        seen[caller] = answers
    assert all(len(answers) == 1 for answers in seen.values())
    assert set.union(*seen.values()) == {0, 10}


def test_a_revision_can_be_asked_for_by_its_tag(server: Server, flowers: Flowers) -> None:
    name = "iris-canaries"
    wait_status(server, name, is_settled)
    rows = flowers.rows[[0, 60]]
    for _ in range(20):
        assert classes(server, name, rows, **{"salver-tag": "candidate"}) == [10, 11]
    answer = classes(server, name, rows, **{"salver-tag": "experiment"})
    np.testing.assert_allclose(answer, flowers.predict[XGBOOST](rows), rtol=1e-5)


def test_minReplicas_0_sleeps_and_wakes(server: Server, flowers: Flowers) -> None:  # noqa: N802
    path = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/iris-scaled"
    obj = server.get(path).json()
    obj["metadata"]["annotations"] = {
        "autoscaling.knative.dev/window": "6s",
        "salver.dev/scale-to-zero-grace-period": "0s",
    }
    apply(server, obj)

    def sleeps(status: dict[str, Any]) -> bool:
        return (
            is_settled(status) and status["modelStatus"]["states"]["targetModelState"] == "Standby"
        )

    wait_status(server, "iris-scaled", sleeps, timeout_s=40)
    started_s = time.monotonic()
    assert classes(server, "iris-scaled", flowers.rows[[0, 60]]) == [0, 1]
    assert time.monotonic() - started_s < 5


def test_what_means_nothing_on_one_machine_is_said_in_the_status(server: Server) -> None:
    status = wait_status(server, "iris-scheduled", is_settled)
    assert any("nodeSelector" in note for note in status.get("notes", ())), status
