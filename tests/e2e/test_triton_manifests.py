"""Models of a Triton repository, declared: InferenceServices of KServe, TRITON_SERVER of Seldon."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2] / "examples" / "triton"
VALUES = {"name": "VALUES", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.5]}


def service(name: str, predictor: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("declared")
    alone = folder / "alone"
    shutil.copytree(REPOSITORY / "doubled", alone / "doubled")
    model = {"modelFormat": {"name": "triton"}, "storageUri": str(alone)}
    node = {"name": "doubled", "implementation": "TRITON_SERVER", "modelUri": str(REPOSITORY)}
    deployment = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "sdep"},
        "spec": {"protocol": "v2", "predictors": [{"name": "p", "graph": node}]},
    }
    objects = [
        service("own-name", {"model": model}),
        service("labelled", {"triton": {"storageUri": str(REPOSITORY)}}),
        deployment,
    ]
    file = folder / "triton.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    with serving("-f", str(file)) as running:
        names = ("own-name", "labelled", "sdep")
        ready = [f"/serving/default/{each}/v2/models/{each}/ready" for each in names]
        wait_until(lambda: all(running.get(each).is_success for each in ready))
        yield running


def doubled(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    data: list[float] = output["data"]
    return data


@pytest.mark.parametrize("name", ["own-name", "doubled"])
def test_a_service_answers_by_its_name_and_by_the_one_in_the_repository(
    server: Server, name: str
) -> None:
    host = {"Host": "own-name.default.example.com"}
    with httpx.Client(base_url=server.url, headers=host) as client:
        answer = client.post(f"/v2/models/{name}/infer", json={"inputs": [VALUES]})
        assert doubled(answer) == [2.0, 5.0]
        assert client.get(f"/v2/models/{name}/ready").status_code == 200
        assert client.get(f"/v2/models/{name}").json()["outputs"][0]["name"] == "DOUBLED"


def test_its_name_in_the_repository_means_nothing_at_the_server_s_own_address(
    server: Server,
) -> None:
    answer = server.post("/v2/models/doubled/infer", {"inputs": [VALUES]})
    assert answer.status_code == 404


def test_of_a_repository_of_several_a_service_is_the_one_of_its_name(server: Server) -> None:
    numbers = {"name": "NUMBERS", "shape": [1, 2], "datatype": "FP32", "data": [3.0, -1.0]}
    answer = server.post("/v2/models/labelled/infer", {"inputs": [numbers]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["sdep", "doubled"])
def test_a_seldon_deployment_s_node_is_the_model_of_its_name(server: Server, name: str) -> None:
    path = f"/seldon/default/sdep/v2/models/{name}"
    assert doubled(server.post(f"{path}/infer", {"inputs": [VALUES]})) == [2.0, 5.0]
    assert server.get(f"{path}/ready").status_code == 200
