"""Seldon's protocol over REST and gRPC, on plain models that know nothing of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from salver.protocol import seldon_pb2 as pb
from tests import models
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

ECHO = """
class Echo:
    # Gives back what it gets.
    def predict(self, tensors: dict) -> dict:
        return tensors
"""
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
FLAT = [value for row in ROWS for value in row]
PREDICTIONS = "/api/v1.0/predictions"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    predict = models.save_sklearn_lr(tmp_path_factory.mktemp("expected") / "iris.joblib")
    return np.asarray(predict(np.array(ROWS)))


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has one model."""
    path = tmp_path_factory.mktemp("iris") / "iris.joblib"
    models.save_sklearn_lr(path)
    with serving(str(path)) as server:
        yield server


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has two, so that a path must say which is meant."""
    folder = tmp_path_factory.mktemp("several")
    models.save_sklearn_lr(folder / "iris.joblib")
    (folder / "echo.py").write_text(ECHO)
    with serving(str(folder)) as server:
        yield server


def tensor(rows: Any) -> dict[str, Any]:
    array = np.array(rows)
    return {"shape": list(array.shape), "values": array.ravel().tolist()}


def tftensor(rows: Any) -> dict[str, Any]:
    array = np.array(rows, dtype="<f8")
    return {
        "dtype": "DT_DOUBLE",
        "tensorShape": {"dim": [{"size": str(size)} for size in array.shape]},
        "tensorContent": base64.b64encode(array.tobytes()).decode(),
    }


def read(data: dict[str, Any]) -> Any:
    """The array of an answer, whichever kind it is of."""
    if "tensor" in data:
        return np.reshape(data["tensor"]["values"], data["tensor"]["shape"])
    if "tftensor" in data:
        shape = [int(dim["size"]) for dim in data["tftensor"]["tensorShape"]["dim"]]
        raw = base64.b64decode(data["tftensor"]["tensorContent"])
        dtype = {"DT_INT64": "<i8", "DT_DOUBLE": "<f8"}[data["tftensor"]["dtype"]]
        return np.frombuffer(raw, dtype).reshape(shape)
    return np.array(data["ndarray"])


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("tensor", tensor(ROWS)), ("ndarray", ROWS), ("tftensor", tftensor(ROWS))],
)
@pytest.mark.parametrize(
    "path",
    [
        PREDICTIONS,
        "/api/v0.1/predictions",
        "/seldon/default/iris/api/v1.0/predictions",
        "/seldon/iris/api/v1.0/predictions",
        "/predict",
        "/seldon/default/iris/predict",
    ],
)
def test_an_array_comes_back_in_the_kind_it_was_sent(
    iris: Server, expected: Any, kind: str, payload: Any, path: str
) -> None:
    answer = iris.post(path, {"data": {"names": ["a", "b", "c", "d"], kind: payload}})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["data", "meta"]
    assert set(body["data"]) == {"names", kind}
    np.testing.assert_array_equal(read(body["data"]), expected)


def test_a_puid_is_made_up_or_kept(iris: Server) -> None:
    body = {"data": {"ndarray": ROWS}, "meta": {"puid": "mine"}}
    made_up = iris.post(PREDICTIONS, body)
    assert len(made_up.headers["seldon-puid"]) == 36
    assert made_up.json()["meta"] == {"puid": "mine"}
    headers = {"content-type": "application/json", "Seldon-Puid": "yours"}
    assert iris.post(PREDICTIONS, body, headers=headers).headers["seldon-puid"] == "yours"


@pytest.mark.parametrize(
    ("message", "answered"),
    [
        ({"strData": "hello"}, {"strData": "hello"}),
        ({"binData": "AP9h"}, {"binData": "AP9h"}),
        ({"jsonData": {"some": ["values", 1]}}, {"jsonData": {"some": ["values", 1]}}),
        ({"data": {"ndarray": ["a", "b"]}}, {"data": {"names": ["data"], "ndarray": ["a", "b"]}}),
    ],
)
def test_what_is_no_array_of_numbers_comes_back_too(
    several: Server, message: Any, answered: Any
) -> None:
    answer = several.post("/seldon/default/echo/api/v1.0/predictions", message)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {**answered, "meta": {}}


def test_a_message_may_come_in_a_form_or_in_the_query(iris: Server, expected: Any) -> None:
    text = json.dumps({"data": {"ndarray": ROWS}})
    posted = [
        httpx.post(iris.url + "/predict", data={"json": text}),
        httpx.post(iris.url + PREDICTIONS, params={"json": text}),
        httpx.get(iris.url + "/predict", params={"json": text}),
        httpx.post(iris.url + PREDICTIONS, files={"data": (None, json.dumps({"ndarray": ROWS}))}),
    ]
    for answer in posted:
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(read(answer.json()["data"]), expected)


def test_errors_have_the_form_of_the_protocol(iris: Server, several: Server) -> None:
    wrong = iris.post(PREDICTIONS, {"data": {"ndarray": [[1.0]]}})
    assert wrong.status_code == 400
    status = wrong.json()["status"]
    assert (status["code"], status["reason"]) == (-1, "MICROSERVICE_BAD_DATA")
    assert status["status"] == "FAILURE"
    assert "send 4 values a row" in status["info"]
    unsaid = several.post(PREDICTIONS, {"data": {"ndarray": ROWS}})
    assert unsaid.status_code == 404
    assert "/seldon/default/echo" in unsaid.json()["status"]["info"]
    assert several.post("/seldon/other/iris/api/v1.0/predictions", {}).status_code == 404
    assert iris.post(PREDICTIONS, b"{").json()["status"]["reason"] == "MICROSERVICE_BAD_DATA"
    assert iris.post("/transform-input", {"data": {"ndarray": ROWS}}).status_code == 501


def test_feedback_on_a_model_that_does_not_learn_is_taken(iris: Server) -> None:
    told = {"request": {"data": {"ndarray": ROWS}}, "response": {"meta": {}}, "reward": 1.0}
    for path in ("/api/v1.0/feedback", "/seldon/default/iris/api/v1.0/feedback", "/send-feedback"):
        answer = iris.post(path, told)
        assert (answer.status_code, answer.json()) == (200, {})
    assert iris.post("/api/v1.0/feedback", {"reward": "much"}).status_code == 400


def test_v1_and_v2_answer_below_the_same_prefix(iris: Server, expected: Any) -> None:
    for path in (
        "/seldon/default/iris/v1/models/iris:predict",
        "/v1/models:predict",
        "/seldon/default/iris/v1/models/:predict",
    ):
        answer = iris.post(path, {"instances": ROWS})
        assert answer.json() == {"predictions": expected.tolist()}, path
    inputs = [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": FLAT}]
    for path in ("/seldon/default/iris/v2/models/iris/infer", "/v2/models/infer"):
        answer = iris.post(path, {"inputs": inputs})
        assert answer.json()["outputs"][0]["data"] == expected.tolist(), path
    assert iris.get("/seldon/default/iris/v2/models/iris").json()["name"] == "iris"


@pytest.mark.parametrize("prefix", ["", "/seldon/default/iris", "/seldon/iris"])
def test_health_and_metadata_are_told(iris: Server, prefix: str) -> None:
    for path in (
        "/api/v1.0/health/status",
        "/health/status",
        "/ready",
        "/live",
        "/health/ping",
        "/api/v1.0/status",
        "/api/v1.0/status/iris",
    ):
        assert iris.get(prefix + path).status_code == 200, path
    graph = iris.get(prefix + "/api/v1.0/metadata").json()
    model = iris.get(prefix + "/api/v1.0/metadata/iris").json()
    assert graph["models"]["iris"] == model
    assert graph["graphinputs"] == model["inputs"] != []
    assert iris.get("/seldon/default/none/api/v1.0/metadata").status_code == 404


def test_the_api_may_be_packed(iris: Server, expected: Any) -> None:
    import gzip

    body = gzip.compress(json.dumps({"data": {"ndarray": ROWS}}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = iris.post(PREDICTIONS, body, headers=headers)
    np.testing.assert_array_equal(read(answer.json()["data"]), expected)


# gRPC.


@pytest.fixture
def channel(iris: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(iris.grpc) as channel:
        yield channel


def ask(channel: grpc.Channel, method: str, message: Any, kind: Any = None, **extra: Any) -> Any:
    call = channel.unary_unary(
        f"/seldon.protos.{method}",
        request_serializer=lambda each: each.SerializeToString(),
        response_deserializer=(kind or pb.SeldonMessage).FromString,
    )
    return call(message, timeout=20, **extra)


@pytest.mark.parametrize("method", ["Seldon/Predict", "Model/Predict"])
@pytest.mark.parametrize("kind", ["tensor", "ndarray", "tftensor"])
def test_grpc_answers_in_the_kind_it_was_asked(
    channel: grpc.Channel, expected: Any, method: str, kind: str
) -> None:
    data = pb.DefaultData(names=["a"])
    if kind == "tensor":
        data.tensor.CopyFrom(pb.Tensor(shape=[2, 4], values=FLAT))
    elif kind == "ndarray":
        data.ndarray.extend(ROWS)
    else:
        raw = np.array(ROWS, dtype="<f4").tobytes()
        shape = pb.TensorShape(dim=[pb.TensorShape.Dim(size=size) for size in (2, 4)])
        data.tftensor.CopyFrom(
            pb.TensorProto(dtype="DT_FLOAT", tensor_shape=shape, tensor_content=raw)
        )
    answer = ask(channel, method, pb.SeldonMessage(data=data, meta=pb.Meta(puid="p")))
    assert answer.data.WhichOneof("data_oneof") == kind
    assert answer.meta.puid == "p"
    if kind == "tensor":
        np.testing.assert_array_equal(answer.data.tensor.values, expected)
    elif kind == "ndarray":
        np.testing.assert_array_equal(list(answer.data.ndarray), expected)
    else:
        found = np.frombuffer(answer.data.tftensor.tensor_content, "<i8")
        np.testing.assert_array_equal(found, expected)


def test_grpc_metadata_names_the_deployment(several: Server, expected: Any) -> None:
    data = pb.DefaultData(tensor=pb.Tensor(shape=[2, 4], values=FLAT))
    message = pb.SeldonMessage(data=data)
    with grpc.insecure_channel(several.grpc) as channel:
        for metadata in [(("seldon", "iris"), ("namespace", "default")), (("seldon", "iris"),)]:
            answer = ask(channel, "Seldon/Predict", message, metadata=metadata)
            np.testing.assert_array_equal(answer.data.tensor.values, expected)
        with pytest.raises(grpc.RpcError) as refused:
            ask(channel, "Seldon/Predict", message)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert "which deployment" in refused.value.details()


def test_grpc_tells_a_puid(channel: grpc.Channel) -> None:
    message = pb.SeldonMessage(data=pb.DefaultData(tensor=pb.Tensor(shape=[1, 4], values=ROWS[0])))
    call = channel.unary_unary("/seldon.protos.Seldon/Predict")
    _, made = call.with_call(message.SerializeToString(), timeout=20)
    assert len(dict(made.initial_metadata())["seldon-puid"]) == 36
    _, kept = call.with_call(
        message.SerializeToString(), timeout=20, metadata=(("seldon-puid", "mine"),)
    )
    assert dict(kept.initial_metadata())["seldon-puid"] == "mine"


def test_grpc_feedback_metadata_and_errors(channel: grpc.Channel) -> None:
    assert ask(channel, "Seldon/SendFeedback", pb.Feedback(reward=1.0)) == pb.SeldonMessage()
    asked = pb.SeldonModelMetadataRequest(name="iris")
    model = ask(channel, "Seldon/ModelMetadata", asked, pb.SeldonModelMetadata)
    assert (model.name, len(model.inputs)) == ("iris", 1)
    graph = ask(
        channel, "Seldon/GraphMetadata", pb.SeldonModelMetadataRequest(), pb.SeldonGraphMetadata
    )
    assert graph.models["iris"] == model
    assert list(graph.inputs) == list(model.inputs)
    with pytest.raises(grpc.RpcError) as refused:
        ask(channel, "Seldon/Predict", pb.SeldonMessage(strData="no numbers"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        ask(channel, "Router/Route", pb.SeldonMessage())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
