"""A Seldon graph on a real server, over REST and gRPC: what each node does to the data, what is in
`meta`, and whom feedback reaches.

    out (output transformer) - scale (transformer) - pick (router) - mean (combiner) - one, two
                                                                  \\ other
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from salver.protocol import seldon_pb2 as pb
from tests.e2e.seldon_environment import seldon_python
from tests.e2e.server import Server, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

COMPONENTS = """
import numpy as np


class _Told:
    def __init__(self, log, name, by=0.0):
        self.log, self.name, self.by = log, name, by

    def send_feedback(self, features, names, reward, truth, routing=None):
        with open(self.log, "a") as log:
            log.write(f"{self.name} {reward} {routing}\\n")


class Scale(_Told):
    def transform_input(self, X, names, meta=None):
        return np.asarray(X) * self.by

    def tags(self):
        return {"scaled": True}


class Pick(_Told):
    def route(self, features, names):
        return int(np.asarray(features).flat[0] < 0)


class Mean(_Told):
    def aggregate(self, features_list, names_list):
        return np.mean(features_list, axis=0)


class Add(_Told):
    def predict(self, X, names, meta=None):
        return np.asarray(X) + self.by

    def class_names(self):
        return ["low", "high"]

    def tags(self):
        return {self.name: self.by}

    def metrics(self):
        return [{"type": "COUNTER", "key": "asked_" + self.name, "value": 1}]


class Out(_Told):
    def transform_output(self, X, names, meta=None):
        return np.asarray(X) - self.by
