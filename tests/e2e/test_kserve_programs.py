"""Programs written with the `kserve` SDK, run unchanged as commands of InferenceServices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.server import Server, serving, wait_until
from tests.e2e.test_clients_kserve import kserve_python as kserve_python
from tests.models import iris, save_sklearn_lr

pytestmark = [pytest.mark.e2e, pytest.mark.kserve, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
ROWS = iris()[0][[0, 60, 120]]
TENFOLD = [[value * 10 for value in row] for row in ROWS.tolist()]


def program(python: Path, name: str, *args: str) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "example/none:1",
        "command": [str(python), name],
        "workingDir": str(HERE),
        "args": list(args),
    }
    return {"containers": [container]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, kserve_python: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("programs")
    save_sklearn_lr(folder / "iris.joblib")
    sklearn = {"modelFormat": {"name": "sklearn"}, "storageUri": str(folder / "iris.joblib")}
    model = {"model": sklearn}
    transformer = "kserve_transformer.py"
    specs = {
        "tenfold": {"predictor": model, "transformer": program(kserve_python, transformer)},
        "tenfold-v2": {
            "predictor": model,
            "transformer": program(
                kserve_python, transformer, "--predictor_protocol", "v2", "--http_port=8080"
            ),
        },
        "summed": {"predictor": program(kserve_python, "kserve_predictor.py")},
    }
    path = folder / "services.yaml"
    path.write_text(
        yaml.safe_dump_all(
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": name},
                "spec": spec,
            }
            for name, spec in specs.items()
        )
    )
    with serving("-f", str(path), "--state-dir", str(folder / "state")) as running:
        yield running


def wait_ready(server: Server, name: str) -> None:
    wait_until(lambda: server.get(f"/v2/models/{name}/ready").status_code == 200, 120)


def test_a_transformer_of_the_sdk_asks_its_predictor(server: Server) -> None:
    wait_ready(server, "tenfold")
    answer = server.post("/v1/models/tenfold:predict", {"instances": TENFOLD})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": [{"class": each} for each in (0, 1, 2)]}


def test_a_transformer_of_the_sdk_speaks_v2_to_its_predictor(server: Server) -> None:
    wait_ready(server, "tenfold-v2")
    answer = server.infer("tenfold-v2", TENFOLD)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [0, 1, 2]


def test_a_predictor_of_the_sdk_serves_on_a_port_of_its_own(server: Server) -> None:
    wait_ready(server, "summed")
    answer = server.post("/v1/models/summed:predict", {"instances": [[1, 2], [3, 4]]})
    assert answer.json() == {"predictions": [3, 7]}
    # Its own pages are its own.
    assert server.get("/serving/default/summed/v2/health/live").json() == {"live": True}
    assert "request_predict_seconds" in server.get("/serving/default/summed/metrics").text
