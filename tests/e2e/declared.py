"""Declared services on a running server: their models, their manifests, their status."""

from __future__ import annotations

import shutil
import string
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from tests import models
from tests.e2e.server import Server

KSERVE = "serving.kserve.io/v1beta1"
OWN = Path(__file__).parent / "manifests"
PUBLISHED = Path(__file__).parents[1] / "manifests" / "kserve"

Json = dict[str, Any]


class Flowers:
    """Models of iris flowers in folders laid out like the buckets of KServe's examples.

    `model` answers 0, 1, 2; `model-2` answers 10, 11, 12, so that it can be told which one
    answered. `predict` has the libraries' own answers by path below the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows, self.classes = models.iris()
        self.predict: dict[str, models.Predict] = {}
        self._save("gs/models/sklearn/1.0/model/model.joblib", models.save_sklearn_lr)
        self._save("gs/models/sklearn/1.0/model-2/model.joblib", self._save_other)
        self._save("gs/models/xgboost/iris/model.bst", self._save_xgboost)
        self._save("gs/models/lightgbm/iris/model.bst", self._save_lightgbm)
        self._save("gs/onnx/style/model.onnx", self._save_onnx)
        first = folder / "gs/models/sklearn/1.0/model/model.joblib"
        for copy in ("s3/sklearn/iris", "pvc/iris", "web/iris", "gs/sklearn/mms/lr_model"):
            (folder / copy).mkdir(parents=True)
            shutil.copy(first, folder / copy / "model.joblib")
        shutil.copytree(folder / "gs/models/sklearn/1.0/model", folder / "gs/models/sklearn/iris")

    @property
    def maps(self) -> list[str]:
        """What `salver serve` is told, for every URI to be found in the folder."""
        found: list[str] = []
        for prefix, target in (
            ("gs://kfserving-examples", "gs"),
            ("gs://kfserving-samples", "gs"),
            ("gs://seldon-models", "gs"),
            ("s3://models", "s3"),
            ("pvc://models", "pvc"),
            ("https://example.com/models", "web"),
        ):
            found += ["--map", f"{prefix}={self.folder / target}"]
        return found

    def _save(self, name: str, save: Callable[[Path], models.Predict]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.predict[name] = save(path)

    def _save_other(self, path: Path) -> models.Predict:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=500).fit(self.rows, self.classes + 10)
        joblib.dump(model, path)
        return model.predict

    def _save_xgboost(self, path: Path) -> models.Predict:
        import warnings

        import xgboost

        parameters = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
        booster = xgboost.train(parameters, xgboost.DMatrix(self.rows, self.classes), 10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            booster.save_model(path.with_suffix(".json"))
        path.with_suffix(".json").rename(path)
        return lambda rows: booster.predict(xgboost.DMatrix(rows))

    def _save_lightgbm(self, path: Path) -> models.Predict:
        import lightgbm

        parameters = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
        booster = lightgbm.train(parameters, lightgbm.Dataset(self.rows, self.classes), 10)
        booster.save_model(path)
        return lambda rows: np.asarray(booster.predict(rows))

    def _save_onnx(self, path: Path) -> models.Predict:
        return models.save_onnx_mlp(path, (4, 8, 3))


def manifest_folder(target: Path, published: tuple[str, ...], **places: str) -> Path:
    """A folder of manifests to serve: published ones as they are, our own with places filled in."""
    target.mkdir()
    for name in published:
        shutil.copy(PUBLISHED / name, target / name)
    for path in OWN.glob("*.yaml"):
        text = string.Template(path.read_text())
        filled = text.substitute(places, PYTHON=sys.executable, MANIFESTS=str(OWN))
        (target / path.name).write_text(filled)
    return target


def sklearn_service(
    name: str, uri: str, annotations: Mapping[str, str] | None = None, **predictor: Any
) -> Json:
    """An InferenceService of one scikit-learn model."""
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": uri}
    return {
        "apiVersion": KSERVE,
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": dict(annotations or {})},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def service_path(name: str, namespace: str = "default") -> str:
    return f"/apis/{KSERVE}/namespaces/{namespace}/inferenceservices/{name}"


def apply(server: Server, obj: Json) -> None:
    """Creates the service, or replaces it. Returns once it is acknowledged."""
    metadata = {key: each for key, each in obj["metadata"].items() if key != "resourceVersion"}
    obj = {**obj, "metadata": metadata}
    path = service_path(metadata["name"], metadata.get("namespace", "default"))
    if server.get(path).status_code == 404:
        answer = server.post(path.rpartition("/")[0], obj)
    else:
        answer = server.put(path, obj)
    assert answer.is_success, answer.text


def status_of(server: Server, name: str, namespace: str = "default") -> Json:
    answer = server.get(service_path(name, namespace))
    assert answer.status_code == 200, answer.text
    found: Json = answer.json().get("status", {})
    return found


def condition(status: Json, kind: str = "Ready") -> Json:
    """The condition of that type; empty if there is none."""
    return next((each for each in status.get("conditions", []) if each["type"] == kind), {})


def wait_status(
    server: Server,
    name: str,
    is_so: Callable[[Json], bool],
    *,
    namespace: str = "default",
    timeout_s: float = 60.0,
) -> Json:
    """The status once it is so."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so(status := status_of(server, name, namespace)):
        assert time.monotonic() < deadline_s, f"{name} was not so in {timeout_s} s: {status}"
        time.sleep(0.02)
    return status


def is_ready(status: Json) -> bool:
    return condition(status).get("status") == "True"


def is_settled(status: Json) -> bool:
    """The newest revision serves as the manifest says."""
    return is_ready(status) and condition(status, "LatestDeploymentReady")["status"] == "True"


def traffic_of(status: Json) -> dict[str, int]:
    """Percents of the predictor's revisions, by number."""
    targets = status.get("components", {}).get("predictor", {}).get("traffic", [])
    return {each["revisionName"][-5:].lstrip("0"): each["percent"] for each in targets}
