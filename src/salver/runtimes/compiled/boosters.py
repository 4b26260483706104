"""XGBoost and LightGBM boosters without their Python wrappers; all boosters in Lignum. All exact.

The direct engines call the libraries' documented C interface with arguments that are made once:
the wrapper around it costs more than a hundred small trees do. Lignum is optional; it reads the
model from a file.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.oblivious import outputs_from
from salver.runtimes.compiled.ports import Compute, Declined, NotCompiled


def xgboost_direct(booster: Any) -> Mapping[str, Compute]:
    """`predict` and `margin` by XGBoosterPredictFromDense."""
    from xgboost.core import _LIB

    if "gblinear" in booster.save_config():
        raise NotCompiled("gblinear cannot predict in place")
    return {
        name: _xgboost_call(_LIB.XGBoosterPredictFromDense, booster, kind)
        for name, kind in (("predict", 0), ("margin", 1))
    }


def _xgboost_call(call: Any, booster: Any, kind: int) -> Compute:
    handle = booster.handle
    settings = json.dumps(
        {
            "type": kind,
            "training": False,
            "iteration_begin": 0,
            "iteration_end": 0,
            "missing": float("nan"),
            "strict_shape": False,
            "cache_id": 0,
        }
    ).encode()
    shape, answer = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
    dimensions = ctypes.c_uint64()
    places = ctypes.byref(shape), ctypes.byref(dimensions), ctypes.byref(answer)

    def compute(rows: Array) -> Array:
        rows = np.ascontiguousarray(rows)
        count, width = rows.shape
        place = (
            f'{{"data":[{rows.ctypes.data},true],"shape":[{count},{width}],'
            f'"typestr":"{rows.dtype.str}","version":3}}'
        )
        if call(handle, place.encode(), settings, None, *places) != 0:
            raise Declined  # The wrapper is asked for the same and words the error.
        sizes = tuple(shape[: dimensions.value])
        # The buffer is the booster's own and is written again by the next call.
        return np.array(np.ctypeslib.as_array(answer, shape=sizes))

    compute.__dict__["keeps"] = booster
    return compute


_ROW_MAJOR = 1
_TYPES = {"f": 0, "d": 1}


def lightgbm_direct(booster: Any, threads: int) -> Mapping[str, Compute]:
    """`predict` and `raw_score` by LGBM_BoosterPredictForMat."""
    import lightgbm.basic

    call = vars(lightgbm.basic)["_LIB"].LGBM_BoosterPredictForMat
    best = booster.best_iteration if booster.best_iteration > 0 else -1
    return {
        name: _lightgbm_call(call, booster, kind, best, threads)
        for name, kind in (("predict", 0), ("raw_score", 1))
    }


def _lightgbm_call(call: Any, booster: Any, kind: int, best: int, threads: int) -> Compute:
    handle = booster._handle
    classes = int(booster.num_model_per_iteration())
    settings = ctypes.c_char_p(f"num_threads={threads}".encode())
    best_iteration, written = ctypes.c_int(best), ctypes.c_int64(0)
    where = ctypes.byref(written)
    kind_code, start, layout = ctypes.c_int(kind), ctypes.c_int(0), ctypes.c_int(_ROW_MAJOR)

    def compute(rows: Array) -> Array:
        rows = np.ascontiguousarray(rows)
        count, width = rows.shape
        answer = np.empty(count * classes, dtype=np.float64)
        failed = call(
            handle,
            ctypes.c_void_p(rows.ctypes.data),
            ctypes.c_int(_TYPES[rows.dtype.char]),
            ctypes.c_int32(count),
            ctypes.c_int32(width),
            layout,
            kind_code,
            start,
            best_iteration,
            settings,
            where,
            ctypes.c_void_p(answer.ctypes.data),
        )
        if failed or written.value != answer.size:
            raise Declined
        return answer if classes == 1 else answer.reshape(count, classes)

    compute.__dict__["keeps"] = booster
    return compute


def lignum_boosters(booster: Any, threads: int, *, family: str) -> Mapping[str, Compute]:
    """The answer and the raw scores, by Lignum's interpreter."""
    import lignum

    suffix = {"xgboost": "json", "lightgbm": "txt", "catboost": "json"}[family]
    with tempfile.TemporaryDirectory(prefix="salver-compile-") as folder:
        path = Path(folder) / f"model.{suffix}"
        if family == "catboost":
            booster.save_model(str(path), format="json")
        else:
            booster.save_model(str(path))
        predict = lignum.load(str(path), format=family).predict
    out = np.float32 if family == "xgboost" else np.float64

    def answered(rows: Array, *, raw: bool) -> Array:
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        return np.asarray(predict(rows, raw_score=raw, n_jobs=threads), dtype=out)

    if family == "catboost":
        # Its own answer is a probability; what the library predicts follows from raw scores.
        return outputs_from(booster, lambda rows: answered(rows, raw=True))
    raw_name = "margin" if family == "xgboost" else "raw_score"
    return {
        "predict": lambda rows: answered(rows, raw=False),
        raw_name: lambda rows: answered(rows, raw=True),
    }
