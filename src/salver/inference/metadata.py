"""What a model says of itself: its inputs and outputs, by name, datatype and shape.

Imports no NumPy: the gateway reads metadata and never touches a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import msgspec

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]
DATATYPES: frozenset[str] = frozenset(get_args(Datatype))

STRUCT_CODES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "?",
        "UINT8": "B",
        "UINT16": "H",
        "UINT32": "I",
        "UINT64": "Q",
        "INT8": "b",
        "INT16": "h",
        "INT32": "i",
        "INT64": "q",
        "FP16": "e",
        "FP32": "f",
        "FP64": "d",
    }
)
"""How the `struct` module reads an element of raw data, where it can."""

ANY_DIMENSION = -1
"""In a shape: this dimension may have any size."""


class TensorMetadata(msgspec.Struct, frozen=True):
    """One input or output; `shape` includes the batch dimension (-1) where there is one.

    An empty `shape` together with `any_shape` means that the model does not say.
    `accepts` lists further datatypes that the model takes for this input. `labels` are the names
    of the classes that an output has a value for each of, in their order.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    any_shape: bool = False
    accepts: tuple[Datatype, ...] = ()
    optional: bool = False
    content_type: str | None = None
    labels: tuple[str, ...] = ()


class SignatureMetadata(msgspec.Struct, frozen=True):
    """One of several things that a model can be asked for: its own inputs and outputs.

    `method_name` is TensorFlow's: what kind of question it answers, e.g.
    `tensorflow/serving/predict`.
    """

    name: str
    method_name: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A loaded model as its callers may know it.

    `outputs` lists all that can be asked for; `default_outputs` names those given when
    the request names none. `column_names` are the feature names a tabular model was
    trained with: such a model takes either its one matrix or one tensor per column.
    `positional_input` says that the name of the single input was made up by Salver, so any
    name will do. `batchable` models treat axis 0 of every input and output as rows, which
    are independent of each other. `operations` are the steps around a model that this one has
    instead of predictions (`preprocess`, `postprocess`, `explain`); `wants_headers`: they are
    to be given the caller's headers. `signatures` are all that the model has, where it has such; a
    request chooses one by its parameter `signature_name`, else `inputs` and `outputs` hold.
    `decoupled` models give any number of responses to a request, none included; those are never
    batchable. `has_rows`: axis 0 is rows too where requests are not to be joined.
    `configuration` is what was declared for the model in Triton's terms, as JSON, where it was.
    """

    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    default_outputs: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    column_datatypes: tuple[Datatype, ...] = ()
    positional_input: bool = False
    batchable: bool = True
    idempotent: bool = True
    forbids_nan: bool = False
    framework_version: str = ""
    operations: tuple[str, ...] = ()
    wants_headers: bool = False
    signatures: tuple[SignatureMetadata, ...] = ()
    decoupled: bool = False
    has_rows: bool = False
    configuration: str = ""