"""
NODES = {
    "out": ("Out", 1.0),
    "scale": ("Scale", 10.0),
    "pick": ("Pick", 0.0),
    "mean": ("Mean", 0.0),
    "one": ("Add", 1.0),
    "two": ("Add", 3.0),
    "other": ("Add", 100.0),
}
ON_PATH = ["mean", "one", "out", "pick", "scale", "two"]
TYPES = {
    "out": "OUTPUT_TRANSFORMER",
    "scale": "TRANSFORMER",
    "pick": "ROUTER",
    "mean": "COMBINER",
}
DEPLOYMENTS = "/apis/machinelearning.seldon.io/v1/namespaces/default/seldondeployments"
PREDICTIONS = "/seldon/default/numbers/api/v1.0/predictions"
ROWS = [[1.0, 2.0]]
EXPECTED = [[11.0, 21.0]]
"""10 x, then the mean of 10 x + 1 and 10 x + 3, then less 1."""


def manifest(folder: Path) -> dict[str, Any]:
    def node(name: str, *children: dict[str, Any]) -> dict[str, Any]:
        parameters = [
            {"name": "log", "value": str(folder / "feedback.txt"), "type": "STRING"},
            {"name": "name", "value": name, "type": "STRING"},
            {"name": "by", "value": str(NODES[name][1]), "type": "FLOAT"},
        ]
        kind = TYPES.get(name, "MODEL")
        return {"name": name, "type": kind, "children": list(children), "parameters": parameters}

    models = node("mean", node("one"), node("two"))
    graph = node("out", node("scale", node("pick", models, node("other"))))
    file = folder / "components.py"
    annotations = {f"salver.dev/class.{name}": f"{file}:{of}" for name, (of, _) in NODES.items()}
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "numbers", "namespace": "default"},
        "spec": {"predictors": [{"name": "main", "annotations": annotations, "graph": graph}]},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seldon")
    (folder / "components.py").write_text(COMPONENTS)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving("--state-dir", str(folder / "state"), start_timeout_s=60) as server:
        made = server.post(DEPLOYMENTS, manifest(folder))
        assert made.status_code == 201, made.text
        wait_until(lambda: state(server) == "Available", 90)
        yield server


def state(server: Server) -> str:
    found = server.get(f"{DEPLOYMENTS}/numbers").json()
    return str(found.get("status", {}).get("state", ""))


def told(folder: Path) -> list[str]:
    """Who has heard of feedback since this was last asked, by name."""
    log = folder / "feedback.txt"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(lines)


def check_meta(meta: dict[str, Any]) -> None:
    assert meta["routing"] == {"pick": 0}
    assert meta["tags"] == {"scaled": True, "one": 1.0, "two": 3.0}
    assert set(meta["requestPath"]) == set(ON_PATH)
    metrics = sorted(meta["metrics"], key=lambda each: str(each["key"]))
    assert [(each["key"], each["value"]) for each in metrics] == [
        ("asked_one", 1),
        ("asked_two", 1),
    ]


@pytest.mark.parametrize("path", [PREDICTIONS, "/api/v1.0/predictions"])
def test_rest_goes_through_all_nodes_and_says_so_in_meta(server: Server, path: str) -> None:
    answer = server.post(path, {"data": {"ndarray": ROWS}, "meta": {"puid": "mine"}})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["data"]["ndarray"] == EXPECTED
    assert body["meta"]["puid"] == answer.headers["seldon-puid"] == "mine"
    assert answer.headers.get_list("seldon-puid") == ["mine"]
    check_meta(body["meta"])


def test_feedback_reaches_the_nodes_on_the_path_and_no_others(server: Server, folder: Path) -> None:
    told(folder)
    request = {"data": {"ndarray": ROWS}}
    answer = server.post(PREDICTIONS, request).json()
    feedback = {"request": request, "response": answer, "reward": 0.5}
    sent = server.post("/seldon/default/numbers/api/v1.0/feedback", feedback)
    assert sent.status_code == 200, sent.text
    # As Seldon's operator has it: models and routers hear of feedback, unless methods say else.
    assert told(folder) == ["one 0.5 None", "pick 0.5 0", "two 0.5 None"]
    request = {"data": {"ndarray": [[-1.0, 2.0]]}}
    answer = server.post(PREDICTIONS, request).json()
    assert answer["meta"]["routing"] == {"pick": 1}
    assert answer["data"]["ndarray"] == [[89.0, 119.0]]
    server.post("/seldon/default/numbers/api/v1.0/feedback", {"response": answer, "reward": 1.0})
    assert told(folder) == ["other 1.0 None", "pick 1.0 1"]


def test_grpc_does_the_same(server: Server, folder: Path) -> None:
    told(folder)
    metadata = (("seldon", "numbers"), ("namespace", "default"))
    tensor = pb.Tensor(shape=[1, 2], values=ROWS[0])
    message = pb.SeldonMessage(data=pb.DefaultData(tensor=tensor))
    with grpc.insecure_channel(server.grpc) as channel:
        predict = channel.unary_unary(
            "/seldon.protos.Seldon/Predict",
            request_serializer=pb.SeldonMessage.SerializeToString,
            response_deserializer=pb.SeldonMessage.FromString,
        )
        answer = predict(message, timeout=20, metadata=metadata)
        assert list(answer.data.tensor.values) == EXPECTED[0]
        assert answer.meta.puid
        meta = answer.meta
        check_meta(
            {
                "routing": dict(meta.routing),
                "tags": {
                    key: getattr(value, value.WhichOneof("kind"))
                    for key, value in meta.tags.items()
                },
                "requestPath": dict(meta.requestPath),
                "metrics": [{"key": each.key, "value": each.value} for each in meta.metrics],
            }
        )
        feedback = channel.unary_unary(
            "/seldon.protos.Seldon/SendFeedback",
            request_serializer=pb.Feedback.SerializeToString,
            response_deserializer=pb.SeldonMessage.FromString,
        )
        feedback(
            pb.Feedback(request=message, response=answer, reward=0.5),
            timeout=20,
            metadata=metadata,
        )
    assert told(folder) == ["one 0.5 None", "pick 0.5 0", "two 0.5 None"]


@pytest.mark.parametrize(
    ("path", "body", "answered"),
    [
        ("one/predict", {"data": {"ndarray": ROWS}}, [[2.0, 3.0]]),
        ("scale/transform-input", {"data": {"ndarray": ROWS}}, [[10.0, 20.0]]),
        ("out/transform-output", {"data": {"ndarray": ROWS}}, [[0.0, 1.0]]),
        ("pick/route", {"data": {"ndarray": ROWS}}, [[0]]),
        (
            "mean/aggregate",
            {"seldonMessages": [{"data": {"ndarray": ROWS}}, {"data": {"ndarray": [[3.0, 4.0]]}}]},
            [[2.0, 3.0]],
        ),
    ],
)
def test_a_component_is_asked_by_itself(
    server: Server, path: str, body: Any, answered: Any
) -> None:
    answer = server.post(f"/seldon/default/numbers/{path}", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["ndarray"] == answered


def test_grpc_components_are_named_in_metadata(server: Server) -> None:
    tensor = pb.Tensor(shape=[1, 2], values=ROWS[0])
    messages = [pb.SeldonMessage(data=pb.DefaultData(tensor=tensor))] * 2
    with grpc.insecure_channel(server.grpc) as channel:
        aggregate = channel.unary_unary(
            "/seldon.protos.Combiner/Aggregate",
            request_serializer=pb.SeldonMessageList.SerializeToString,
            response_deserializer=pb.SeldonMessage.FromString,
        )
        asked = pb.SeldonMessageList(seldonMessages=messages)
        answer = aggregate(
            asked, timeout=20, metadata=(("seldon", "numbers"), ("seldon-node", "mean"))
        )
        assert list(answer.data.tensor.values) == ROWS[0]


def test_the_metadata_of_a_graph_has_its_parts(server: Server) -> None:
    found = server.get("/seldon/default/numbers/api/v1.0/metadata").json()
    assert set(found["models"]) == set(NODES)
    assert server.get("/seldon/default/numbers/api/v1.0/status/one").status_code == 200
    assert server.get("/seldon/default/numbers/api/v1.0/status/none").status_code == 404


def test_an_error_of_a_node_names_it(server: Server) -> None:
    answer = server.post(PREDICTIONS, {"data": {"ndarray": ["text"]}})
    assert answer.status_code == 500, answer.text
    status = answer.json()["status"]
    assert (status["status"], "scale" in status["info"]) == ("FAILURE", True)


@pytest.mark.seldon
def test_seldons_own_client_predicts_and_sends_feedback(server: Server, folder: Path) -> None:
    told(folder)
    asked = {
        "name": "numbers",
        "namespace": "default",
        "http": server.url.removeprefix("http://"),
        "grpc": server.grpc,
        "rows": ROWS,
    }
    done = subprocess.run(
        [str(seldon_python()), str(Path(__file__).with_name("seldon_client.py")), "graph"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    for transport in ("rest", "grpc"):
        for kind in ("tensor", "ndarray", "raw"):
            assert got[f"{transport} {kind}"]["data"] == EXPECTED
        assert got[f"{transport} feedback"] == {"success": True, "msg": ""}
    assert told(folder).count("pick 1.0 0") == 2
