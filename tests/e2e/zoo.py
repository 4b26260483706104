"""One server with a model of every kind, and the libraries' own answers to compare with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests import models
from tests.e2e.server import Server, serving

ANYTHING = """
import numpy as np


class Anything:
    # Gives back what it gets, whatever its name, datatype or shape.
    def predict(self, tensors: dict) -> dict:
        return tensors
"""
SIMPLE = """
import numpy as np


class Simple:
    # The arithmetic of Triton's example model `simple`.
    batchable = True

    def predict(self, INPUT0: np.ndarray, INPUT1: np.ndarray) -> dict:
        return {"OUTPUT0": INPUT0 + INPUT1, "OUTPUT1": INPUT0 - INPUT1}
"""


@dataclass(frozen=True)
class Case:
    """A model, rows for it, and what its library answers to them."""

    model: str
    rows: Any
    expected: Any
    datatype: str
    """The wire's name for the dtype of `rows`."""
    input: str = ""
    output: str = ""

    @property
    def batch(self) -> int:
        return len(self.rows)


@dataclass
class Zoo:
    """The running server and its cases by model name; `folder` holds the model files."""

    server: Server
    folder: Path
    cases: dict[str, Case] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def authority(self) -> str:
        return self.server.url.removeprefix("http://")

    @property
    def grpc(self) -> str:
        return self.server.grpc


COMPARED = ("iris", "trees", "leaves", "mlp", "sum")
"""scikit-learn, XGBoost, LightGBM, ONNX and a plain class."""
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def case_of(model: str, predict: models.Predict, rows: Any, **names: str) -> Case:
    datatype = {"float64": "FP64", "float32": "FP32"}[str(rows.dtype)]
    return Case(model, rows, np.asarray(predict(rows)), datatype, **names)


@contextlib.contextmanager
def zoo_serving(folder: Path) -> Iterator[Zoo]:
    """Trains the models, serves them all, and names the rows to ask them for."""
    iris_rows, _ = models.iris()
    wide, _ = models.wide_rows(32)
    pixels = np.random.default_rng(5).random((3, 784), dtype=np.float32)
    cases = [
        case_of("iris", models.save_sklearn_lr(folder / "iris.joblib"), iris_rows[48:56]),
        case_of("trees", models.save_xgboost(folder / "trees.json"), wide.astype(np.float32)),
        case_of("leaves", models.save_lightgbm(folder / "leaves.txt"), wide),
        case_of("mlp", models.save_onnx_mlp(folder / "mlp.onnx"), pixels),
        case_of("sum", models.save_python_class(folder / "sum.py"), wide[:5]),
    ]
    models.save_onnx_two_inputs(folder / "pair.onnx")
    models.save_sklearn_frame(folder / "flowers.joblib")
    models.save_sklearn_mixed(folder / "mixed.joblib")
    models.save_sklearn_text(folder / "words.joblib")
    save_digits(folder / "mnist-svm.joblib")
    (folder / "anything.py").write_text(ANYTHING)
    (folder / "simple.py").write_text(SIMPLE)
    with serving(str(folder), "--threads", "1", start_timeout_s=120) as server:
        yield Zoo(server, folder, {case.model: case for case in cases})


def save_digits(path: Path) -> None:
    """MLServer's scikit-learn example: a support vector classifier of 8x8 digits."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    rows, classes = load_digits(return_X_y=True)
    joblib.dump(SVC(gamma=0.001).fit(rows[:400], classes[:400]), path)
