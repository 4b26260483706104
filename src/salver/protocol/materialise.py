"""Requests of any protocol made into one `InferRequest`, with one conversion a tensor.

`group_key` says which requests may be stacked, `assemble` stacks them. Checked layouts are
kept by what a request looks like, so that the usual request costs one look-up. The only
error raised is `InvalidInput`; one of a group may be about any of its requests, so whoever
calls then tries each alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import numpy as np

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array, InferRequest, Tensor
from salver.protocol import content
from salver.protocol.elements import (
    array_of_raw,
    array_of_values,
    check_raw_size,
    flattened,
    shown,
)
from salver.protocol.layout import TRANSPORT_PARAMETERS, Layout, Slot, layout_of
from salver.protocol.wire import ModelIdentity, WireRequest, WireTensor

_MOST_LAYOUTS = 1024
_LONGEST_SIGNATURE = 2048
"""In characters: what is longer is checked anew each time, and not kept."""


def group_key(request: WireRequest, model: ModelIdentity) -> Hashable | None:
    """Requests with equal keys may be stacked; None must run alone.

    Raises `InvalidInput` for what the model's metadata refuses.
    """
    layout = _layouts_of(model).layout(request)
    return None if layout.is_alone else layout


def assemble(requests: list[WireRequest], model: ModelIdentity) -> tuple[InferRequest, list[int]]:
    """Stacks requests of one group on axis 0, and says how many rows each has.

    Raises `InvalidInput` if a value does not fit its datatype or its shape.
    """
    first = requests[0]
    layout = _layouts_of(model).layout(first)
    metadata = model.metadata
    tensors = tuple([_stacked(slot, requests) for slot in layout.slots])
    if metadata.forbids_nan:
        for slot, tensor in zip(layout.slots, tensors, strict=True):
            _check_nan(tensor, slot.subject)
    if layout.joined_into is not None:
        tensors = (_joined(tensors, layout.joined_into, model),)
    if metadata.batchable:
        index = layout.slots[0].index
        rows = [request.inputs[index].shape[0] for request in requests]
    else:
        shape = first.inputs[layout.slots[0].index].shape
        rows = [shape[0] if shape else 1]
    return InferRequest(tensors, layout.outputs, layout.parameters), rows


def _stacked(slot: Slot, requests: list[WireRequest]) -> Tensor:
    index, width = slot.index, slot.width
    values: list[Any] = []
    total = 0
    for request in requests:
        tensor = request.inputs[index]
        data, shape = tensor.data, tensor.shape
        if type(data) is not list:
            return _stacked_raw(slot, [request.inputs[index] for request in requests])
        count = shape[0] * width if shape else 1
        if len(data) != count or (count and type(data[0]) is list):
            data = flattened(data, shape, slot.subject)
        values += data
        total += shape[0] if shape else 1
    array = array_of_values(values, slot.datatype, slot.subject)
    return _shaped(slot, array, total, tensor.shape)


def _stacked_raw(slot: Slot, tensors: list[WireTensor]) -> Tensor:
    total = sum(tensor.shape[0] if tensor.shape else 1 for tensor in tensors)
    blobs = [tensor.data for tensor in tensors if type(tensor.data) is not list]
    for tensor in tensors:
        if type(tensor.data) is not list:
            _check_blob(tensor, slot)
    if len(blobs) == len(tensors):
        array = array_of_raw(blobs, slot.datatype, slot.subject)
    else:
        array = np.concatenate([_flat_array(tensor, slot) for tensor in tensors])
    return _shaped(slot, array, total, tensors[-1].shape)


def _check_blob(tensor: WireTensor, slot: Slot) -> None:
    if isinstance(tensor.data, bytes | memoryview):
        check_raw_size(tensor.data, slot.datatype, tensor.shape, slot.subject)
    elif tensor.data is None:
        raise InvalidInput(
            f"{slot.subject} has no data: send its values, or its bytes after the JSON with "
            f"binary_data_size and the header Inference-Header-Content-Length"
        )
    else:
        raise InvalidInput(f"{slot.subject} has data that is no array: send a list of values")


def _flat_array(tensor: WireTensor, slot: Slot) -> Array:
    if isinstance(tensor.data, list):
        values = flattened(tensor.data, tensor.shape, slot.subject)
        return array_of_values(values, slot.datatype, slot.subject)
    return array_of_raw([tensor.data], slot.datatype, slot.subject)


def _shaped(slot: Slot, array: Array, total: int, last_shape: tuple[int, ...]) -> Tensor:
    if slot.content_type is not None and content.needs_decoding(slot.content_type):
        array = content.decoded(array, slot.content_type, slot.datatype, slot.subject)
    if slot.trailing:
        array = array.reshape(total, *slot.trailing)
    elif not last_shape:
        array = array.reshape(())
    return Tensor(slot.name, slot.datatype, array, slot.parameters)


def _check_nan(tensor: Tensor, subject: str) -> None:
    flat = tensor.data.ravel()
    # A minimum is NaN as soon as one element is, and costs no array of its own.
    if flat.dtype.kind != "f" or not flat.size or not np.isnan(np.minimum.reduce(flat)):
        return
    positions = np.argwhere(np.isnan(tensor.data))
    raise InvalidInput(
        f"{subject} has NaN at {shown(positions[0].tolist())}, which the model does not "
        f"take: fill in or leave out what is missing"
    )


def _joined(columns: tuple[Tensor, ...], matrix: TensorMetadata, model: ModelIdentity) -> Tensor:
    joined = np.stack([column.data for column in columns], axis=1)
    wanted = NUMPY_TYPES[matrix.datatype]
    if not np.can_cast(joined.dtype, wanted, casting="same_kind"):
        raise InvalidInput(
            f"the columns for model {model.name!r} are {joined.dtype}, the model takes "
            f"{matrix.datatype}: convert them"
        )
    with np.errstate(over="ignore"):
        return Tensor(matrix.name, matrix.datatype, joined.astype(wanted, copy=False))


class _Layouts:
    """The checked layouts of one model, by the look of the request; bounded."""

    def __init__(self, model: ModelIdentity) -> None:
        self._model = model
        self._by_signature: dict[Hashable, Layout] = {}
        self._by_meaning: dict[Hashable, Layout] = {}

    def layout(self, request: WireRequest) -> Layout:
        inputs, parameters = request.inputs, request.parameters
        signature: Hashable | None
        if (
            len(inputs) == 1
            and inputs[0].parameters is None
            and request.outputs is None
            and (parameters is None or parameters.keys() <= TRANSPORT_PARAMETERS)
        ):
            tensor = inputs[0]
            signature = (tensor.name, tensor.datatype, tensor.shape)
        else:
            signature = _signature(request)
        layout = self._by_signature.get(signature) if signature is not None else None
        return layout if layout is not None else self._check(request, signature)

    def _check(self, request: WireRequest, signature: Hashable | None) -> Layout:
        layout = layout_of(request, self._model)
        if signature is None:
            layout.is_alone = True
            return layout
        if len(self._by_signature) >= _MOST_LAYOUTS:
            self._by_signature.clear()
            self._by_meaning.clear()
        layout = self._by_meaning.setdefault(_meaning(layout), layout)
        if _length_of(request) <= _LONGEST_SIGNATURE:
            self._by_signature[signature] = layout
        return layout


def _length_of(request: WireRequest) -> int:
    return sum(len(tensor.name) + 8 * len(tensor.shape) for tensor in request.inputs)


def _meaning(layout: Layout) -> Hashable:
    """Equal for requests that may be stacked, however many rows each has."""
    return (
        tuple(
            (slot.index, slot.name, slot.datatype, slot.trailing, repr(slot.parameters))
            for slot in layout.slots
        ),
        layout.outputs,
        repr(layout.parameters),
        layout.joined_into is None,
        layout.classes,
    )


def _signature(request: WireRequest) -> Hashable | None:
    """What the request looks like without its values; None if that cannot be kept."""
    try:
        parameters = [_shown(request.parameters, TRANSPORT_PARAMETERS)]
        parameters += [_shown(tensor.parameters) for tensor in request.inputs]
        outputs = request.outputs
        if outputs is not None:
            parameters += [_shown(output.parameters) for output in outputs]
    except (ValueError, RecursionError):
        return None
    if sum(map(len, parameters)) > _LONGEST_SIGNATURE:
        return None
    return (
        tuple([(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs]),
        tuple(parameters),
        None if outputs is None else tuple([output.name for output in outputs]),
    )


def _shown(parameters: dict[str, Any] | None, dropped: frozenset[str] = frozenset()) -> str:
    if not parameters:
        return ""
    return repr([item for item in sorted(parameters.items()) if item[0] not in dropped])


@lru_cache(maxsize=64)
def _layouts_of(model: ModelIdentity) -> _Layouts:
    return _Layouts(model)
