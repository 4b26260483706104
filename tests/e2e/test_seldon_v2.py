"""Seldon v2's documented pipelines and experiments answer as its documentation says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.manifests_seldon_v2 import (
    NAMED,
    PIPELINES,
    experiment_manifest,
    model_manifests,
    pipeline_manifests,
    write_models,
)
from tests.e2e.server import Server, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

API = "/apis/mlops.seldon.io/v1alpha1/namespaces/default"
COUNT = list(range(1, 17))
TWICE = [2 * each for each in COUNT]


def ints(name: str, values: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": "INT32", "shape": [1, len(values)], "data": values}


def floats(name: str) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]}


SIMPLE = [ints("INPUT0", COUNT), ints("INPUT1", COUNT)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("seldon-v2")
    write_models(folder)
    manifests = folder / "all.yaml"
    manifests.write_text(f"{model_manifests(folder)}---\n{pipeline_manifests()}")
    with serving("-f", str(manifests), "--state-dir", str(folder / "state")) as running:
        for kind, names in (("models", NAMED), ("pipelines", PIPELINES)):
            for name in names:
                wait_ready(running, kind, name)
        yield running


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
    ends_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < ends_s, f"not in {timeout_s} s: {what}"
        time.sleep(0.05)


def wait_ready(server: Server, kind: str, name: str) -> None:
    status: dict[str, Any] = {}

    def is_ready() -> bool:
        status.update(server.get(f"{API}/{kind}/{name}").json().get("status") or {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
        return conditions.get("Ready") == "True"

    try:
        wait_until(is_ready, f"{kind}/{name} is ready")
    except AssertionError as error:
        raise AssertionError(f"{error}: {status}") from error


def infer(server: Server, header: str, inputs: list[dict[str, Any]], **headers: str) -> Any:
    # What the path calls the model does not matter, as with Seldon.
    answer = server.post(
        "/v2/models/whatever/infer",
        {"inputs": inputs},
        headers={"Seldon-Model": header, **headers},
    )
    assert answer.status_code == 200, answer.text
    return answer


def outputs(answer: httpx.Response) -> list[tuple[str, list[Any]]]:
    return [(each["name"], flat(each["data"])) for each in answer.json()["outputs"]]


def flat(data: Any) -> list[Any]:
    return [leaf for each in data for leaf in flat(each)] if isinstance(data, list) else [data]


@pytest.fixture
def experiment(server: Server) -> Iterator[Callable[[str], None]]:
    started: list[str] = []

    def start(name: str) -> None:
        answer = server.post(f"{API}/experiments", yaml.safe_load(experiment_manifest(name)))
        assert answer.is_success, answer.text
        started.append(name)
        wait_ready(server, "experiments", name)

    yield start
    for name in started:
        server.delete(f"{API}/experiments/{name}")
        wait_until(
            lambda header=f"{name}.experiment": (
                server.post(
                    "/v2/models/x/infer",
                    {"inputs": [floats("INPUT")]},
                    headers={"Seldon-Model": header},
                ).status_code
                == 404
            ),
            f"{name} is gone",
        )


# Pipelines.


@pytest.mark.parametrize("name", ["tfsimples", "join", "joincheck"])
def test_chains_and_joins(server: Server, name: str) -> None:
    answer = infer(server, f"{name}.pipeline", SIMPLE)
    assert outputs(answer) == [("OUTPUT0", TWICE), ("OUTPUT1", TWICE)]
    assert answer.headers["x-seldon-route"] == f":{name}.pipeline:"


def test_a_steps_inputs_can_be_taken_too(server: Server) -> None:
    found = outputs(infer(server, "tfsimples-input.pipeline", SIMPLE))
    assert found == [("OUTPUT0", COUNT), ("OUTPUT1", COUNT)]


@pytest.mark.parametrize(("choice", "data"), [(0, [10, 20, 30, 40]), (1, [11, 12, 13, 14])])
def test_the_absence_of_a_tensor_routes(server: Server, choice: int, data: list[int]) -> None:
    chosen = {"name": "CHOICE", "datatype": "INT32", "shape": [1], "data": [choice]}
    inputs = [chosen, floats("INPUT0"), floats("INPUT1")]
    assert outputs(infer(server, "tfsimple-conditional.pipeline", inputs)) == [("OUTPUT", data)]


def test_tensors_of_the_request_go_to_different_steps(server: Server) -> None:
    found = outputs(infer(server, "pipeline-inputs.pipeline", [floats("INPUT0"), floats("INPUT1")]))
    assert [values for _, values in found] == [[10, 20, 30, 40], [11, 12, 13, 14]]


@pytest.mark.parametrize(
    ("trigger", "data"),
    [("ok1", [10, 20, 30, 40]), ("ok2", [10, 20, 30, 40]), ("ok3", [11, 12, 13, 14])],
)
def test_triggers_choose_the_step(server: Server, trigger: str, data: list[int]) -> None:
    given = {"name": trigger, "datatype": "FP32", "shape": [1], "data": [1]}
    inputs = [given, floats("INPUT")]
    assert outputs(infer(server, "trigger-joins.pipeline", inputs)) == [("OUTPUT", data)]


def test_a_cycle_goes_round_until_it_is_told_to_stop(server: Server) -> None:
    start = {"name": "output", "datatype": "INT32", "shape": [1], "data": [0]}
    found = dict(outputs(infer(server, "counter-pipeline.pipeline", [start])))
    assert (found["output"], found["stop"]) == ([10], [""])


def test_a_step_that_fails_is_named(server: Server) -> None:
    large = [ints("INPUT0", [100] * 16), ints("INPUT1", [100] * 16)]
    answer = server.post(
        "/v2/models/joincheck/infer",
        {"inputs": large},
        headers={"Seldon-Model": "joincheck.pipeline"},
    )
    assert answer.status_code == 400
    assert "check" in answer.json()["error"]
    assert "an outlier" in answer.json()["error"]


def test_a_pipeline_answers_by_its_plain_name_too(server: Server) -> None:
    answer = server.post("/v2/models/tfsimples/infer", {"inputs": SIMPLE})
    assert outputs(answer)[0] == ("OUTPUT0", TWICE)
    ready = server.get("/v2/models/x/ready", headers={"Seldon-Model": "tfsimples.pipeline"})
    assert ready.status_code == 200


def test_an_unknown_pipeline_is_not_found(server: Server) -> None:
    answer = server.post(
        "/v2/models/x/infer", {"inputs": SIMPLE}, headers={"Seldon-Model": "nothing.pipeline"}
    )
    assert answer.status_code == 404


# Pipelines of pipelines.


def edges(server: Server, pipeline: str) -> dict[str, list[dict[str, Any]]]:
    found = server.get(f"/salver/v1/graphs/default/{pipeline}/edges")
    assert found.status_code == 200, found.text
    return {topic["name"]: topic["messages"] for topic in found.json()["topics"]}


@pytest.mark.parametrize("name", ["tfsimple-extended", "tfsimple-extended-step"])
def test_a_pipeline_takes_what_another_answers(server: Server, name: str) -> None:
    infer(server, "tfsimple.pipeline", SIMPLE, **{"x-request-id": f"of-{name}"})

    def has_come() -> bool:
        messages = edges(server, name)[f"seldon.default.pipeline.{name}.outputs"]
        return any(each["runId"] == f"of-{name}" for each in messages)

    wait_until(has_come, "the request has come through", 10)


def test_a_pipeline_joins_what_two_others_answer_to_one_request(server: Server) -> None:
    infer(server, "tfsimple.pipeline", SIMPLE, **{"x-request-id": "combined"})
    topic = "seldon.default.model.tfsimple2.inputs"

    def has_come() -> bool:
        return any(
            each["runId"] == "combined" for each in edges(server, "tfsimple-combined")[topic]
        )

    wait_until(has_come, "the request has come through", 10)


def test_a_pipeline_that_takes_others_data_answers_requests_too(server: Server) -> None:
    found = outputs(infer(server, "tfsimple-extended.pipeline", SIMPLE))
    assert found[0] == ("OUTPUT0", TWICE)


# Experiments.


def routes(server: Server, header: str, count: int = 60, **headers: str) -> Counter[str]:
    answers = [infer(server, header, [floats("INPUT")], **headers) for _ in range(count)]
    return Counter(each.headers["x-seldon-route"] for each in answers)


def test_an_experiment_on_models(server: Server, experiment: Callable[[str], None]) -> None:
    experiment("add1020")
    for header in ("add10", "add1020.experiment"):
        found = routes(server, header)
        assert set(found) == {":add10_1:", ":add20_1:"}
        assert min(found.values()) > 10
    assert set(routes(server, "add10", 20, **{"x-seldon-route": ":add20_1:"})) == {":add20_1:"}
    answers = [
        outputs(server.post("/v2/models/add10/infer", {"inputs": [floats("INPUT")]}))[0][1]
        for _ in range(40)
    ]
    assert {tuple(each) for each in answers} == {(11, 12, 13, 14), (21, 22, 23, 24)}
    # A pipeline's step asks as callers do.
    found = {
        tuple(outputs(infer(server, "pipeline-add10.pipeline", [floats("INPUT")]))[0][1])
        for _ in range(40)
    }
    assert found == {(11, 12, 13, 14), (21, 22, 23, 24)}


def test_an_experiment_on_pipelines(server: Server, experiment: Callable[[str], None]) -> None:
    experiment("addmul10")
    found = routes(server, "pipeline-add10.pipeline")
    assert set(found) == {":pipeline-add10.pipeline:", ":pipeline-mul10.pipeline:"}
    route = ":mul10_1: :pipeline-mul10.pipeline:"
    sticky = infer(
        server, "pipeline-add10.pipeline", [floats("INPUT")], **{"x-seldon-route": route}
    )
    assert outputs(sticky)[0][1] == [10, 20, 30, 40]


def test_a_mirror_gets_copies(server: Server, experiment: Callable[[str], None]) -> None:
    experiment("addmul10-mirror")
    for _ in range(10):
        answer = infer(
            server, "pipeline-add10.pipeline", [floats("INPUT")], **{"x-request-id": "mirrored"}
        )
        assert outputs(answer)[0][1] == [11, 12, 13, 14]
    wait_until(
        lambda: bool(
            edges(server, "pipeline-mul10")["seldon.default.pipeline.pipeline-mul10.outputs"]
        ),
        "the mirror has answered",
        10,
    )


def test_an_experiment_over_grpc_tells_its_route(
    server: Server, experiment: Callable[[str], None]
) -> None:
    grpc = pytest.importorskip("tritonclient.grpc")
    import numpy as np

    experiment("add1020")
    client = grpc.InferenceServerClient(server.grpc)
    tensor = grpc.InferInput("INPUT", [4], "FP32")
    tensor.set_data_from_numpy(np.array([1, 2, 3, 4], dtype=np.float32))
    found = {
        tuple(client.infer("x", [tensor], headers={"seldon-model": "add10"}).as_numpy("OUTPUT"))
        for _ in range(40)
    }
    assert found == {(11, 12, 13, 14), (21, 22, 23, 24)}
    client.close()


# Bad input.


def test_a_cycle_is_refused_with_its_path(server: Server) -> None:
    cycle = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "cycle"},
        "spec": {
            "steps": [{"name": "a", "inputs": ["b"]}, {"name": "b", "inputs": ["a"]}],
            "output": {"steps": ["b"]},
        },
    }
    answer = server.post(f"{API}/pipelines", cycle)
    assert answer.status_code == 422
    assert "a -> b -> a" in answer.text


def test_tensors_that_do_not_fit_keep_a_pipeline_from_being_ready(server: Server) -> None:
    misfit = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "misfit"},
        "spec": {
            "steps": [{"name": "tfsimple1"}, {"name": "mul10", "inputs": ["tfsimple1"]}],
            "output": {"steps": ["mul10"]},
        },
    }
    assert server.post(f"{API}/pipelines", misfit).is_success

    def is_told() -> bool:
        status = server.get(f"{API}/pipelines/misfit").json().get("status") or {}
        return "'INPUT'" in str(status)

    wait_until(is_told, "the status names the tensor", 20)
    server.delete(f"{API}/pipelines/misfit")
