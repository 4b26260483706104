"""CatBoost's files before CatBoost reads them: `.cbm` and JSON.

Owns the checks that the library leaves out: a length beyond the file's end kills its process, and
a split on a feature that is not there reads beyond its memory. Imports no framework.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Format = Literal["cbm", "json"]
Answer = Literal["Class", "Exponent", "RMSEWithUncertainty", "RawFormulaVal"]
"""What a model predicts if nothing else is asked of it, in CatBoost's words."""
_CLASSIFYING = ("Logloss", "CrossEntropy", "MultiClass", "MultiLogloss", "MultiCrossEntropy")
_HEAD = struct.Struct("<4sI")


def answer_of(loss: str, *, has_classes: bool) -> Answer:
    """A classifier predicts classes, a regressor values on the scale of its target."""
    if has_classes or loss.startswith(_CLASSIFYING):
        return "Class"
    if loss.startswith(("Poisson", "Tweedie")):
        return "Exponent"
    return "RMSEWithUncertainty" if loss.startswith("RMSEWithUncertainty") else "RawFormulaVal"


def loss_of(booster: Any) -> str:
    """The name of the loss that a model was trained for, empty if its file does not say."""
    loss = booster.get_all_params().get("loss_function", "") if booster.tree_count_ else ""
    return str(loss.get("type", "") if isinstance(loss, dict) else loss)


def format_of(path: Path) -> Format:
    """Raises `ValueError` for a file that is neither, or is cut off."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.lstrip().startswith(b"{"):
        return "json"
    if len(head) < _HEAD.size:
        raise ValueError(f"it has {len(head)} bytes, which is no model; save it again")
    magic, size = _HEAD.unpack(head[: _HEAD.size])
    if magic != b"CBM1":
        raise ValueError(
            "it begins neither as CatBoost's binary format (CBM1) nor as its JSON; save it with "
            "save_model"
        )
    present = path.stat().st_size - _HEAD.size
    if size > present:
        raise ValueError(f"it is cut off: {size} bytes should follow, {present} do; save it again")
    return "cbm"


def check_json(path: Path) -> None:
    """Raises `ValueError` for a JSON model whose trees do not fit its features and leaves."""
    with path.open("rb") as file:
        document = json.load(file)
    document = document if isinstance(document, Mapping) else {}
    features = document.get("features_info")
    floats = features.get("float_features", ()) if isinstance(features, Mapping) else None
    trees = document.get("oblivious_trees", [])
    if floats is None or not isinstance(trees, list):
        raise ValueError("it lacks features_info or its trees; save it with format='json'")
    columns = len(floats)
    for index, tree in enumerate(trees):
        _check_tree(index, tree, columns)


def _check_tree(index: int, tree: Any, columns: int) -> None:
    try:
        splits, leaves = tree["splits"] or (), tree["leaf_values"]
        features = [each.get("float_feature_index", 0) for each in splits]
        is_whole = len(leaves) > 0 and len(leaves) % (1 << len(splits)) == 0
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"its tree {index} lacks splits or leaf_values; save it again") from error
    if not is_whole:
        raise ValueError(
            f"its tree {index} has {len(splits)} splits and {len(leaves)} leaf values, which do "
            "not fit; save it again"
        )
    wrong = next((each for each in features if not 0 <= each < max(columns, 1)), None)
    if wrong is not None:
        raise ValueError(f"its tree {index} splits on feature {wrong} of {columns}; save it again")
