"""Examples, records of named features, as a model's inputs.

A feature is one value or a list of values for each example. Features that a model knows are taken:
its columns, its inputs by name, or the one feature there is for its one input. Others are passed
over, as TensorFlow does. A model of TensorFlow's own may parse them itself (`tfs_serialised.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.protocol.tfs_grpc import SignedRequest
from salver.protocol.tfs_results import class_outputs, value_outputs
from salver.protocol.tfs_serialised import input_of_examples, serialised
from salver.protocol.tfs_signatures import CLASSIFY, REGRESS, chosen
from salver.protocol.v1_values import column_tensor
from salver.protocol.wire import ModelIdentity, WireOutput, WireTensor

Example = Mapping[str, list[Any]]
"""The values of each feature: numbers, or strings, or bytes; none where it is missing."""


class ExamplesRequest(SignedRequest):
    """Examples to classify or regress; `view` is the model as the signature shows it.

    `is_task`: it is one of several tasks on the same examples, and answered as such.
    """

    view: ModelIdentity | None = None
    is_regression: bool = False
    is_task: bool = False


def examples_request(
    signature_name: str,
    examples: Sequence[Example],
    model: ModelIdentity,
    *,
    is_regression: bool,
    is_task: bool = False,
) -> ExamplesRequest:
    """What is asked of the model for these examples. Raises `InvalidInput`."""
    signature = chosen(signature_name, model, REGRESS if is_regression else CLASSIFY)
    view = signature.model
    outputs = signature.outputs or (value_outputs(view) if is_regression else class_outputs(view))
    taken = input_of_examples(signature.name, model)
    tensors = serialised(examples, taken, view) if taken else example_tensors(examples, view)
    request = ExamplesRequest(
        tensors,
        None,
        signature.parameters,
        signature=signature.name,
        view=view,
        is_regression=is_regression,
        is_task=is_task,
    )
    if outputs:
        request.outputs = [WireOutput(name) for name in outputs]
    return request


def example_tensors(examples: Sequence[Example], model: ModelIdentity) -> list[WireTensor]:
    """The features of all examples as tensors of one row for each. Raises `InvalidInput`."""
    if not examples:
        raise InvalidInput(
            f"the request to model {model.name!r} has no examples: send at least one"
        )
    names = list(dict.fromkeys(name for example in examples for name in example))
    if not names:
        raise InvalidInput(f"the examples for model {model.name!r} have no features: send some")
    metadata = model.metadata
    inputs = {spec.name: spec for spec in metadata.inputs}
    if metadata.column_names and not set(names) & inputs.keys():
        columns = [name for name in metadata.column_names if name in names]
        if columns:
            return [_column(name, examples, model) for name in columns]
    if not inputs:
        return [_free(name, examples, model) for name in names]
    known = [name for name in inputs if name in names]
    if known:
        return [_input(inputs[name], name, examples, model) for name in known]
    if len(inputs) == len(names) == 1 and metadata.positional_input:
        return [_input(metadata.inputs[0], names[0], examples, model)]
    raise _unknown(names, model)


def _unknown(names: list[str], model: ModelIdentity) -> InvalidInput:
    wanted = model.metadata.column_names or [spec.name for spec in model.metadata.inputs]
    spec = model.metadata.inputs[0]
    width = spec.shape[1] if len(spec.shape) == 2 and spec.shape[1] > 0 else 0
    lists = f" with {width} values" if width and not model.metadata.column_names else ""
    return InvalidInput(
        f"model {model.name!r} knows none of the features {', '.join(map(repr, names))[:200]}: "
        f"send {', '.join(map(repr, wanted))[:400]}{lists}"
    )


def _column(name: str, examples: Sequence[Example], model: ModelIdentity) -> WireTensor:
    values = []
    for index, example in enumerate(examples):
        found = example.get(name) or [None]
        if len(found) != 1:
            raise InvalidInput(
                f"feature {name[:64]!r} of example {index} for model {model.name!r} has "
                f"{len(found)} values: send one, it is a column"
            )
        values.append(found[0])
    return _typed(name, values, model)


def _typed(name: str, values: list[Any], model: ModelIdentity) -> WireTensor:
    """One value for each example, whose kind decides the datatype."""
    if all(isinstance(value, str | bytes) for value in values):
        return WireTensor(name, (len(values),), "BYTES", values)
    return column_tensor(name, values, model)


def _free(name: str, examples: Sequence[Example], model: ModelIdentity) -> WireTensor:
    rows, width = _rows(name, examples, model)
    flat = _typed(name, [value for row in rows for value in row], model)
    if width != 1:
        flat.shape = (len(rows), width)
    return flat


def _input(
    spec: TensorMetadata, name: str, examples: Sequence[Example], model: ModelIdentity
) -> WireTensor:
    rows, width = _rows(name, examples, model)
    values = [value for row in rows for value in row]
    if spec.datatype == "BYTES" and spec.any_shape and not isinstance(values[0], str | bytes):
        # The model takes anything: what it gets is decided by the values.
        datatype: str = _typed(name, values, model).datatype
    else:
        datatype = spec.datatype
    return WireTensor(spec.name, (len(rows), *_trailing(spec, width)), datatype, values)


def _rows(
    name: str, examples: Sequence[Example], model: ModelIdentity
) -> tuple[list[list[Any]], int]:
    rows: list[list[Any]] = []
    for index, example in enumerate(examples):
        row = example.get(name)
        if not row:
            raise InvalidInput(
                f"example {index} for model {model.name!r} lacks the feature {name[:64]!r}: "
                f"send it in each example, with a value"
            )
        if len(row) != len(rows[0] if rows else row):
            raise InvalidInput(
                f"feature {name[:64]!r} of example {index} for model {model.name!r} has "
                f"{len(row)} values, of example 0 {len(rows[0])}: send equally many"
            )
        rows.append(row)
    return rows, len(rows[0])


def _trailing(spec: TensorMetadata, width: int) -> tuple[int, ...]:
    """The shape of one row: the input's, if so many values can have it; else what they show."""
    if spec.any_shape and not spec.shape:
        return () if width == 1 else (width,)
    trailing = spec.shape[1:]
    known = math.prod(size for size in trailing if size >= 0)
    if not trailing:
        return () if width == 1 else (width,)
    if trailing.count(-1) == 0 and known == width:
        return trailing
    if trailing.count(-1) == 1 and known and width % known == 0:
        return tuple(width // known if size < 0 else size for size in trailing)
    return (width,)
