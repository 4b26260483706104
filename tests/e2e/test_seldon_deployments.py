"""SeldonDeployments, served: classes, programs, packaged servers, canaries, feedback."""

from __future__ import annotations

import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.server import Server, serving, wait_until
from tests.models import iris, save_sklearn_lr

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
ROWS = iris()[0][[0, 60, 120]].tolist()
API = "/apis/machinelearning.seldon.io/v1/namespaces/default/seldondeployments"


def deployment(name: str, *predictors: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": name},
        "spec": {"predictors": list(predictors), **spec},
    }


def program(name: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "seldon_program.py")]
    return {"name": name, "command": command}


def written(name: str) -> dict[str, Any]:
    text = string.Template((HERE / "seldon" / f"{name}.yaml").read_text())
    found: dict[str, Any] = yaml.safe_load(text.substitute(FOLDER=str(HERE)))
    return found


def packaged(uri: str, *parameters: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "iris",
        "implementation": "SKLEARN_SERVER",
        "modelUri": uri,
        "parameters": list(parameters),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("seldon")
    save_sklearn_lr(folder / "iris.joblib")
    uri = str(folder / "iris.joblib")
    method = {"name": "method", "value": "predict", "type": "STRING"}
    routed = {
        "name": "router",
        "type": "ROUTER",
        "children": [
            {
                "name": "one",
                "type": "MODEL",
                "parameters": [{"name": "a", "value": "1", "type": "INT"}],
            },
            {"name": "simple", "implementation": "SIMPLE_MODEL"},
        ],
    }
    pod = {"spec": {"containers": [program("router"), program("one")]}}
    simple = {"name": "m", "implementation": "SIMPLE_MODEL"}
    double = {"name": "m", "type": "MODEL"}
    double_pod = {"spec": {"containers": [program("m")]}}
    objects = [
        written("five"),
        written("tree"),
        deployment("probable", {"name": "p", "graph": packaged(uri)}),
        deployment("classes", {"name": "p", "graph": packaged(uri, method)}),
        deployment("programs", {"name": "p", "graph": routed, "componentSpecs": [pod]}),
        deployment(
            "canary",
            {"name": "old", "graph": simple, "traffic": 50},
            {"name": "new", "graph": double, "componentSpecs": [double_pod], "traffic": 50},
        ),
    ]
    path = folder / "deployments.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    with serving("-f", str(path), "--state-dir", str(folder / "state")) as running:
        names = [each["metadata"]["name"] for each in objects]
        wait_until(lambda: all(state(running, each) == "Available" for each in names), 60)
        yield running


def state(server: Server, name: str) -> str:
    status = server.get(f"{API}/{name}").json().get("status", {})
    return str(status.get("state", ""))


def predict(server: Server, name: str, rows: Any) -> dict[str, Any]:
    answer = server.post(
        f"/seldon/default/{name}/api/v1.0/predictions", {"data": {"ndarray": rows}}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def feed_back(server: Server, name: str, rows: Any, response: Any, reward: float) -> None:
    body = {"request": {"data": {"ndarray": rows}}, "response": response, "reward": reward}
    answer = server.post(f"/seldon/default/{name}/api/v1.0/feedback", body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("first", "branch", "answer", "models"),
    [
        (1.0, 0, [[20.5, 40.5]], ["low"]),
        (50.0, 1, [[1500.5, 60.5]], ["high"]),
        (-1.0, -1, [[-24.5, 50.5]], ["low", "high"]),
        (0.0, -2, [[0.5, 20.5]], []),
    ],
)
def test_five_nodes_answer_by_the_branch_that_the_router_takes(
    server: Server, first: float, branch: int, answer: Any, models: list[str]
) -> None:
    found = predict(server, "five", [[first, 2.0]])
    assert found["data"]["ndarray"] == answer
    meta = found["meta"]
    assert meta["routing"]["choose"] == branch
    assert set(meta["requestPath"]) == {"scale", "choose", "shift", *models}
    assert meta["tags"]["scaled_by"] == 10.0
    assert meta["tags"]["is_shifted"] is True
    heard = {each for each in meta["tags"] if each.endswith("_heard")}
    assert heard == {"chooser_heard", *(f"{each}_heard" for each in models)}
    keys = {each["key"] for each in meta["metrics"]}
    assert keys >= {"scaled_total", *(f"{each}_reward" for each in models)}


def test_a_combiner_combines_a_router_s_answer_with_another_model_s(server: Server) -> None:
    found = predict(server, "tree", [[1.0, 2.0]])
    assert found["data"]["ndarray"] == [[15.5, 30.5]]
    assert set(found["meta"]["requestPath"]) == {
        "shift", "scale", "mean", "choose", "low", "steady",
    }  # fmt: skip


def test_feedback_reaches_exactly_the_nodes_on_the_path(server: Server) -> None:
    before = {key: tags(server, key) for key in (1.0, 50.0)}
    answer = predict(server, "five", [[50.0, 2.0]])
    feed_back(server, "five", [[50.0, 2.0]], answer, 1.0)
    after = {key: tags(server, key) for key in (1.0, 50.0)}
    assert after[50.0]["high_heard"] == before[50.0]["high_heard"] + 1
    assert after[50.0]["chooser_heard"] == before[50.0]["chooser_heard"] + 1
    assert after[1.0]["low_heard"] == before[1.0]["low_heard"]


def tags(server: Server, first: float) -> dict[str, Any]:
    found: dict[str, Any] = predict(server, "five", [[first, 2.0]])["meta"]["tags"]
    return found


def test_the_same_graph_answers_v1_and_v2(server: Server) -> None:
    v1 = server.post("/v1/models/five:predict", {"instances": [[1.0, 2.0]]})
    assert v1.json() == {"predictions": [[20.5, 40.5]]}
    v2 = server.infer("five", [[1.0, 2.0]]).json()
    assert [(each["shape"], each["data"]) for each in v2["outputs"]] == [([1, 2], [20.5, 40.5])]


def test_seldon_s_scikit_learn_server_gives_probabilities_unless_told_otherwise(
    server: Server,
) -> None:
    probable = predict(server, "probable", ROWS)["data"]["ndarray"]
    assert [len(row) for row in probable] == [3, 3, 3]
    assert all(abs(sum(row) - 1) < 1e-6 for row in probable)
    classes = predict(server, "classes", ROWS)["data"]["ndarray"]
    assert classes == [row.index(max(row)) for row in probable]


def test_programs_that_speak_seldon_s_protocol_are_nodes_like_others(server: Server) -> None:
    found = predict(server, "programs", [[0.0, 2.0]])
    assert found["data"]["ndarray"] == [[0.0, 4.0]]
    meta = found["meta"]
    assert meta["routing"]["router"] == 0
    assert meta["tags"]["node"] == "one"
    assert meta["tags"]["parameters"] == '[{"name": "a", "value": "1", "type": "INT"}]'
    other = predict(server, "programs", [[1.0, 2.0]])
    assert other["meta"]["routing"]["router"] == 1
    assert other["data"]["names"] == ["class0", "class1", "class2"]
    feed_back(server, "programs", [[0.0, 2.0]], found, 1.0)
    again = predict(server, "programs", [[0.0, 2.0]])
    assert again["meta"]["tags"]["heard"] == meta["tags"]["heard"] + 1


def test_a_program_s_error_is_the_caller_s_as_it_is(server: Server) -> None:
    answer = server.post("/seldon/default/programs/api/v1.0/predictions", {"strData": "no rows"})
    assert answer.status_code == 400
    assert answer.json()["status"]["info"] == "send an ndarray"


def test_predictors_share_the_requests(server: Server) -> None:
    widths = [len(predict(server, "canary", [[1.0, 2.0]])["data"]["ndarray"][0]) for _ in range(60)]
    assert 10 < widths.count(2) < 50
    assert set(widths) == {2, 3}


def test_a_deployment_that_cannot_be_carried_out_says_why(server: Server) -> None:
    graph = {"name": "m", "implementation": "TEMPO_SERVER", "modelUri": "gs://b/m"}
    answer = server.post(API, deployment("triton", {"name": "p", "graph": graph}))
    assert answer.is_success, answer.text
    wait_until(lambda: state(server, "triton") == "Failed")
    text = server.get(f"{API}/triton").text
    assert "salver has no runtime that stands in for TEMPO_SERVER" in text


def test_a_broken_deployment_is_refused_with_the_place_in_the_graph(server: Server) -> None:
    graph = {"name": "ab", "implementation": "RANDOM_ABTEST"}
    answer = server.post(API, deployment("broken", {"name": "p", "graph": graph}))
    assert answer.status_code == 422
    assert "spec.predictors[0].graph.children" in answer.text
    assert "RANDOM_ABTEST needs exactly two children, found 0" in answer.text
