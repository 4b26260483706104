"""Classifications and regressions out of what a model answers.

Which outputs are scores or classes is read from their names, datatypes and shapes: TensorFlow's
own names, scikit-learn's `predict_proba`, a matrix of floats, labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import Array, InferResponse, Tensor
from salver.protocol.wire import ModelIdentity

Classes = list[tuple[str, float]]
"""Labels and scores of one example."""
_FLOATING = ("FP16", "BF16", "FP32", "FP64")
_SCORES, _CLASSES, _VALUES = "scores", "classes", "outputs"
"""What TensorFlow's own signatures call their outputs."""
_REGRESS_INSTEAD = "ask :regress or :predict instead"


def class_outputs(model: ModelIdentity) -> tuple[str, ...]:
    """The outputs to ask for a classification; empty if the model does not say which it has.

    Raises `InvalidInput` if none of them can be one.
    """
    outputs = model.metadata.outputs
    named = tuple(each.name for each in outputs if each.name in (_SCORES, _CLASSES))
    if named or not outputs:
        return named
    scores = next((each for each in outputs if _is_scores(each)), None)
    if scores is not None:
        return (scores.name,)
    defaults = _defaults(model)
    matrix = next((each for each in defaults if _is_matrix(each)), None)
    if matrix is not None:
        return (matrix.name,)
    classes = next((each for each in defaults if each.datatype not in _FLOATING), None)
    if classes is not None:
        return (classes.name,)
    names = ", ".join(each.name for each in outputs)
    raise InvalidInput(
        f"model {model.name!r} gives no classes and no scores of them, but {names[:400]}: "
        f"{_REGRESS_INSTEAD}"
    )


def value_outputs(model: ModelIdentity) -> tuple[str, ...]:
    """The output to ask for a regression; empty if the model does not say which it has.

    Raises `InvalidInput` if it is no number for each example.
    """
    if not model.metadata.outputs:
        return ()
    defaults = _defaults(model)
    found = next((each for each in defaults if each.name == _VALUES), defaults[0])
    if found.datatype == "BYTES":
        raise InvalidInput(f"model {model.name!r} gives strings in {found.name!r}: ask :classify")
    return (found.name,)


def classifications(
    response: InferResponse, asked: ModelIdentity, model: ModelIdentity
) -> list[Classes]:
    """The classes of each example, in the model's order.

    Without labels, a class is called by its number; without scores, they are 0. `asked` is the
    model as the signature shows it. Raises `InvalidInput` if the outputs are no classes.
    """
    tensors = {tensor.name: tensor for tensor in response.outputs}
    scores = tensors.get(_SCORES) or next(filter(_has_scores, response.outputs), None)
    classes = tensors.get(_CLASSES) or next(
        (each for each in response.outputs if each.datatype not in _FLOATING), None
    )
    if scores is None and classes is None:
        return _of_two_classes(response, asked, model)
    texts = None if classes is None else _texts(_as_rows(classes, model))
    if scores is None:
        return [[(text, 0.0) for text in row] for row in texts or ()]
    rows: list[list[float]] = _as_rows(scores, model).tolist()
    labels = _labels(scores.name, asked)
    if texts and len(texts[0]) == len(rows[0]):
        pairs = zip(texts, rows, strict=True)
        return [list(zip(names, row, strict=True)) for names, row in pairs]
    width = len(rows[0]) if rows else 0
    names = labels if len(labels) == width else tuple(map(str, range(width)))
    return [list(zip(names, row, strict=True)) for row in rows]


def regressions(response: InferResponse, model: ModelIdentity) -> list[float]:
    """The value of each example. Raises `InvalidInput` if there is not one number for each."""
    if not response.outputs:
        raise ModelFailed("it answered without an output")
    tensor = response.outputs[0]
    rows = _as_rows(tensor, model)
    if tensor.datatype == "BYTES" or rows.shape[1] != 1:
        fact = "strings" if tensor.datatype == "BYTES" else f"{rows.shape[1]} values"
        raise InvalidInput(
            f"model {model.name!r} gives {fact} for each example in {tensor.name!r}: "
            f"ask :classify or :predict instead"
        )
    return [float(value) for value in rows[:, 0].tolist()]


def _of_two_classes(
    response: InferResponse, asked: ModelIdentity, model: ModelIdentity
) -> list[Classes]:
    tensor = response.outputs[0] if response.outputs else None
    labels = _labels(tensor.name, asked) if tensor is not None else ()
    if tensor is None or len(labels) != 2 or tensor.datatype == "BYTES":
        raise InvalidInput(f"model {model.name!r} gives one number, no classes: {_REGRESS_INSTEAD}")
    values: list[float] = _as_rows(tensor, model)[:, 0].tolist()
    return [[(labels[0], 1.0 - value), (labels[1], value)] for value in values]


def _defaults(model: ModelIdentity) -> Sequence[TensorMetadata]:
    metadata = model.metadata
    named = [each for each in metadata.outputs if each.name in metadata.default_outputs]
    return named or metadata.outputs


def _is_scores(output: TensorMetadata) -> bool:
    name = output.name.lower()
    return output.datatype in _FLOATING and (bool(output.labels) or "prob" in name)


def _is_matrix(output: TensorMetadata) -> bool:
    return output.datatype in _FLOATING and len(output.shape) == 2 and output.shape[1] != 1


def _has_scores(tensor: Tensor) -> bool:
    return tensor.datatype in _FLOATING and tensor.data.ndim == 2 and tensor.data.shape[1] > 1


def _labels(output: str, model: ModelIdentity) -> tuple[str, ...]:
    return next((each.labels for each in model.metadata.outputs if each.name == output), ())


def _as_rows(tensor: Tensor, model: ModelIdentity) -> Array:
    array = tensor.data
    if array.ndim == 1:
        return array.reshape(-1, 1)
    if array.ndim == 2:
        return array
    raise InvalidInput(
        f"model {model.name!r} gives {tensor.name!r} in {array.ndim} dimensions, which is no "
        f"class or value for each example: ask :predict instead"
    )


def _texts(array: Array) -> list[list[str]]:
    rows: list[list[Any]] = array.tolist()
    return [[_text(value) for value in row] for row in rows]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
