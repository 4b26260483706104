"""What an MLflow model answered, as tensors: frames, series, arrays, dicts, lists, single values.

What is no regular array becomes JSON texts, one for each entry (content_type `json`), so that it
comes to callers over V1 and MLflow's protocol as it is. Owns the marks by which MLflow's protocol
writes an answer as MLflow's own server does: `content_type` `pd` or `dict` of the response, and
`column` of a tensor that is called otherwise in its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import Array, InferResponse, Tensor, tensor_from_array
from salver.runtimes.answers import OUTPUT_NAME

_JSON = {"content_type": "json"}
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def response_of(
    answer: Any, declared: Sequence[TensorMetadata], wanted: Sequence[str] = ()
) -> InferResponse:
    """The answer as outputs, those of `wanted` if it names any.

    Raises `ModelFailed` for what no tensor can carry, `InvalidInput` for an unknown output.
    """
    tensors, form = _tensors(answer, declared)
    if wanted:
        by_name = {tensor.name: tensor for tensor in tensors}
        unknown = next((name for name in wanted if name not in by_name), None)
        if unknown is not None:
            known = ", ".join(f"'{name}'" for name in by_name)
            raise InvalidInput(f"output '{unknown}' is unknown; the model answered {known}")
        tensors = [by_name[name] for name in wanted]
    return InferResponse(tuple(tensors), {"content_type": form} if form else {})


def described(response: InferResponse) -> tuple[TensorMetadata, ...]:
    """The outputs of an answer, as metadata."""
    return tuple(
        TensorMetadata(
            tensor.name,
            tensor.datatype,
            (-1, *tensor.data.shape[1:]) if tensor.data.ndim else (),
            content_type=tensor.parameters.get("content_type"),
        )
        for tensor in response.outputs
    )


def _tensors(answer: Any, declared: Sequence[TensorMetadata]) -> tuple[list[Tensor], str]:
    only = declared[0].name if len(declared) == 1 else OUTPUT_NAME
    if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
        labels = list(answer.columns)
        return [
            _tensor(str(label), answer.iloc[:, index].to_numpy())
            for index, label in enumerate(labels)
        ], "pd"
    if hasattr(answer, "to_frame") and hasattr(answer, "to_numpy"):
        label = "0" if answer.name is None else str(answer.name)
        tensor = _tensor(only, answer.to_numpy())
        parameters = {**tensor.parameters} | ({"column": label} if label != only else {})
        return [Tensor(only, tensor.datatype, tensor.data, parameters)], "pd"
    if isinstance(answer, Mapping) and answer:
        return [_tensor(str(name), value) for name, value in answer.items()], "dict"
    return [_tensor(only, answer)], ""


def _tensor(name: str, value: Any) -> Tensor:
    array = _array(value)
    if array is not None:
        return tensor_from_array(name, array)
    is_list = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim)
    texts = np.empty(len(value) if is_list else 1, dtype=np.object_)
    for index, each in enumerate(value if is_list else [value]):
        texts[index] = _json_text(name, each)
    return Tensor(name, "BYTES", texts if is_list else texts.reshape(()), _JSON)


def _array(value: Any) -> Array | None:
    """The value as an array that has a datatype; None if it is none."""
    if hasattr(value, "toarray"):
        value = value.toarray()
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, str | bytes):
        single = np.empty((), dtype=np.object_)
        single[()] = value
        return single
    try:
        array = np.asarray(value)
    except ValueError:
        return None  # Ragged.
    if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
        return array
    if array.dtype.kind == "M":
        return np.datetime_as_string(array)
    return array if _are_texts(value, array) else None


def _are_texts(value: Any, array: Array) -> bool:
    if isinstance(value, np.ndarray) and array.dtype.kind in "US":
        return True
    if array.dtype.kind not in "USO" or not array.size:
        return False
    # NumPy turns [1, 'a'] into two strings, which the model did not answer.
    leaves = np.asarray(value, dtype=np.object_).ravel().tolist()
    return all(isinstance(each, str) for each in leaves)


def _json_text(name: str, value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_jsonable, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFailed(
            f"output '{name}' ({type(value).__name__}) is neither an array nor JSON: {error}; "
            "return arrays, frames, lists or dicts of numbers and strings"
        ) from error


def _jsonable(value: Any) -> Any:
    """What `json` knows nothing of, as MLflow's server writes it."""
    for method in ("model_dump", "to_dict", "isoformat", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
