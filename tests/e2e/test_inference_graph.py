"""KServe's InferenceGraphs on a real server: the scenarios of KServe's own end-to-end tests, with
the statuses and bodies that they expect; real models; addresses; headers; time limits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.server import Server, serving, wait_until
from tests.models import iris, save_sklearn_lr

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROWS = iris()[0][[0, 60, 120]].tolist()
SUCCESS = {"message": "SUCCESS"}
INTENTIONAL = {"detail": "Intentional 404 code"}
NOT_MATCHED = {
    "error": "Failed to process request",
    "cause": "None of the routes matched with the switch condition",
}
IS_ERROR = "[@this].#(decision_picker==ERROR)"
IS_SUCCESS = "[@this].#(decision_picker==SUCCESS)"
PICKS_ERROR = {"decision_picker": "ERROR", "key1": {"name": "abc"}}
PICKS_SUCCESS = {"decision_picker": "SUCCESS", "key1": {"name": "abc"}}
GRAPHS = "/apis/serving.kserve.io/v1alpha1/namespaces/default/inferencegraphs"


class Services:
    """What KServe's tests have as containers, below paths of one server: /good answers 200, /bad
    404, /slow takes its time, /echo says what it was sent, /plus adds 1 to each row."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.left = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                self.reply(200, {"ready": True})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                kind = self.path.split("/")[1]
                outer.seen.append(kind)
                if kind == "good":
                    self.reply(200, SUCCESS)
                elif kind == "bad":
                    self.reply(404, INTENTIONAL)
                elif kind == "plus":
                    rows = json.loads(body)["instances"]
                    self.reply(200, {"predictions": [row + 1 for row in rows]})
                elif kind == "slow":
                    self.wait()
                else:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    sent = {"path": self.path, "body": body.decode(), "headers": headers}
                    self.reply(200, sent)

            def wait(self) -> None:
                self.connection.settimeout(0.05)
                deadline_s = time.monotonic() + 20
                while time.monotonic() < deadline_s:
                    try:
                        if not self.connection.recv(1):
                            outer.left.set()
                            break
                    except TimeoutError:
                        continue
                self.close_connection = True

            def reply(self, status: int, value: object) -> None:
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def node(kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": kind, "steps": list(steps)}


def graph(
    name: str,
    nodes: dict[str, Any],
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"nodes": nodes, **spec},
    }


def service(name: str, predictor: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "annotations": {f"salver.dev/{key}": value for key, value in annotations.items()},
        },
        "spec": {"predictor": predictor},
    }


GOOD, BAD = {"serviceName": "success-200"}, {"serviceName": "error-404"}
HARD, TO_NODE = {"dependency": "Hard"}, {"name": "rootStep1", "nodeName": "node1"}
THEN = {"name": "rootStep2", **GOOD}
PICKED = {"name": "node1Step1", **BAD, "condition": IS_ERROR}


def scenarios() -> list[dict[str, Any]]:
    """The graphs of test/e2e/graph of KServe, by their numbers there."""
    request = {"data": "$request"}
    split = {**PICKED, "weight": 100}
    switch = (
        {"name": "rootStep1", **BAD, "condition": IS_ERROR, "dependency": "Soft"},
        {"name": "rootStep2", **GOOD, "condition": IS_SUCCESS, "dependency": "Soft"},
    )
    both = ({"name": "rootStep1", **GOOD}, {"name": "rootStep2", **BAD})
    one_hard = ({**BAD, **HARD}, {"name": "rootStep2", **GOOD}, {"name": "rootStep3", **GOOD})
    nodes = {
        1: {"root": node("Sequence", GOOD, {**BAD, **request})},
        2: {"root": node("Sequence", BAD, {**GOOD, **request})},
        3: {"root": node("Sequence", {**BAD, **HARD}, {**GOOD, "dependency": "Soft"})},
        4: {"root": node("Switch", *switch)},
        5: {"root": node("Sequence", TO_NODE, THEN), "node1": node("Switch", PICKED)},
        6: {
            "root": node("Sequence", {**TO_NODE, **HARD}, THEN),
            "node1": node("Switch", {**PICKED, **HARD}),
        },
        7: {"root": node("Ensemble", *both)},
        8: {"root": node("Ensemble", *one_hard)},
        9: {"root": node("Sequence", TO_NODE, THEN), "node1": node("Splitter", split)},
        10: {
            "root": node("Sequence", {**TO_NODE, **HARD}, THEN),
            "node1": node("Splitter", {**split, **HARD}),
        },
    }
    return [graph(f"scenario-{number}", each) for number, each in nodes.items()]


