"""The values at which a model changes its mind, column by column, read from the model itself.

Owns the walk back from a tree's thresholds through scalers and column transformers to the
columns that the caller sends. What it cannot trace it leaves out: then probes are random there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.oblivious import catboost_splits
from salver.runtimes.compiled.pipelines import final_of, picked_columns, steps_of
from salver.runtimes.estimators import parts_of

MOST_PER_COLUMN = 4096


class Landmarks(msgspec.Struct):
    """By column of the input: thresholds and other telling numbers; and texts that it knows."""

    numbers: list[list[float]]
    texts: list[list[str]]

    @classmethod
    def none(cls, width: int) -> Landmarks:
        return cls([[] for _ in range(width)], [[] for _ in range(width)])


class _Traced(msgspec.Struct):
    """A column within a model: `scale * source + offset` of a column of its input."""

    source: int
    scale: float = 1.0
    offset: float = 0.0


_Columns = list[_Traced | None]


def landmarks_of(family: str, artifact: Any, width: int, names: Sequence[str]) -> Landmarks:
    """What is known of each input column of the model."""
    found = Landmarks.none(width)
    columns: _Columns = [_Traced(index) for index in range(width)]
    if family == "sklearn":
        final, before = final_of(artifact)
        for step in before:
            columns = _through(step, columns, found, names)
        _note_splits(_splits_of_parts(final), columns, found)
    else:
        _note_splits(_SPLITS[family](artifact), columns, found)
    return found


def _note_splits(splits: Iterator[tuple[Array, Array]], columns: _Columns, to: Landmarks) -> None:
    for features, thresholds in splits:
        for feature, threshold in zip(features.tolist(), thresholds.tolist(), strict=True):
            traced = columns[feature] if 0 <= feature < len(columns) else None
            if traced is None or len(to.numbers[traced.source]) >= MOST_PER_COLUMN:
                continue
            value = (threshold - traced.offset) / traced.scale if traced.scale else np.nan
            if np.isfinite(value):
                to.numbers[traced.source].append(value)


def _splits_of_parts(final: Any) -> Iterator[tuple[Array, Array]]:
    """Features and thresholds of every tree in a scikit-learn model, by known attributes."""
    for part in parts_of(final):
        tree = getattr(part, "tree_", None)
        if tree is not None:
            inner = tree.children_left >= 0
            yield tree.feature[inner], tree.threshold[inner]
        for stage in getattr(part, "_predictors", None) or ():
            for predictor in stage:
                nodes = predictor.nodes[predictor.nodes["is_leaf"] == 0]
                yield nodes["feature_idx"].astype(np.int64), nodes["num_threshold"]
        if type(part).__name__.startswith("XGB"):
            yield from _xgboost_splits(part.get_booster())
        elif type(part).__name__.startswith("LGBM"):
            yield from _lightgbm_splits(part.booster_)


def _xgboost_splits(booster: Any) -> Iterator[tuple[Array, Array]]:
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    for tree in model.get("gbtree", model).get("model", {}).get("trees", ()):
        inner = np.asarray(tree["left_children"]) >= 0
        yield (
            np.asarray(tree["split_indices"])[inner],
            np.asarray(tree["split_conditions"], dtype=np.float64)[inner],
        )


_LIGHTGBM_SPLITS = re.compile(r"^split_feature=([^\n]*)\n(?:[^\n]+\n)*?threshold=([^\n]*)$", re.M)


def _lightgbm_splits(booster: Any) -> Iterator[tuple[Array, Array]]:
    for features, thresholds in _LIGHTGBM_SPLITS.findall(booster.model_to_string()):
        if features.strip():
            yield (
                np.asarray([int(each) for each in features.split()]),
                np.asarray([float(each) for each in thresholds.split()]),
            )


_SPLITS: Mapping[str, Callable[[Any], Iterator[tuple[Array, Array]]]] = {
    "xgboost": _xgboost_splits,
    "lightgbm": _lightgbm_splits,
    "catboost": catboost_splits,
}


def _through(step: Any, columns: _Columns, to: Landmarks, names: Sequence[str]) -> _Columns:
    """The columns after a step, each traced back to one of the input where that can be told."""
    kind = type(step).__name__
    if kind == "ColumnTransformer":
        joined: _Columns = []
        for inner, picked in picked_columns(step, names):
            after: _Columns = [columns[index] for index in picked]
            for each in steps_of(inner):
                after = _through(each, after, to, ())
            joined += after
        return joined
    if hasattr(step, "categories_"):
        _note_categories(step, columns, to)
        return list(columns) if kind == "OrdinalEncoder" else _coded(step)
    if kind == "SimpleImputer":
        return list(columns)
    if hasattr(step, "get_support"):
        kept = step.get_support().tolist()
        return [column for column, is_in in zip(columns, kept, strict=False) if is_in]
    affine = _affine(step, len(columns))
    if affine is None:
        # Each of its columns is one of many: what follows is probed with random rows.
        return []
    for column, centre, spread in zip(columns, *_usual(step, len(columns)), strict=False):
        if column is not None and spread:
            to.numbers[column.source] += [centre - 2 * spread, centre, centre + 2 * spread]
    return [
        None
        if column is None
        else _Traced(column.source, column.scale * scale, column.offset * scale + offset)
        for column, scale, offset in zip(columns, *affine, strict=False)
    ]


def _coded(step: Any) -> _Columns:
    return [None] * int(sum(len(each) for each in step.categories_))


def _note_categories(step: Any, columns: _Columns, to: Landmarks) -> None:
    for column, values in zip(columns, step.categories_, strict=False):
        if column is None:
            continue
        for value in values.tolist():
            if isinstance(value, str):
                to.texts[column.source].append(value)
            elif isinstance(value, int | float) and np.isfinite(value):
                to.numbers[column.source].append(float(value))


def _affine(step: Any, width: int) -> tuple[Array, Array] | None:
    """Scale and offset of a scaler, by column; None for what is no scaler."""
    kind = type(step).__name__
    if kind == "StandardScaler" or kind == "RobustScaler":
        centre, spread = _usual(step, width)
        return 1 / spread, -centre / spread
    if kind == "MinMaxScaler":
        return np.asarray(step.scale_), np.asarray(step.min_)
    if kind == "MaxAbsScaler":
        return 1 / np.asarray(step.scale_), np.zeros(width)
    return None


def _usual(step: Any, width: int) -> tuple[Array, Array]:
    """Centre and spread of each column as the scaler has seen it."""
    centre = getattr(step, "mean_", None)
    if centre is None:
        centre = getattr(step, "center_", None)
    if centre is None:
        centre = getattr(step, "data_min_", None)
    spread = getattr(step, "scale_", None) if not hasattr(step, "data_range_") else step.data_range_
    return (
        np.zeros(width) if centre is None else np.asarray(centre),
        np.ones(width) if spread is None else np.asarray(spread),
    )
