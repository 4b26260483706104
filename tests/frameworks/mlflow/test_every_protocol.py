"""MLflow's flavours over every protocol: scikit-learn, statsmodels, spaCy, XGBoost, PythonModel."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving
from tests.frameworks.mlflow.zoo import FLOWERS, PERSONS

pytestmark = pytest.mark.frameworks

ROWS = FLOWERS[:5]
PAIR = {
    "left": np.float32([[1, 2], [3, 4]]),
    "right": np.float32([[0.5, -1], [1e3, 0]]),
}
TEXTS = ["a very good film", "an awful film", "good, good"]


def own(path: Path, data: Any) -> Any:
    """MLflow's own answer."""
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(str(path)).predict(data)


def of_columns(name: str, frame: pd.DataFrame, saved: Path) -> Question:
    """A model of columns, asked with a tensor for each."""
    answer = own(saved / name, frame)
    inputs = {each: _wire(frame[each]) for each in frame}
    return Question(name, inputs, {"predict": np.asarray(answer)})


def _wire(column: Any) -> Any:
    values = column.to_numpy()
    return values.astype(object) if values.dtype.kind in "OU" or _is_text(column) else values


def _is_text(column: Any) -> bool:
    return bool(pd.api.types.is_string_dtype(column))


def of_matrix(name: str, frame: pd.DataFrame, saved: Path) -> Question:
    """A model of numeric columns, asked with one matrix."""
    answer = own(saved / name, frame)
    # MLflow's own server makes a table of a Series.
    column = "0" if isinstance(answer, pd.Series) else ""
    return Question(
        name,
        {"input-0": frame.to_numpy()},
        {"predict": np.asarray(answer)},
        tuple(map(str, frame)),
        column,
    )


def of_tensors(name: str, saved: Path) -> Question:
    rows = FLOWERS[:4].to_numpy()
    return Question(name, {"input-0": rows}, {"predict": own(saved / name, rows)})


def of_pair(saved: Path) -> Question:
    csv = {"csv": "an input is a vector, which is no field"}
    return Question("adding", PAIR, own(saved / "adding", PAIR), without=csv)


QUESTIONS: dict[str, Callable[[Path], Question]] = {
    "persons": lambda saved: of_columns("persons", PERSONS[:4], saved),
    "flowers": lambda saved: of_matrix("flowers", ROWS, saved),
    "flowers by column": lambda saved: of_columns("flowers", ROWS, saved),
    "ols": lambda saved: of_matrix("ols", ROWS[["sl", "sw"]], saved),
    "tensor": lambda saved: of_tensors("tensor", saved),
    "free": lambda saved: of_tensors("free", saved),
    "adding": of_pair,
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_protocol_gives_pyfuncs_answer(server: Server, saved: Path, name: str) -> None:
    assert judge(server.url, server.grpc, QUESTIONS[name](saved))


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flavours that only this test has."""
    folder = tmp_path_factory.mktemp("flavours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_spacy(folder / "moods")
        save_xgboost(folder / "boosted")
    return folder


def save_spacy(path: Path) -> None:
    """Tells good texts from bad ones."""
    import mlflow.spacy
    import spacy
    from spacy.training import Example

    spacy.util.fix_random_seed(0)
    language = spacy.blank("en")
    categories = language.add_pipe("textcat")
    for label in ("GOOD", "BAD"):
        categories.add_label(label)
    taught = {"good film": 1.0, "very good": 1.0, "awful film": 0.0, "an awful one": 0.0}
    examples = [
        Example.from_dict(language.make_doc(text), {"cats": {"GOOD": good, "BAD": 1 - good}})
        for text, good in taught.items()
    ]
    optimizer = language.initialize(lambda: examples)
    for _ in range(10):
        language.update(examples, sgd=optimizer)
    needs = {"pip_requirements": ["spacy"]}
    mlflow.spacy.save_model(language, str(path), **needs)


def save_xgboost(path: Path) -> None:
    import mlflow.xgboost
    import xgboost

    data = xgboost.DMatrix(FLOWERS, (FLOWERS["sl"] > 0).astype(int))
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3}, data, 10)
    signature = mlflow.models.infer_signature(FLOWERS, booster.predict(data))
    needs = {"pip_requirements": ["xgboost-cpu"]}
    mlflow.xgboost.save_model(booster, str(path), signature=signature, **needs)


@pytest.fixture(scope="module")
def flavours(more: Path) -> Any:
    with serving(str(more), start_timeout_s=120) as running:
        yield running


def test_every_protocol_gives_xgboosts_answer(flavours: Server, more: Path) -> None:
    assert judge(flavours.url, flavours.grpc, of_matrix("boosted", ROWS, more))


def test_every_protocol_gives_spacys_answer(flavours: Server, more: Path) -> None:
    frame = pd.DataFrame({"text": TEXTS})
    answer = own(more / "moods", frame)
    question = Question(
        "moods",
        {"text": np.array(TEXTS, object)},
        {"predictions": answer["predictions"].to_numpy()},
        column="predictions",
    )
    assert judge(flavours.url, flavours.grpc, question)
