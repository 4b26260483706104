"""A PyTorch model in memory, whatever format it came in: something to call, and what it takes.

Owns the value that readers of formats give and `torch_model.py` serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from salver.inference.metadata import Datatype, TensorMetadata
from salver.runtimes.torch_arguments import Argument


class TorchProgram(msgspec.Struct, frozen=True, kw_only=True):
    """`function` is called with what `arguments` say, in inference mode.

    `inputs` and `outputs` are what the format or the class declares, empty where it does not.
    `float_type`: what the model calculates in. `has_free_rows`: nothing is known to fix the
    first dimension. `batchable`: what the class says of itself.
    """

    platform: str
    function: Any
    arguments: tuple[Argument, ...]
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    float_type: Datatype = "FP32"
    has_free_rows: bool = True
    batchable: bool | None = None
    example: Any = None


def float_type_of(tensors: Sequence[Any]) -> Datatype:
    """The type of the first parameter that is a floating-point number; FP32 without one."""
    names: dict[str, Datatype] = {
        "torch.float16": "FP16",
        "torch.bfloat16": "BF16",
        "torch.float64": "FP64",
    }
    first = next((each for each in tensors if each.is_floating_point()), None)
    return "FP32" if first is None else names.get(str(first.dtype), "FP32")
