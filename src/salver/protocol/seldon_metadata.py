"""What Seldon's metadata routes tell of models and graphs: as JSON, and as protobuf messages.

Imports neither NumPy nor a protobuf library: the gateway answers these routes itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.wire_fields import text_field, varint

_ALL_BITS = (1 << 64) - 1


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
    shape = b"".join(varint(size & _ALL_BITS) for size in tensor["shape"])
    return b"".join(
        (
            text_field(3, tensor["name"].encode()),
            text_field(4, tensor["datatype"].encode()),
            text_field(5, shape) if shape else b"",
        )
    )
