"""What a user's method wants to be called with, by its type hints, and how to make it.

Owns the conversions from tensors to arrays, frames, dicts, lists, strings and numbers. A
parameter without a hint gets an array.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from salver.errors import InvalidInput
from salver.inference.metadata import Datatype, TensorMetadata
from salver.inference.tensor import Array, InferRequest, Tensor
from salver.runtimes.tabular import INPUT_NAME, NUMERIC

Kind = Literal["array", "frame", "dict", "list", "str", "bytes", "number", "request"]

_KINDS: Mapping[str, Kind] = {
    "ndarray": "array",
    "NDArray": "array",
    "ArrayLike": "array",
    "DataFrame": "frame",
    "dict": "dict",
    "Dict": "dict",
    "Mapping": "dict",
    "list": "list",
    "List": "list",
    "Sequence": "list",
    "str": "str",
    "bytes": "bytes",
    "float": "number",
    "int": "number",
    "bool": "number",
    "InferRequest": "request",
}


class Argument(msgspec.Struct, frozen=True):
    """One parameter of the method. `of_lists`: a dict whose values are to be lists."""

    name: str
    kind: Kind
    is_optional: bool = False
    of_lists: bool = False


def arguments_of(method: Callable[..., Any]) -> tuple[Argument, ...]:
    """The parameters of a bound method. Raises `TypeError` for hints that cannot be served."""
    try:
        hints = typing.get_type_hints(method)
    except (NameError, TypeError, AttributeError):
        # Hints may name what is imported for type checkers only: the text is enough.
        hints = {}
    found = []
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = hints.get(parameter.name, parameter.annotation)
        found.append(argument_of(parameter, hint))
    if not found:
        raise TypeError("it takes no argument for its input")
    return tuple(found)


def argument_of(parameter: inspect.Parameter, hint: Any) -> Argument:
    """What the parameter wants. Raises `TypeError` for a hint that cannot be served."""
    is_optional = parameter.default is not parameter.empty
    if hint is parameter.empty or hint is Any:
        return Argument(parameter.name, "array", is_optional)
    name, of_lists = _hint_name(hint)
    kind = _KINDS.get(name)
    if kind is None:
        raise TypeError(
            f"the hint {name} of its parameter '{parameter.name}' is not one of np.ndarray, "
            "pd.DataFrame, dict, list, str, bytes, float, int, bool"
        )
    return Argument(parameter.name, kind, is_optional, of_lists)


def _hint_name(hint: Any) -> tuple[str, bool]:
    """The hint's bare name, and whether lists are within it."""
    if isinstance(hint, str):
        text = hint.split("|")[0].strip()
        base = text.split("[")[0].split(".")[-1]
        return base, "list" in text.split("[", 1)[-1] if "[" in text else False
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [each for each in typing.get_args(hint) if each is not type(None)]
        return _hint_name(options[0])
    inner = typing.get_args(hint)
    of_lists = any("list" in str(each) for each in inner)
    return getattr(origin or hint, "__name__", str(hint)), of_lists


def inputs_of(arguments: Sequence[Argument]) -> tuple[TensorMetadata, ...]:
    """The inputs as far as hints tell; none if the model takes whatever it is sent."""
    if len(arguments) == 1 and arguments[0].kind in ("frame", "dict", "request"):
        return ()
    if len(arguments) == 1:
        return (_input(INPUT_NAME, arguments[0]),)
    return tuple(_input(each.name, each) for each in arguments)


def _input(name: str, argument: Argument) -> TensorMetadata:
    if argument.kind in ("str", "bytes"):
        return TensorMetadata(name, "BYTES", (), any_shape=True, optional=argument.is_optional)
    others: tuple[Datatype, ...] = tuple(each for each in NUMERIC if each != "FP64")
    accepts = others if argument.kind == "number" else (*others, "BYTES")
    return TensorMetadata(
        name, "FP64", (), any_shape=True, accepts=accepts, optional=argument.is_optional
    )


def call_arguments(
    arguments: Sequence[Argument], request: InferRequest
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments for the method.

    Raises `InvalidInput` where the tensors cannot become what the hints ask for.
    """
    if len(arguments) == 1:
        return [_whole(arguments[0], request)], {}
    given = {tensor.name: tensor for tensor in request.inputs}
    missing = [each.name for each in arguments if not each.is_optional and each.name not in given]
    if missing:
        raise InvalidInput(
            f"input '{missing[0]}' is missing; the model needs "
            + ", ".join(each.name for each in arguments)
        )
    return [], {
        each.name: _converted(each, given[each.name]) for each in arguments if each.name in given
    }


def _whole(argument: Argument, request: InferRequest) -> Any:
    if argument.kind == "request":
        return request
    if argument.kind == "dict":
        return {
            tensor.name: text_or_numbers(tensor.data).tolist()
            if argument.of_lists
            else text_or_numbers(tensor.data)
            for tensor in request.inputs
        }
    if argument.kind == "frame":
        return _frame(request)
    if len(request.inputs) != 1:
        raise InvalidInput(
            f"the model takes one input ('{argument.name}'); the request has {len(request.inputs)}"
        )
    return _converted(argument, request.inputs[0])


def _converted(argument: Argument, tensor: Tensor) -> Any:
    data = tensor.data
    if argument.kind in ("str", "bytes", "number"):
        return _single(argument, tensor)
    if argument.kind == "list":
        return text_or_numbers(data).tolist()
    if argument.kind == "dict":
        return {tensor.name: text_or_numbers(data)}
    if argument.kind == "frame":
        return _frame(InferRequest((tensor,)))
    return text_or_numbers(data)


def _single(argument: Argument, tensor: Tensor) -> Any:
    if tensor.data.size != 1:
        raise InvalidInput(
            f"input '{tensor.name}' has {tensor.data.size} elements, the model takes one at a "
            "time; send one"
        )
    value = tensor.data.reshape(-1)[0]
    if argument.kind == "number":
        return value.item() if isinstance(value, np.generic) else value
    if argument.kind == "bytes":
        return value
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise InvalidInput(f"input '{tensor.name}' is no UTF-8 text: {error}") from error


def text_or_numbers(array: Array) -> Array:
    """BYTES as `str` if all of them are UTF-8, else as `bytes` (an image, say)."""
    if array.dtype != np.object_:
        return array
    values = array.reshape(-1).tolist()
    try:
        values = [each.decode() if isinstance(each, bytes) else each for each in values]
    except UnicodeDecodeError:
        return array
    texts = np.empty(array.size, dtype=np.object_)
    texts[:] = values
    return texts.reshape(array.shape)


def _frame(request: InferRequest) -> Any:
    """A column per input; a matrix becomes as many columns as it has."""
    import pandas as pd

    columns: dict[Any, Array] = {}
    rows = len(request.inputs[0].data) if request.inputs and request.inputs[0].data.ndim else 0
    for tensor in request.inputs:
        data = text_or_numbers(tensor.data)
        if data.ndim == 0 or data.ndim > 2 or len(data) != rows:
            raise InvalidInput(
                f"input '{tensor.name}' has shape {list(data.shape)}, which is no column of a "
                f"table of {rows} rows; send [n] or [n, 1] for each column"
            )
        if data.ndim == 2 and data.shape[1] != 1:
            prefix = "" if len(request.inputs) == 1 else f"{tensor.name}_"
            for index in range(data.shape[1]):
                columns[f"{prefix}{index}"] = data[:, index]
        else:
            columns[tensor.name] = data.reshape(-1)
    return pd.DataFrame(columns)
