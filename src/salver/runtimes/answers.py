"""What a user's model returned, as tensors.

Owns the shapes that an answer may take: an array, a dict of outputs, a frame, records, a
list, one value. Everything else is `ModelFailed`, naming what came instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import (
    NUMPY_TYPES,
    Array,
    InferResponse,
    Tensor,
    datatype_of,
    tensor_from_array,
)

OUTPUT_NAME = "predict"
"""What a single output without a name is called."""


def response_of(
    answer: Any,
    declared: Sequence[TensorMetadata],
    wanted: Sequence[str],
    rows: int | None,
) -> InferResponse:
    """The tensors in `answer`, those of `wanted` if it names any.

    `rows`, if not None, is how many rows each output must have. Raises `ModelFailed` if the
    model returned what no tensor can carry, `InvalidInput` for an output it does not have.
    """
    if isinstance(answer, InferResponse):
        return answer
    by_name = _named(answer, declared)
    declared_by_name = {each.name: each for each in declared}
    # An output that may be absent is how a model chooses a branch of a pipeline.
    absent = [each.name for each in declared if each.name not in by_name and not each.optional]
    if absent:
        raise ModelFailed(
            f"the model did not return its output '{absent[0]}', only {_listed(by_name)}"
        )
    tensors = []
    for name in wanted or by_name:
        if name not in by_name and name in declared_by_name:
            continue
        if name not in by_name:
            raise InvalidInput(f"output '{name}' is unknown; the model has {_listed(by_name)}")
        tensor = _tensor(name, by_name[name], declared_by_name.get(name))
        if rows is not None and (tensor.data.ndim == 0 or len(tensor.data) != rows):
            raise ModelFailed(
                f"output '{name}' has shape {list(tensor.data.shape)} for {rows} input rows; "
                "a batchable model must return as many rows as it is given"
            )
        tensors.append(tensor)
    return InferResponse(tuple(tensors))


def _named(answer: Any, declared: Sequence[TensorMetadata]) -> dict[str, Any]:
    if isinstance(answer, Mapping):
        if not answer:
            raise ModelFailed("the model returned an empty dict; return at least one output")
        return {str(name): value for name, value in answer.items()}
    if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if _is_records(answer):
        return {str(name): [record[name] for record in answer] for name in answer[0]}
    if isinstance(answer, tuple) and len(answer) == len(declared) > 1:
        return {spec.name: value for spec, value in zip(declared, answer, strict=True)}
    return {declared[0].name if len(declared) == 1 else OUTPUT_NAME: answer}


def _is_records(answer: Any) -> bool:
    """A list of dicts with the same keys: one dict a row."""
    return (
        isinstance(answer, list)
        and bool(answer)
        and all(isinstance(each, dict) for each in answer)
        and all(each.keys() == answer[0].keys() for each in answer)
        and bool(answer[0])
    )


def _tensor(name: str, value: Any, declared: TensorMetadata | None) -> Tensor:
    array = _array(name, value)
    if declared is None:
        return tensor_from_array(name, array)
    wanted = NUMPY_TYPES[declared.datatype]
    is_text = datatype_of(array.dtype) == "BYTES"
    if is_text != (declared.datatype == "BYTES") or not (
        is_text or np.can_cast(array.dtype, wanted, casting="same_kind")
    ):
        raise ModelFailed(
            f"output '{name}' is declared as {declared.datatype}, the model returned {array.dtype}"
        )
    if declared.shape and not _fits(array.shape, declared.shape):
        raise ModelFailed(
            f"output '{name}' is declared with shape {list(declared.shape)}, the model returned "
            f"{list(array.shape)}"
        )
    if is_text:
        return tensor_from_array(name, array)
    return Tensor(name, declared.datatype, array.astype(wanted, copy=False))


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(
        size in (-1, given) for given, size in zip(shape, declared, strict=True)
    )


def _array(name: str, value: Any) -> Array:
    """The value as an array of a type that has a datatype; one value has shape [1]."""
    if value is None:
        raise ModelFailed(
            f"output '{name}' is None: the model returned nothing; check its predict for a return"
        )
    if isinstance(value, str | bytes):
        single = np.empty(1, dtype=np.object_)
        single[0] = value
        return single
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "toarray"):
        value = value.toarray()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ModelFailed(
            f"output '{name}' ({type(value).__name__}) is no regular array: {error}"
        ) from error
    return _checked(name, value, array.reshape(1) if array.ndim == 0 else array)


def _checked(name: str, value: Any, array: Array) -> Array:
    if array.dtype.kind == "M":
        return np.datetime_as_string(array)
    if array.dtype.kind == "U" and isinstance(value, list | tuple):
        # NumPy turns [1, 'a'] into two strings; the model hardly meant that.
        array = np.asarray(value, dtype=np.object_)
    if (array.dtype.kind in "biufSU" and array.dtype.itemsize <= 8) or array.dtype.kind in "SU":
        return array
    odd = next((each for each in array.ravel().tolist() if not isinstance(each, str | bytes)), None)
    if array.dtype == np.object_ and odd is None and None not in array.ravel().tolist():
        return array
    what = type(odd).__name__ if array.dtype == np.object_ else str(array.dtype)
    raise ModelFailed(
        f"output '{name}' ({type(value).__name__}) holds {what} values, which no tensor can "
        "carry; return numbers or strings"
    )


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in list(names)[:20])
