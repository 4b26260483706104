"""Tensors of requests as PyTorch's, and what a module returned as tensors of an answer.

Owns types, devices and the names of outputs. A request's array is shared with PyTorch, not
copied, where a module that writes into its input could do no harm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from salver.errors import ModelFailed
from salver.inference.metadata import Datatype
from salver.inference.tensor import NUMPY_TYPES, Array, Tensor, tensor_from_array

TORCH_TYPES: Mapping[Datatype, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
}
"""What PyTorch calls the datatypes."""
_DATATYPES = {name: datatype for datatype, name in TORCH_TYPES.items()}
_DEEPEST = 8


def datatype_of_torch(dtype: Any) -> Datatype | None:
    """The datatype of a `torch.dtype`; None for one that no tensor can carry."""
    return _DATATYPES.get(str(dtype).removeprefix("torch."))


def torch_tensor(torch: Any, array: Array, datatype: Datatype, device: Any) -> Any:
    """The array as a tensor of that datatype on the device; shared where that is safe."""
    wanted = NUMPY_TYPES[datatype]
    if array.dtype != wanted:
        array = array.astype(wanted)
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        # The bytes are the request's own, or a page that cannot be written: a module that
        # works in place would spoil the one and be killed by the other.
        array = array.copy()
    tensor = torch.from_numpy(array)
    if datatype == "BF16":
        tensor = tensor.to(torch.bfloat16)
    return tensor if device is None else tensor.to(device)


def named_leaves(torch: Any, answer: Any) -> dict[str, Any]:
    """The tensors in what a module returned, by name, in their order.

    A dict, dataclass or named tuple names its own; one tensor is `output-0`, those of a tuple
    `output-0`, `output-1`. Raises `ModelFailed` for what is no tensor.
    """
    if isinstance(answer, torch.Tensor):
        return {"output-0": answer}
    found: dict[str, Any] = {}
    for name, leaf in _leaves(torch, answer, "", 0):
        found[name if name else "output-0"] = leaf
    if not found:
        raise ModelFailed(f"forward returned {_kind(answer)} without a tensor; return one")
    return found


def _leaves(torch: Any, value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, bool | int | float):
        yield name, torch.tensor([value])
    elif depth < _DEEPEST and (fields := _fields(value)) is not None:
        for key, part in fields:
            yield from _leaves(torch, part, _joined(name, key), depth + 1)
    else:
        raise ModelFailed(
            f"forward returned {_kind(value)}{f' in {name}' if name else ''}, which no tensor can "
            "carry; return tensors"
        )


def _fields(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return [(str(index), part) for index, part in enumerate(value)]
    return None


def _joined(name: str, key: str) -> str:
    if not name:
        return f"output-{key}" if key.isdecimal() else key
    return f"{name}-{key}" if key.isdecimal() else f"{name}.{key}"


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def answer_tensor(torch: Any, name: str, leaf: Any) -> Tensor:
    """A tensor of the answer. Raises `ModelFailed` for a type that no answer can carry."""
    if leaf.dtype is torch.bfloat16:
        return Tensor(name, "BF16", leaf.to(torch.float32).numpy(force=True))
    if leaf.is_quantized:
        leaf = leaf.dequantize()
    if leaf.layout is not torch.strided:
        leaf = leaf.to_dense()
    if datatype_of_torch(leaf.dtype) is None:
        raise ModelFailed(
            f"output '{name}' is {str(leaf.dtype).removeprefix('torch.')}, which no tensor can "
            "carry; convert it in forward"
        )
    return tensor_from_array(name, np.asarray(leaf.numpy(force=True)))
