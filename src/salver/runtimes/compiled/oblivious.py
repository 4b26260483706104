"""CatBoost's symmetric trees in NumPy: every row asks all questions at once.

The library copies a matrix into a pool of its own before it answers, which costs a few rows far
more than their trees do. Only numbers: categories and texts stay the library's.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.catboost_files import answer_of, loss_of
from salver.runtimes.compiled.ports import Compute, NotCompiled

_MOST_SPLITS = 100_000
_CHUNK = 1 << 18
_MISSING = {"AsTrue": np.inf, "AsFalse": -np.inf}
"""What a missing number counts as; `AsIs` is left as NaN, which is above nothing."""


def catboost_document(booster: Any) -> dict[str, Any]:
    """The model as the library's JSON. Raises `NotCompiled` where that cannot hold it."""
    if booster._get_cat_feature_indices() or booster._get_text_feature_indices():
        raise NotCompiled("it has categories or texts, which the library codes itself")
    with tempfile.TemporaryDirectory(prefix="salver-compile-") as folder:
        path = Path(folder) / "model.json"
        booster.save_model(str(path), format="json")
        document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def oblivious_trees(booster: Any) -> Mapping[str, Compute]:
    """The model's outputs. Raises `NotCompiled`."""
    document = catboost_document(booster)
    if "oblivious_trees" not in document:
        raise NotCompiled("its trees are not symmetric")
    return outputs_from(booster, _raw_scores(document))


def outputs_from(booster: Any, raw: Compute) -> Mapping[str, Compute]:
    """By output of the runtime: how it follows from raw scores."""
    loss, classes = loss_of(booster), np.asarray(booster.classes_)
    found: dict[str, Compute] = {"raw_score": raw}
    answer = answer_of(loss, has_classes=len(classes) > 0)
    if answer == "RawFormulaVal":
        found["predict"] = raw
    elif answer == "Exponent":
        found["predict"] = lambda rows: np.exp(raw(rows))
    elif loss == "Logloss" and len(classes) == 2:
        found["predict"] = lambda rows: classes[(raw(rows) > 0).astype(np.int64)]
        found["probability"] = lambda rows: _sigmoid(raw(rows))
    elif loss == "MultiClass" and len(classes) > 2:
        found["predict"] = lambda rows: classes[raw(rows).argmax(axis=1)]
        found["probability"] = lambda rows: _softmax(raw(rows))
    return found


def _raw_scores(document: Mapping[str, Any]) -> Compute:
    trees = document["oblivious_trees"]
    depth = max((len(each["splits"] or ()) for each in trees), default=0)
    if depth * len(trees) > _MOST_SPLITS or depth == 0:
        raise NotCompiled("it has no trees, or too many for this engine")
    floats = document["features_info"]["float_features"]
    scale, bias = document["scale_and_bias"]
    columns, borders, leaves, starts = _packed(trees, floats, depth, len(bias))
    missing = {
        each["flat_feature_index"]: _MISSING[each["nan_value_treatment"]]
        for each in floats
        if each.get("nan_value_treatment") in _MISSING
    }
    weights = 1 << np.arange(depth)
    chunk = max(1, _CHUNK // columns.size)
    offset, width = np.asarray(bias, dtype=np.float64), len(bias)

    def some(rows: Array) -> Array:
        above = rows[:, columns.ravel()] > borders.ravel()
        index = above.reshape(len(rows), len(trees), depth) @ weights + starts
        sums = leaves[index].sum(axis=1) * scale + offset
        return np.asarray(sums[:, 0] if width == 1 else sums)

    def compute(rows: Array) -> Array:
        rows = _as_float32(rows, missing)
        if len(rows) <= chunk:
            return some(rows)
        return np.concatenate([some(rows[at : at + chunk]) for at in range(0, len(rows), chunk)])

    return compute


def _as_float32(rows: Array, missing: Mapping[int, float]) -> Array:
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    if missing and np.isnan(rows).any():
        for column, value in missing.items():
            rows[np.isnan(rows[:, column]), column] = value
    return rows


def _packed(
    trees: list[Any], floats: list[Any], depth: int, width: int
) -> tuple[Array, Array, Array, Array]:
    """Columns and borders by tree and level, leaves one below the other, and where each tree's
    begin. A tree that is less deep asks the rest what nothing is above."""
    flat = {each["feature_index"]: each["flat_feature_index"] for each in floats}
    columns = np.zeros((len(trees), depth), dtype=np.int64)
    borders = np.full((len(trees), depth), np.inf, dtype=np.float32)
    values: list[Array] = []
    starts: list[int] = []
    start = 0
    for number, tree in enumerate(trees):
        for level, split in enumerate(tree["splits"] or ()):
            if split["split_type"] != "FloatFeature":
                raise NotCompiled(f"it has splits of the kind {split['split_type']}")
            columns[number, level] = flat[split["float_feature_index"]]
            borders[number, level] = split["border"]
        values.append(np.asarray(tree["leaf_values"], dtype=np.float64).reshape(-1, width))
        starts.append(start)
        start += len(values[-1])
    return columns, borders, np.concatenate(values), np.asarray(starts)


def _sigmoid(raw: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.column_stack((1 / (1 + np.exp(raw)), 1 / (1 + np.exp(-raw))))


def _softmax(raw: Array) -> Array:
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    answer: Array = powers / powers.sum(axis=1, keepdims=True)
    return answer


def catboost_splits(booster: Any) -> Iterator[tuple[Array, Array]]:
    """Columns and borders of all features. Raises `NotCompiled` where there are other columns."""
    for each in catboost_document(booster)["features_info"]["float_features"]:
        borders = np.asarray(each["borders"] or (), dtype=np.float64)
        yield np.full(len(borders), each["flat_feature_index"]), borders
