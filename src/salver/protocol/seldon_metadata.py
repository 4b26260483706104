"""What Seldon's metadata routes tell of models and graphs: as JSON, and as protobuf messages.

Imports neither NumPy nor a protobuf library: the gateway answers these routes itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from salver.errors import ModelFailed
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.seldon_meta_fields import written_value
from salver.protocol.wire_fields import text_field, varint

_ALL_BITS = (1 << 64) - 1


class _OwnTensor(msgspec.Struct, omit_defaults=True):
    """An input or output as a component declares it: a tensor, or a kind of Seldon message."""

    name: str = ""
    datatype: str = ""
    shape: list[int] = []
    messagetype: str = ""
    schema: Any = None


class _Own(msgspec.Struct, omit_defaults=True):
    """What `init_metadata` may say; whatever else it says is left out."""

    name: str = ""
    versions: list[str] = []
    platform: str = ""
    inputs: list[_OwnTensor] | None = None
    outputs: list[_OwnTensor] | None = None
    custom: dict[str, str] = {}


def with_own(document: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A SeldonModelMetadata with what the component itself declares. Raises `ModelFailed`."""
    try:
        declared = msgspec.to_builtins(msgspec.convert(own, _Own))
    except msgspec.ValidationError as error:
        raise ModelFailed(
            f"component '{document['name']}': its init_metadata cannot be told: {error}"
        ) from error
    return {**document, **declared}


def model_document(name: str, versions: Sequence[str], metadata: ModelMetadata) -> dict[str, Any]:
    """A SeldonModelMetadata."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": metadata.platform,
        "inputs": [_tensor_document(each) for each in metadata.inputs],
        "outputs": [_tensor_document(each) for each in metadata.outputs],
    }


def graph_document(
    whole: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A SeldonGraphMetadata of what all of it is, as a model, and of its parts."""
    return {
        "name": whole["name"],
        "models": dict(models),
        "graphinputs": whole["inputs"],
        "graphoutputs": whole["outputs"],
    }


def model_message(document: Mapping[str, Any]) -> bytes:
    """The same of a model as a message."""
    pieces = [text_field(1, document["name"].encode())]
    pieces += [text_field(2, version.encode()) for version in document["versions"]]
    pieces.append(text_field(3, document["platform"].encode()))
    pieces += [text_field(4, _tensor_message(each)) for each in document["inputs"]]
    pieces += [text_field(5, _tensor_message(each)) for each in document["outputs"]]
    for key, value in document.get("custom", {}).items():
        entry = text_field(1, key.encode()) + text_field(2, value.encode())
        pieces.append(text_field(6, entry))
    return b"".join(pieces)


def graph_message(document: Mapping[str, Any]) -> bytes:
    """The same of a graph as a message."""
    pieces = [text_field(1, document["name"].encode())]
    for name, model in document["models"].items():
        entry = text_field(1, name.encode()) + text_field(2, model_message(model))
        pieces.append(text_field(2, entry))
    pieces += [text_field(3, _tensor_message(each)) for each in document["graphinputs"]]
    pieces += [text_field(4, _tensor_message(each)) for each in document["graphoutputs"]]
    return b"".join(pieces)


def _tensor_document(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _tensor_message(tensor: Mapping[str, Any]) -> bytes:
    shape = b"".join(varint(size & _ALL_BITS) for size in tensor.get("shape", ()))
    fields = [
        text_field(number, tensor[key].encode())
        for number, key in ((1, "messagetype"), (3, "name"), (4, "datatype"))
        if tensor.get(key)
    ]
    if "schema" in tensor:
        fields.append(text_field(2, written_value(tensor["schema"])))
    if shape:
        fields.append(text_field(5, shape))
    return b"".join(fields)
