"""Signatures: what of a model a request in TensorFlow's terms asks for, and what there is to ask.

A model of TensorFlow has signatures of its own. Every other model has a default one, and one for
each of its outputs that is not given by default. Pure, and without NumPy: the gateway tells of
signatures, workers choose them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, SignatureMetadata, TensorMetadata
from salver.protocol.wire import ModelIdentity

DEFAULT_SIGNATURE = "serving_default"
SIGNATURE_PARAMETER = "signature_name"
"""The request parameter by which a model with signatures is told which is meant."""
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_USUAL_NAMES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        PREDICT: frozenset({"", DEFAULT_SIGNATURE, "predict"}),
        CLASSIFY: frozenset({"", DEFAULT_SIGNATURE, "classify", "classification"}),
        REGRESS: frozenset({"", DEFAULT_SIGNATURE, "regress", "regression"}),
    }
)
"""What clients call the signature that a model without any of its own is asked by."""
_NUMBERED = re.compile(r"(?:.*[^0-9])?0*([0-9]{1,18})")
DTYPES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "FP32": ("DT_FLOAT", 1),
        "FP64": ("DT_DOUBLE", 2),
        "INT32": ("DT_INT32", 3),
        "UINT8": ("DT_UINT8", 4),
        "INT16": ("DT_INT16", 5),
        "INT8": ("DT_INT8", 6),
        "BYTES": ("DT_STRING", 7),
        "INT64": ("DT_INT64", 9),
        "BOOL": ("DT_BOOL", 10),
        "BF16": ("DT_BFLOAT16", 14),
        "UINT16": ("DT_UINT16", 17),
        "FP16": ("DT_HALF", 19),
        "UINT32": ("DT_UINT32", 22),
        "UINT64": ("DT_UINT64", 23),
    }
)
"""TensorFlow's name and number of each datatype."""


class Chosen(msgspec.Struct, frozen=True):
    """A signature as a request asked for it.

    `model` is the model as that signature shows it, `outputs` are those that the name itself asks
    for, `parameters` what the model is told of it.
    """

    name: str
    model: ModelIdentity
    outputs: tuple[str, ...] = ()
    parameters: dict[str, Any] | None = None


def chosen(name: str, model: ModelIdentity, method: str = PREDICT) -> Chosen:
    """The signature of that name, or the default one. Raises `InvalidInput` if there is none."""
    metadata = model.metadata
    if metadata.signatures:
        if not name:
            name = default_of(metadata, method).name
        narrowed = narrowed_to(name, model)
        return Chosen(name, narrowed, (), {SIGNATURE_PARAMETER: name})
    if name in _USUAL_NAMES[method]:
        return Chosen(name or DEFAULT_SIGNATURE, model)
    known = [output.name for output in metadata.outputs]
    if name in known:
        return Chosen(name, model, (name,))
    raise InvalidInput(
        f"model {model.name!r} has no signature {name[:64]!r}: leave signature_name out"
        + (f", or name an output: {', '.join(known)[:400]}" if known else "")
    )


def default_of(metadata: ModelMetadata, method: str) -> SignatureMetadata:
    """The signature that is meant where none is named: the one for the method, else the default."""
    by_name = {each.name: each for each in metadata.signatures}
    default = by_name.get(DEFAULT_SIGNATURE, metadata.signatures[0])
    if method == PREDICT or default.method_name == method:
        return default
    return next((each for each in metadata.signatures if each.method_name == method), default)


@lru_cache(maxsize=256)
def narrowed_to(name: str, model: ModelIdentity) -> ModelIdentity:
    """The model with the inputs and outputs of one of its signatures. Raises `InvalidInput`."""
    for each in model.metadata.signatures:
        if each.name == name:
            changes = {
                "inputs": each.inputs,
                "outputs": each.outputs,
                "default_outputs": (),
                "signatures": (),
            }
            metadata = msgspec.structs.replace(model.metadata, **changes)
            return ModelIdentity(model.name, model.version, metadata)
    known = ", ".join(each.name for each in model.metadata.signatures)
    raise InvalidInput(
        f"model {model.name!r} has no signature {name[:64]!r}: name one of {known[:400]}"
    )


def signatures_of(metadata: ModelMetadata) -> tuple[SignatureMetadata, ...]:
    """All that a client may name."""
    if metadata.signatures:
        return metadata.signatures
    defaults = metadata.default_outputs or tuple(each.name for each in metadata.outputs)
    given = tuple(each for each in metadata.outputs if each.name in defaults)
    others = [each for each in metadata.outputs if each.name not in defaults]
    found = [SignatureMetadata(DEFAULT_SIGNATURE, PREDICT, metadata.inputs, given)]
    found += [SignatureMetadata(each.name, PREDICT, metadata.inputs, (each,)) for each in others]
    return tuple(found)


def shape_of(tensor: TensorMetadata) -> tuple[int, ...] | None:
    """The shape as TensorFlow has it: None if its rank is unknown."""
    return None if tensor.any_shape and not tensor.shape else tensor.shape


def version_number(version: str) -> int | None:
    """A version as the number that TensorFlow Serving's messages have room for.

    `3` is 3 and a revision `iris-00002` is 2; None for a version without a number at its end.
    """
    match = _NUMBERED.fullmatch(version)
    return int(match[1]) if match else None
