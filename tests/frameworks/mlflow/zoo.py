"""Models really trained and saved by MLflow, one of each kind of signature and answer."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PERSONS = pd.DataFrame(
    {
        "age": [31.0, 64.5, 20.25, 47.0, 55.0, 38.0, 29.0, 70.0],
        "visits": np.array([1, 4, 0, 7, 3, 2, 5, 9], dtype=np.int64),
        "city": ["Bern", "Genf", "Bern", "Basel", "Genf", "Basel", "Bern", "Genf"],
        "member": [True, False, True, True, False, False, True, False],
    }
)
_rng = np.random.default_rng(5)
FLOWERS = pd.DataFrame(_rng.normal(size=(60, 4)), columns=["sl", "sw", "pl", "pw"])
KINDS = (FLOWERS["sl"] + FLOWERS["pw"] > 0).astype(int).to_numpy()
EVENTS = pd.DataFrame(
    {
        "at": pd.to_datetime(["2024-01-02T03:04:05", "1999-12-31T00:00:00"]),
        "blob": [b"\x00\xff", b"abc"],
        "parts": [[1.5, 2.5], [3.5]],
        "note": ["x", None],
    }
)


NEEDS: dict[str, Any] = {"pip_requirements": ["scikit-learn", "statsmodels"]}
"""Else MLflow finds out by loading each model in a process of its own, which takes long."""


class Scaled(PythonModel):
    """Params, and a frame as the answer."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        params = params or {}
        frame = model_input * params.get("scale", 1.0)
        return pd.DataFrame({"sum": frame.sum(axis=1), "label": [params.get("label")] * len(frame)})


class Adding(PythonModel):
    """Two tensors by name."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return {"sum": model_input["left"] + model_input["right"], "left": model_input["left"]}


class Events(PythonModel):
    """Says what it got: dates, bytes, lists, missing texts."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return [
            [str(row["at"]), len(row["blob"]), list(row["parts"]), row["note"] is not None]
            for row in model_input.to_dict(orient="records")
        ]


class Answering(PythonModel):
    """Answers in whatever form it is asked for."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        values = np.array([1.5, 2.5])
        return {
            "array": values,
            "matrix": np.arange(6).reshape(2, 3),
            "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, np.nan]}),
            "series": pd.Series(values),
            "named": pd.Series(values, name="y"),
            "list": [1, 2],
            "texts": ["a", "b"],
            "ragged": [[1], [2, 3]],
            "records": [{"a": 1, "b": [1]}, {"a": 2, "b": []}],
            "dict": {"a": values, "b": "x", "c": {"d": [1, None]}},
            "scalar": 3,
            "numpy": np.float64(3.25),
            "text": "one",
            "mixed": [1, "a", None],
            "none": None,
            "dates": np.array(["2024-01-02"], dtype="datetime64[D]"),
            "empty": [],
        }[(params or {})["form"]]


FORMS = (
    *("array", "matrix", "frame", "series", "named", "list", "texts", "ragged", "records"),
    *("dict", "scalar", "numpy", "text", "mixed", "none", "dates", "empty"),
)


class Hinted(PythonModel):
    """A signature made of type hints."""

    def predict(self, model_input: list[str], params: Any = None) -> list[str]:
        return [text.upper() for text in model_input]


class Failing(PythonModel):
    """Fails on every table."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        raise ValueError("this model never works")


def save_all(folder: Path) -> None:
    """Every model, each in the folder of its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _save_estimators(folder)
        _save_python_models(folder)
        _save_statsmodels(folder / "ols")


def _save_estimators(folder: Path) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = ColumnTransformer(
        [("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough"
    )
    persons = make_pipeline(columns, RandomForestClassifier(20, random_state=0))
    persons.fit(PERSONS, np.where(PERSONS["age"] > 40, "old", "young"))
    answers = persons.predict(PERSONS)
    mlflow.sklearn.save_model(
        persons,
        str(folder / "persons"),
        signature=infer_signature(PERSONS, answers),
        input_example=PERSONS[:2],
        serialization_format="cloudpickle",
        **NEEDS,
    )
    flowers = LogisticRegression().fit(FLOWERS, KINDS)
    saved = {"serialization_format": "cloudpickle", **NEEDS}
    signature = infer_signature(FLOWERS, flowers.predict(FLOWERS))
    mlflow.sklearn.save_model(flowers, str(folder / "flowers"), signature=signature, **saved)
    rows = FLOWERS.to_numpy()
    plain = LogisticRegression().fit(rows, KINDS)
    signature = infer_signature(rows, plain.predict_proba(rows))
    mlflow.sklearn.save_model(
        plain,
        str(folder / "tensor"),
        signature=signature,
        pyfunc_predict_fn="predict_proba",
        **NEEDS,
    )
    mlflow.sklearn.save_model(plain, str(folder / "free"), **saved)


def _save_python_models(folder: Path) -> None:
    params = ParamSchema(
        [
            ParamSpec("scale", DataType.double, 1.0),
            ParamSpec("label", DataType.string, "none"),
        ]
    )
    numbers = Schema([ColSpec("double", "x"), ColSpec("long", "n"), ColSpec("float", "f", False)])
    _save(folder / "scaled", Scaled(), ModelSignature(numbers, None, params))
    vector = (-1, 2)
    pair = Schema(
        [
            TensorSpec(np.dtype(np.float32), vector, "left"),
            TensorSpec(np.dtype(np.float32), vector, "right"),
        ]
    )
    _save(folder / "adding", Adding(), ModelSignature(pair))
    _save(folder / "events", Events(), infer_signature(EVENTS))
    form = ParamSchema([ParamSpec("form", DataType.string, "array")])
    _save(folder / "answering", Answering(), ModelSignature(None, None, form))
    _save(folder / "hinted", Hinted(), None)
    _save(folder / "failing", Failing(), infer_signature(FLOWERS))


def _save(path: Path, model: PythonModel, signature: ModelSignature | None) -> None:
    more = {} if signature is None else {"signature": signature}
    mlflow.pyfunc.save_model(str(path), python_model=model, **more, **NEEDS)


def _save_statsmodels(path: Path) -> None:
    import statsmodels.api

    frame = FLOWERS[["sl", "sw"]]
    fitted = statsmodels.api.OLS(FLOWERS["pw"], frame).fit()
    signature = infer_signature(frame, fitted.predict(frame))
    mlflow.statsmodels.save_model(fitted, str(path), signature=signature, **NEEDS)