def others(url: str) -> list[dict[str, Any]]:
    echo = {"serviceUrl": f"{url}/echo/deep?q=1"}
    chain = ({"serviceName": "sklearn", **HARD}, {"serviceName": "xgboost", **HARD})
    asks = {"serviceName": "sklearn"}
    plus = {"serviceName": "plus", "data": "$response", "mapPredictionsToInstances": True}
    return [
        graph("model-chainer", {"root": node("Sequence", *chain, {**asks, **HARD})}),
        graph("mapped", {"root": node("Sequence", asks, plus)}),
        graph("models", {"root": node("Ensemble", {**asks, "name": "a"}, {**asks, "name": "b"})}),
        graph(
            "gated", {"root": node("Sequence", asks, {**GOOD, "condition": "predictions.#(==2)"})}
        ),
        graph("addressed", {"root": node("Sequence", echo)}),
        graph(
            "headed",
            {"root": node("Sequence", echo)},
            {"salver.dev/propagate-headers": "Authorization,^X-Mine"},
        ),
        graph(
            "hasty",
            {"root": node("Sequence", {"serviceUrl": f"{url}/slow"})},
            routerTimeouts={"serviceClient": 1},
        ),
        graph("patient", {"root": node("Sequence", {"serviceUrl": f"{url}/slow"})}),
        graph("over-graph", {"root": node("Ensemble", {"serviceName": "scenario-2"})}),
        graph("waiting", {"root": node("Sequence", {"serviceName": "absent"})}),
    ]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    made = Services()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, services: Services) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("graphs")
    save_sklearn_lr(folder / "model.joblib")
    save_xgboost(folder / "model.bst")
    sklearn = {"modelFormat": {"name": "sklearn"}, "storageUri": str(folder / "model.joblib")}
    xgboost = {"modelFormat": {"name": "xgboost"}, "storageUri": str(folder / "model.bst")}
    declared = [
        service("success-200", {}, url=f"{services.url}/good"),
        service("error-404", {}, url=f"{services.url}/bad"),
        service("plus", {}, url=f"{services.url}/plus"),
        service("sklearn", {"model": sklearn}),
        service("xgboost", {"model": xgboost}),
        *scenarios(),
        *others(services.url),
    ]
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(declared))
    with serving("-f", str(path), "--state-dir", str(folder / "state")) as running:
        yield running


def save_xgboost(path: Path) -> None:
    import xgboost

    rows, classes = iris()
    parameters = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(rows, classes), 5)
    booster.save_model(path.with_suffix(".json"))
    path.with_suffix(".json").rename(path)


def ready_of(server: Server, name: str) -> dict[str, Any]:
    answer = server.get(f"{GRAPHS}/{name}")
    assert answer.status_code == 200, answer.text
    conditions = answer.json().get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "Ready"), {})


def wait_ready(server: Server, name: str) -> None:
    wait_until(lambda: ready_of(server, name).get("status") == "True", 90)


def ask(server: Server, name: str, body: Any, **extra: Any) -> httpx.Response:
    wait_ready(server, name)
    return server.post(f"/serving/default/{name}", body, **extra)


@pytest.mark.parametrize(
    ("number", "body", "status", "answer"),
    [
        (1, {"instances": [1]}, 404, INTENTIONAL),
        (2, {"instances": [1]}, 200, SUCCESS),
        (3, {"instances": [1]}, 404, INTENTIONAL),
        (4, PICKS_ERROR, 404, INTENTIONAL),
        (4, PICKS_SUCCESS, 200, SUCCESS),
        (4, {"decision_picker": "NONE", "key1": {}}, 404, NOT_MATCHED),
        (5, PICKS_ERROR, 200, SUCCESS),
        (6, PICKS_ERROR, 404, INTENTIONAL),
        (7, PICKS_SUCCESS, 200, {"rootStep1": SUCCESS, "rootStep2": INTENTIONAL}),
        (8, PICKS_SUCCESS, 404, INTENTIONAL),
        (9, {"instances": [1]}, 200, SUCCESS),
        (10, {"instances": [1]}, 404, INTENTIONAL),
    ],
)
def test_the_scenarios_of_kserve_s_tests_answer_as_there(
    server: Server, number: int, body: Any, status: int, answer: Any
) -> None:
    found = ask(server, f"scenario-{number}", body)
    assert (found.status_code, found.json()) == (status, answer)
    assert found.headers["content-type"].startswith("application/json")


def test_a_graph_is_asked_at_its_host_too(server: Server) -> None:
    wait_ready(server, "scenario-2")
    found = server.get(f"{GRAPHS}/scenario-2").json()
    host = {"host": "scenario-2-default.example.com"}
    answer = server.post("/", {"instances": [1]}, headers=host)
    assert (answer.status_code, answer.json()) == (200, SUCCESS), found
    assert server.get("/readyz", headers=host).status_code == 200
    assert server.get("/", headers=host).status_code == 405


def test_real_models_chained_answer_as_the_last_one_does(server: Server) -> None:
    answer = ask(server, "model-chainer", {"instances": ROWS})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": [0, 1, 2]}


def test_a_graph_of_models_speaks_v2_and_grpc(server: Server) -> None:
    wait_ready(server, "model-chainer")
    answer = server.infer("model-chainer", ROWS)
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    assert output["data"] == [0, 1, 2]
    raw = ask(server, "model-chainer", json.loads(answer.request.content))
    assert raw.json()["outputs"][0]["data"] == [0, 1, 2]
    assert grpc_data(server, "model-chainer") == [0, 1, 2]


