"""The annotations that say whether a model is compiled at load, as arguments of its runtime. Pure.

Models of formats that are never compiled take no notice of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from salver.graphs.plan import ModelRunner, Runner
from salver.graphs.selection import PlanError

COMPILE = "salver.dev/compile"
"""Annotation: auto, exact, fast or off."""
COMPILE_CHECK = "salver.dev/compile-check"
"""Annotation: the fraction of requests that the framework answers too, to compare."""
_MODES = ("auto", "exact", "fast", "off")
AnyRunner = TypeVar("AnyRunner", bound=Runner)
_RUNTIMES = ("", "sklearn", "xgboost", "lightgbm", "catboost")


def with_compiling(runner: AnyRunner, annotations: Mapping[str, str]) -> AnyRunner:
    """The runner, its options completed by what the annotations say. Raises `PlanError`."""
    given = _given(annotations)
    if not given or not isinstance(runner, ModelRunner) or runner.runtime not in _RUNTIMES:
        return runner
    own = json.loads(runner.options) if runner.options else {}
    options = json.dumps({**given, **own}, sort_keys=True)
    return msgspec.structs.replace(runner, options=options)


def _given(annotations: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    mode = annotations.get(COMPILE)
    if mode is not None:
        if mode not in _MODES:
            raise PlanError(
                "InvalidPredictorSpec",
                f"annotation {COMPILE} is '{mode}': write {', '.join(_MODES[:-1])} or {_MODES[-1]}",
            )
        found["compile"] = mode
    check = annotations.get(COMPILE_CHECK)
    if check is not None:
        try:
            fraction = float(check)
        except ValueError:
            fraction = -1.0
        if not 0 <= fraction <= 1:
            raise PlanError(
                "InvalidPredictorSpec",
                f"annotation {COMPILE_CHECK} is '{check}': write a number from 0 to 1",
            )
        found["compile_check"] = fraction
    return found
