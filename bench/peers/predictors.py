"""The models' arithmetic, the same for every peer: a file becomes rows -> answers.

What a careful user would write: the framework's own fastest plain call, one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Predict = Callable[[Any], Any]
"""A NumPy array with rows on axis 0 in, a NumPy array with as many rows out."""


def load_predict(path: str) -> Predict:
    """The prediction function of the model in the file, chosen by its suffix."""
    suffix = Path(path).suffix
    if suffix == ".joblib":
        return _sklearn(path)
    if suffix == ".ubj":
        return _xgboost(path)
    if suffix == ".onnx":
        return _onnx(path)
    raise ValueError(f"model file {path}: no predictor for '{suffix}'; add it to predictors.py")


def _sklearn(path: str) -> Predict:
    import joblib

    predict: Predict = joblib.load(path).predict
    return predict


def _xgboost(path: str) -> Predict:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(path)
    predict: Predict = booster.inplace_predict
    return predict


def _onnx(path: str) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(rows: Any) -> Any:
        return session.run(None, {name: rows})[0]

    return predict
