"""What a model of a Triton server is, from what the server says of it. Pure.

Owns how Triton's metadata and configuration become `ModelMetadata`. Shapes are those of the
metadata, which have the batch dimension; the configuration says which inputs may be left out, what
an output's classes are called, and whether requests may be put together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from salver.inference.metadata import DATATYPES, Datatype, ModelMetadata, TensorMetadata
from salver.runtimes.triton_completing import config_document
from salver.runtimes.triton_shapes import seen_tensors
from salver.spec.triton_config import TritonConfig


class Described(msgspec.Struct, frozen=True):
    """`most_rows` is Triton's `max_batch_size`; `in_sequences`: its requests belong together."""

    metadata: ModelMetadata
    most_rows: int
    in_sequences: bool


def described(
    metadata: Mapping[str, Any], config: Mapping[str, Any], folder: Path | None
) -> Described:
    """The model. `folder` has its files, where they are here. Raises `ValueError`."""
    read = _config(config)
    sequences = read.sequence_batching is not None
    has_shape_tensors = any(
        isinstance(each, dict) and each.get("is_shape_tensor") for each in config.get("input", ())
    )
    batchable = (
        read.max_batch_size > 0
        and read.dynamic_batching is not None
        and not (sequences or has_shape_tensors or read.is_decoupled)
    )
    optional = {each.name for each in read.input if each.optional}
    labels = {each.name: each.labels for each in seen_tensors(read, read.output, folder)}
    inputs = _tensors(metadata.get("inputs"), "input")
    outputs = _tensors(metadata.get("outputs"), "output")
    found = ModelMetadata(
        platform=str(metadata.get("platform") or config.get("backend") or "triton"),
        inputs=tuple(msgspec.structs.replace(x, optional=x.name in optional) for x in inputs),
        outputs=tuple(msgspec.structs.replace(x, labels=labels.get(x.name, ())) for x in outputs),
        default_outputs=tuple(each.name for each in outputs),
        batchable=batchable,
        has_rows=read.max_batch_size > 0,
        idempotent=not sequences,
        decoupled=read.is_decoupled,
        configuration=json.dumps(config_document(read)),
    )
    return Described(found, read.max_batch_size, sequences)


def _config(document: Mapping[str, Any]) -> TritonConfig:
    """What of it Salver knows; fields of other versions of Triton are left out."""
    try:
        return msgspec.convert(dict(document), TritonConfig, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"its configuration is not as expected: {error}") from error


def _tensors(found: Any, kind: str) -> Sequence[TensorMetadata]:
    tensors = []
    for each in found if isinstance(found, list) else ():
        try:
            name, datatype = str(each["name"]), each["datatype"]
            shape = tuple(int(size) for size in each["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its metadata has a wrong {kind}: {error!r}") from error
        if datatype not in DATATYPES:
            raise ValueError(f"{kind} '{name}' has the datatype {datatype!r}, which V2 has not")
        tensors.append(TensorMetadata(name, cast(Datatype, datatype), shape))
    if not tensors:
        raise ValueError(f"its metadata has no {kind}s")
    return tensors