def grpc_data(server: Server, name: str) -> list[int]:
    import grpc
    import numpy as np

    from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse

    message = ModelInferRequest(model_name=name)
    rows = np.asarray(ROWS, "<f8")
    message.inputs.add(name="input-0", datatype="FP64", shape=rows.shape)
    message.raw_input_contents.append(rows.tobytes())
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = ModelInferResponse.FromString(call(message.SerializeToString(), timeout=30))
    output = answer.outputs[0]
    if answer.raw_output_contents:
        kind = {"INT64": "<i8", "INT32": "<i4"}[output.datatype]
        return list(np.frombuffer(answer.raw_output_contents[0], kind))
    return list(output.contents.int64_contents or output.contents.int_contents)


def test_an_answer_becomes_the_next_request(server: Server) -> None:
    assert ask(server, "mapped", {"instances": ROWS}).json() == {"predictions": [1, 2, 3]}


def test_an_ensemble_of_models_has_all_answers(server: Server) -> None:
    one = {"predictions": [0, 1, 2]}
    assert ask(server, "models", {"instances": ROWS}).json() == {"a": one, "b": one}


def test_a_sequence_ends_with_200_where_its_condition_does_not_hold(
    server: Server, services: Services
) -> None:
    assert ask(server, "gated", {"instances": ROWS[:1]}).json() == {"predictions": [0]}
    assert ask(server, "gated", {"instances": ROWS}).json() == SUCCESS


def test_a_wrong_request_is_refused_with_the_step_s_name(server: Server) -> None:
    answer = ask(server, "model-chainer", {"instances": [[1.0]]})
    assert answer.status_code == 400
    assert "step 'root.sklearn'" in answer.json()["error"]


def test_an_address_is_posted_the_body_as_it_is(server: Server) -> None:
    headers = {"traceparent": "00-1-2-01", "authorization": "Bearer x", "x-mine": "1"}
    body = b'{"any":  "thing"}'
    seen = ask(server, "addressed", body, headers=headers).json()
    assert (seen["path"], seen["body"]) == ("/echo/deep?q=1", body.decode())
    assert seen["headers"]["traceparent"] == "00-1-2-01"
    assert not {"authorization", "x-mine"} & seen["headers"].keys()
    seen = ask(server, "headed", body, headers=headers).json()
    assert (seen["headers"]["authorization"], seen["headers"]["x-mine"]) == ("Bearer x", "1")


def test_a_graph_may_ask_a_graph(server: Server) -> None:
    assert ask(server, "over-graph", {"instances": [1]}).json() == {"0": SUCCESS}


def test_a_step_that_takes_too_long_is_given_up(server: Server) -> None:
    wait_ready(server, "hasty")
    begin_s = time.monotonic()
    answer = ask(server, "hasty", {"instances": [1]})
    assert answer.status_code == 504, answer.text
    assert "step 'root.0'" in answer.json()["error"]
    assert time.monotonic() - begin_s < 5


def test_a_client_that_leaves_ends_the_work_downstream(server: Server, services: Services) -> None:
    wait_ready(server, "patient")
    services.left.clear()
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.url}/serving/default/patient", json={}, timeout=0.5)
    assert services.left.wait(3)


def test_a_graph_waits_for_what_it_asks_and_says_so(server: Server) -> None:
    wait_until(lambda: ready_of(server, "waiting").get("status") == "False", 60)
    assert "absent" in ready_of(server, "waiting").get("message", "")
    assert server.post("/serving/default/waiting", {"instances": [1]}).status_code in (404, 503)


def test_a_graph_is_replaced_between_two_requests(server: Server) -> None:
    wait_ready(server, "scenario-1")
    place = f"{GRAPHS}/changing"
    before = graph("changing", {"root": node("Sequence", GOOD)})
    assert server.post(GRAPHS, before).status_code == 201
    assert ask(server, "changing", {"instances": [1]}).json() == SUCCESS
    changed = server.get(place).json()
    changed["spec"]["nodes"]["root"] = node("Sequence", BAD)
    assert server.put(place, changed).status_code == 200
    path = "/serving/default/changing"
    wait_until(lambda: server.post(path, {"instances": [1]}).status_code == 404, 30)
    assert server.post(path, {"instances": [1]}).json() == INTENTIONAL
    assert server.delete(place).status_code == 200
    wait_until(lambda: "detail" not in server.post(path, {"instances": [1]}).json(), 30)


def test_a_graph_that_cannot_be_meant_is_refused_with_the_path(server: Server) -> None:
    loop = {
        "root": node("Sequence", {"nodeName": "x"}),
        "x": node("Ensemble", {"nodeName": "root"}),
    }
    answer = server.post(GRAPHS, graph("loop", loop))
    assert answer.status_code == 422, answer.text
    assert "leads in a circle: root -> x -> root" in answer.text
    assert server.get(f"{GRAPHS}/loop").status_code == 404
