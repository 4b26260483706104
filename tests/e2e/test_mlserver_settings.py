"""MLServer's folders as its documentation lays them out, served as they are."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.server import Server, command, environment, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CUSTOM = """
class Doubler:
    def load(self):
        return True

    def predict(self, x):
        return x * 2
"""
DERIVED = """
from typing import List

import numpy as np
from mlserver import MLModel
from mlserver.codecs import decode_args


class Lengths(MLModel):
    async def load(self) -> bool:
        return True

    @decode_args
    async def predict(self, questions: List[str], context: List[str]) -> np.ndarray:
        return np.array([len(q) + len(c) for q, c in zip(questions, context)])
"""


def write(folder: Path, settings: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A folder with a joblib and an XGBoost file; the rows, and the classifier itself."""
    import joblib
    import xgboost
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("trained")
    rows, classes = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(rows, classes)
    joblib.dump(model, folder / "model.joblib")
    booster = xgboost.train(
        {"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(rows, classes), 3
    )
    booster.save_model(folder / "model.json")
    return folder, rows[:5], model


@pytest.fixture(scope="module")
def server(
    trained: tuple[Path, Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Several models in folders of their own, as in MLServer's example of multi-model serving."""
    folder, _, _ = trained
    root = tmp_path_factory.mktemp("mms")
    iris = write(
        root / "models" / "iris",
        {
            "name": "iris-sklearn",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "max_batch_size": 8,
            "max_batch_time": 0.001,
            "parameters": {"uri": "./model.joblib", "version": "v0.1.0"},
        },
    )
    (iris / "model.joblib").write_bytes((folder / "model.joblib").read_bytes())
    proba = write(
        root / "models" / "proba",
        {
            "implementation": "mlserver_sklearn.SKLearnModel",
            "outputs": [{"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]}],
            "platform": "sklearn",
        },
    )
    (proba / "model.joblib").write_bytes((folder / "model.joblib").read_bytes())
    boosted = write(
        root / "models" / "boosted",
        {
            "name": "boosted",
            "implementation": "mlserver_xgboost.XGBoostModel",
            "parameters": {"uri": "./model.json", "version": "v0.1.0"},
        },
    )
    (boosted / "model.json").write_bytes((folder / "model.json").read_bytes())
    custom = write(
        root / "models" / "custom",
        {
            "name": "doubler",
            "implementation": "models.Doubler",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "parallel_workers": 2,
        },
    )
    (custom / "models.py").write_text(CUSTOM)
    settings = {"debug": "true", "http_port": 1, "host": "127.0.0.1", "metrics_port": 9}
    (root / "settings.json").write_text(json.dumps(settings))
    with serving(str(root), "--state-dir", str(root / "state")) as running:
        yield running


def rows_of(answer: Any) -> Any:
    (output,) = answer.json()["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def test_a_model_has_the_name_and_version_of_its_settings(
    server: Server, trained: tuple[Path, Any, Any]
) -> None:
    _, rows, model = trained
    tensor = {"name": "predict", "shape": [5, 4], "datatype": "FP32", "data": rows.tolist()}
    for path in ("iris-sklearn", "iris-sklearn/versions/v0.1.0"):
        answer = server.post(f"/v2/models/{path}/infer", {"inputs": [tensor]})
        assert rows_of(answer).tolist() == model.predict(rows).tolist()
    assert server.get("/v2/models/iris-sklearn").json()["versions"] == ["v0.1.0"]


def test_a_model_without_a_name_is_called_as_its_folder_and_gives_the_outputs_declared(
    server: Server, trained: tuple[Path, Any, Any]
) -> None:
    _, rows, model = trained
    answer = server.infer("proba", rows.tolist())
    assert answer.json()["outputs"][0]["name"] == "predict_proba"
    np.testing.assert_allclose(rows_of(answer), model.predict_proba(rows))


def test_a_booster_is_found_by_its_uri(server: Server, trained: tuple[Path, Any, Any]) -> None:
    _, rows, _ = trained
    assert rows_of(server.infer("boosted", rows.tolist())).tolist() == [0, 0, 0, 0, 0]


def test_a_plain_class_has_the_inputs_and_workers_of_its_settings(server: Server) -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    answer = server.post("/v2/models/doubler/infer", {"inputs": [tensor]})
    assert rows_of(answer).tolist() == [[2, 4]]
    (declared,) = server.get("/v2/models/doubler").json()["inputs"]
    assert (declared["name"], declared["datatype"], declared["shape"]) == ("x", "FP32", [-1, 2])
    assert len(server.workers()) == 5


def test_flags_win_over_settings_json_which_says_what_has_no_meaning_here(server: Server) -> None:
    log = server.log.read_text()
    assert server.port != 1
    assert log.count("metrics_port: has no meaning on this backend") == 1


def test_one_settings_file_can_be_given_with_f(trained: tuple[Path, Any, Any]) -> None:
    folder, rows, model = trained
    settings = {
        "name": "given",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "model.joblib")},
    }
    file = write(folder / "given", settings) / "model-settings.json"
    with serving("-f", str(file), "--state-dir", str(folder / "state")) as running:
        answer = running.infer("given", rows.tolist())
        assert rows_of(answer).tolist() == model.predict(rows).tolist()


def failure(folder: Path) -> str:
    done = subprocess.run(
        command("serve", str(folder), "--http-port", "0", "--grpc-port", "-1"),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 1
    return done.stderr


def test_a_derived_class_without_mlserver_names_the_remedy(tmp_path: Path) -> None:
    write(tmp_path, {"name": "lengths", "implementation": "models.Lengths"})
    (tmp_path / "models.py").write_text(DERIVED)
    assert "add mlserver to a requirements.txt beside model-settings.json" in failure(tmp_path)


def test_a_runtime_that_is_not_here_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"name": "m", "implementation": "mlserver_mlflow.MLflowRuntime"})
    text = failure(tmp_path)
    assert "mlserver_mlflow.MLflowRuntime is no runtime that Salver has" in text


def test_a_derived_class_runs_with_mlserver_in_its_own_environment(tmp_path: Path) -> None:
    folder = write(tmp_path / "lengths", {"name": "lengths", "implementation": "models.Lengths"})
    (folder / "models.py").write_text(DERIVED)
    (folder / "requirements.txt").write_text("mlserver\n")
    state = ("--state-dir", str(tmp_path / "state"))
    with serving(str(tmp_path), *state, start_timeout_s=240) as running:
        inputs = [
            {"name": name, "shape": [2], "datatype": "BYTES", "data": data}
            for name, data in (("questions", ["a", "bc"]), ("context", ["d", ""]))
        ]
        answer = running.post("/v2/models/lengths/infer", {"inputs": inputs})
        assert answer.status_code == 200, answer.text
        assert rows_of(answer).ravel().tolist() == [2, 2]
        assert running.get("/v2/models/lengths").json()["platform"] == "mlserver"
