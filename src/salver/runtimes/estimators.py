"""What a scikit-learn estimator takes, read from its fitted attributes.

Owns the walk through pipelines and column transformers. Reads documented attributes
(`feature_names_in_`, `n_features_in_`, `categories_`, `transformers_`), and imports nothing
of scikit-learn, so that third-party estimators are read the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from salver.inference.metadata import Datatype

Form = Literal["matrix", "frame", "objects", "texts"]


class Schema(msgspec.Struct, frozen=True):
    """How the rows must be built for an estimator.

    `matrix`: numbers in columns. `frame`: a DataFrame, for models that pick columns by name.
    `objects`: a matrix of Python objects. `texts`: a vector of strings. `example` is a row of
    values that the model knows, for the forms of named or mixed columns.
    """

    form: Form
    width: int
    names: tuple[str, ...] = ()
    datatypes: tuple[Datatype, ...] = ()
    example: tuple[Any, ...] = ()

    @property
    def is_all_text(self) -> bool:
        return bool(self.datatypes) and all(each == "BYTES" for each in self.datatypes)

    @property
    def is_mixed(self) -> bool:
        return "BYTES" in self.datatypes and not self.is_all_text


def schema_of(estimator: Any) -> Schema:
    """The rows that `estimator` was fitted on, as far as it tells."""
    parts = list(parts_of(estimator))
    names = tuple(str(each) for each in getattr(estimator, "feature_names_in_", ()))
    width = len(names) or int(getattr(estimator, "n_features_in_", -1))
    if width < 0:
        is_text = any(_takes_texts(each) for each in parts)
        return Schema("texts", -1) if is_text else Schema("matrix", -1)
    known: list[Any] = [None] * width
    _note_values(estimator, list(range(width)), known, names)
    if not any(value is not None for value in known):
        needs_frame = bool(names) and any(_picks_by_name(each) for each in parts)
        datatypes: tuple[Datatype, ...] = tuple("FP64" for _ in names)
        example = (0.0,) * len(names)
        return Schema("frame" if needs_frame else "matrix", width, names, datatypes, example)
    example = tuple(0.0 if value is None else value for value in known)
    return Schema(
        "frame" if names else "objects",
        width,
        names or tuple(f"x{index}" for index in range(width)),
        tuple(_datatype(value) for value in known),
        example,
    )


def prepare(estimator: Any, threads: int, *, keep_names: bool) -> None:
    """Readies an estimator of our own for a worker: its threads, and no check of names.

    A matrix in the model's order needs no names, but scikit-learn would warn of their
    absence at each prediction; so the copies in memory forget them, unless columns are
    picked by name.
    """
    for part in parts_of(estimator):
        own = getattr(part, "__dict__", {})
        if own.get("n_jobs") is not None:
            part.n_jobs = threads
        if not keep_names and "feature_names_in_" in own:
            del part.feature_names_in_


def parts_of(estimator: Any) -> Iterator[Any]:
    """The estimator and all estimators within it, each once."""
    seen: set[int] = set()
    pending = [estimator]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, list | tuple):
            pending.extend(part)
        elif isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, np.ndarray):
            # GradientBoosting keeps its trees in an object array.
            pending.extend(part.ravel().tolist() if part.dtype == np.object_ else ())
        elif _is_estimator(part):
            yield part
            pending.extend(vars(part).values())


def _is_estimator(value: Any) -> bool:
    return (
        hasattr(value, "get_params") and hasattr(value, "__dict__") and not isinstance(value, type)
    )


def _takes_texts(part: Any) -> bool:
    return hasattr(part, "build_analyzer") or type(part).__name__ == "FeatureHasher"


def _picks_by_name(part: Any) -> bool:
    """Column transformers, functions of the user's, frames between steps, foreign classes."""
    if hasattr(part, "transformers_") or getattr(part, "func", None) is not None:
        return True
    output = getattr(part, "_sklearn_output_config", {}).get("transform", "default")
    # LightGBM's wrappers cannot forget their names, and warn if rows come without.
    is_foreign = type(part).__module__.split(".")[0] not in ("sklearn", "xgboost")
    return output != "default" or is_foreign


def _note_values(part: Any, columns: Sequence[int], known: list[Any], names: Sequence[str]) -> None:
    """Writes to `known` a text that a column of `part` was fitted with.

    `columns` says which of the model's columns `part` sees, in its own order.
    """
    if hasattr(part, "transformers_"):
        for _, inner, picked in part.transformers_:
            _note_values(inner, _picked(picked, columns, names), known, names)
    elif hasattr(part, "steps"):
        inner = next((step for _, step in part.steps if step not in (None, "passthrough")), None)
        _note_values(inner, columns, known, names)
    elif hasattr(part, "transformer_list"):
        for _, inner in part.transformer_list:
            _note_values(inner, columns, known, names)
    elif hasattr(part, "best_estimator_"):
        _note_values(part.best_estimator_, columns, known, names)
    elif hasattr(part, "categories_") or hasattr(part, "statistics_"):
        _note_fitted(part, columns, known)
    elif _takes_texts(part):
        for column in columns:
            known[column] = ""
    elif _is_estimator(part):
        for inner in (getattr(part, "estimator_", None), *_first_of(part)):
            if _is_estimator(inner):
                _note_values(inner, columns, known, names)


def _first_of(part: Any) -> list[Any]:
    """One of the like models within an ensemble; and the model within each calibrated one."""
    for attribute in ("estimators_", "calibrated_classifiers_"):
        inner = getattr(part, attribute, None)
        if isinstance(inner, list) and inner:
            return [getattr(inner[0], "estimator", inner[0]), inner[0]]
    return []


def _note_fitted(part: Any, columns: Sequence[int], known: list[Any]) -> None:
    if hasattr(part, "categories_"):
        fitted = [next(iter(values), None) for values in part.categories_]
    else:
        fitted = list(np.asarray(part.statistics_).tolist())
    for column, value in zip(columns, fitted, strict=False):
        if isinstance(value, str | bytes):
            known[column] = str(value)


def _picked(picked: Any, columns: Sequence[int], names: Sequence[str]) -> list[int]:
    """The columns that a column transformer's specification names, as the model's indices."""
    everything = list(columns)
    if isinstance(picked, str):
        picked = [picked]
    if isinstance(picked, slice):
        if isinstance(picked.start, str) or isinstance(picked.stop, str):
            start = names.index(picked.start) if picked.start is not None else 0
            stop = names.index(picked.stop) + 1 if picked.stop is not None else len(names)
            return everything[start:stop]
        return everything[picked]
    if isinstance(picked, int | np.integer):
        return [everything[int(picked)]]
    values = list(picked)
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        return [each for each, is_in in zip(everything, values, strict=True) if is_in]
    return [
        names.index(value) if isinstance(value, str) else everything[int(value)] for value in values
    ]


def _datatype(value: Any) -> Datatype:
    return "BYTES" if isinstance(value, str) else "FP64"
