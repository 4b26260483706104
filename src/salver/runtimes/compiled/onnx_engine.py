"""Models in ONNX Runtime, in float32: the fast tier. Optional.

Owns the conversion and the names of a converted model's outputs. Whether float32 is good enough
for a model is not decided here: its probes do.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.pipelines import final_of
from salver.runtimes.compiled.ports import Candidate, Compute, NotCompiled, Rows, Subject
from salver.runtimes.compiled.wrapped_boosters import family_of

_OPSET = 17
"""Old enough for every ONNX Runtime that Salver takes."""


def onnx_candidate() -> Candidate:
    return Candidate("onnxruntime", "fast", _built)


def _built(subject: Subject) -> Mapping[str, Compute]:
    import onnxruntime

    with _quiet():
        model = _CONVERTERS[subject.family](subject)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = subject.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = _feed(subject, [each.name for each in session.get_inputs()])
    outputs = [each.name for each in session.get_outputs()]
    own = {each.name: np.dtype(_NUMPY[each.datatype]) for each in subject.native.metadata.outputs}
    return {
        name: partial(_run, session, outputs[at], feed, finish, own[name])
        for name, at, finish in _wanted(subject, outputs)
        if name in own
    }


_NUMPY = {"FP64": "f8", "FP32": "f4", "INT64": "i8", "INT32": "i4", "BOOL": "?", "BYTES": "O"}
_Finish = Callable[[Array], Array]


def _run(
    session: Any,
    output: str,
    feed: Callable[[Rows], dict[str, Array]],
    finish: _Finish,
    dtype: np.dtype[Any],
    rows: Rows,
) -> Array:
    (found,) = session.run([output], feed(rows))
    answer: Array = finish(found).astype(dtype, copy=False)
    return answer


def _feed(subject: Subject, names: Sequence[str]) -> Callable[[Rows], dict[str, Array]]:
    if subject.form != "columns":
        return lambda rows: {names[0]: np.ascontiguousarray(rows, dtype=np.float32)}
    texts = frozenset(subject.text_columns)

    def columns(rows: Rows) -> dict[str, Array]:
        return {
            name: _texts(column) if index in texts else _narrow(column)
            for index, (name, column) in enumerate(zip(names, rows, strict=True))
        }

    return columns


def _texts(column: Array) -> Array:
    values = [each.decode() if isinstance(each, bytes) else each for each in column.tolist()]
    return np.asarray(values, dtype=object).reshape(-1, 1)


def _narrow(column: Array) -> Array:
    return column.astype(np.float32).reshape(-1, 1)


def _wanted(subject: Subject, outputs: Sequence[str]) -> list[tuple[str, int, _Finish]]:
    """Which output of the ONNX model is which of ours, and what is done to it."""
    if subject.family == "sklearn":
        final = final_of(subject.artifact)[0]
        if hasattr(final, "predict_proba"):
            return [("predict", 0, _same), ("predict_proba", len(outputs) - 1, _same)]
        is_flat = np.ndim(getattr(final, "coef_", ())) < 2 and getattr(final, "n_outputs_", 1) == 1
        return [("predict", 0, _flat if is_flat else _same)]
    if len(outputs) == 1:
        return [("predict", 0, _flat)]
    classes = int(subject.native.metadata.outputs[0].shape[-1])
    is_binary = len(subject.native.metadata.outputs[0].shape) == 1 or classes == 1
    return [("predict", 1, _second if is_binary else _same)]


def _same(answer: Array) -> Array:
    return answer


def _flat(answer: Array) -> Array:
    return answer.reshape(-1)


def _second(answer: Array) -> Array:
    return answer[:, 1]


def _sklearn_model(subject: Subject) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    final, _ = final_of(subject.artifact)
    if family_of(final):
        _register(final)
    texts = frozenset(subject.text_columns)
    if subject.form == "columns":
        types = [
            (name, (StringTensorType if index in texts else FloatTensorType)([None, 1]))
            for index, name in enumerate(subject.names)
        ]
    else:
        types = [("input", FloatTensorType([None, subject.width]))]
    options = {id(final): {"zipmap": False}} if hasattr(final, "predict_proba") else None
    return convert_sklearn(
        subject.artifact, initial_types=types, options=options, target_opset=_OPSETS
    )


_OPSETS = {"": _OPSET, "ai.onnx.ml": 3}


def _register(final: Any) -> None:
    """Tells skl2onnx of a booster's wrapper."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    is_classifier = hasattr(final, "predict_proba")
    shapes = (
        shape_calculator.calculate_linear_classifier_output_shapes
        if is_classifier
        else shape_calculator.calculate_linear_regressor_output_shapes
    )
    if family_of(final) == "xgboost":
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as by
    else:
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm as by
    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]} if is_classifier else {}
    update_registered_converter(
        type(final), type(final).__name__, shapes, by, options=options, overwrite=True
    )


def _xgboost_model(subject: Subject) -> Any:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    if subject.names or subject.artifact.feature_types:
        raise NotCompiled("onnxmltools converts boosters without names of columns only")
    return convert_xgboost(
        subject.artifact,
        initial_types=[("input", FloatTensorType([None, subject.width]))],
        target_opset=15,
    )


def _lightgbm_model(subject: Subject) -> Any:
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    return convert_lightgbm(
        subject.artifact,
        initial_types=[("input", FloatTensorType([None, subject.width]))],
        target_opset=15,
        zipmap=False,
    )


_CONVERTERS: Mapping[str, Callable[[Subject], Any]] = {
    "sklearn": _sklearn_model,
    "xgboost": _xgboost_model,
    "lightgbm": _lightgbm_model,
}


@contextlib.contextmanager
def _quiet() -> Any:
    """Converters print, warn and log about what is no concern of who loads a model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
