"""Examples as the bytes that models of TensorFlow parse by themselves.

A signature that classifies or regresses takes one vector of strings: an Example each, serialised.
What is in it is the model's own affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.protocol import tfs_pb2 as pb
from salver.protocol.tfs_signatures import CLASSIFY, REGRESS
from salver.protocol.wire import ModelIdentity, WireTensor


def input_of_examples(name: str, model: ModelIdentity) -> TensorMetadata | None:
    """The input that takes Examples as bytes, if the signature is one that has it."""
    for each in model.metadata.signatures:
        if each.name == name and each.method_name in (CLASSIFY, REGRESS) and len(each.inputs) == 1:
            only = each.inputs[0]
            return only if only.datatype == "BYTES" and len(only.shape) == 1 else None
    return None


def serialised(
    examples: Sequence[Mapping[str, list[Any]]], spec: TensorMetadata, model: ModelIdentity
) -> list[WireTensor]:
    """Each example as one string. Raises `InvalidInput` if there is none, or an odd value."""
    if not examples:
        raise InvalidInput(
            f"the request to model {model.name!r} has no examples: send at least one"
        )
    texts = []
    for index, example in enumerate(examples):
        message = pb.Example()
        for key, values in example.items():
            try:
                _put(message.features.feature[key], values)
            except (TypeError, ValueError) as error:
                raise InvalidInput(
                    f"feature {key[:64]!r} of example {index} for model {model.name!r} is mixed "
                    f"or out of range ({error}): send numbers or strings of one kind"
                ) from error
        texts.append(message.SerializeToString(deterministic=True))
    return [WireTensor(spec.name, (len(texts),), "BYTES", texts)]


def _put(feature: pb.Feature, values: list[Any]) -> None:
    """Strings, integers, or numbers of which one at least has a fraction or may have one."""
    if any(isinstance(value, str | bytes) for value in values):
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        feature.bytes_list.value.extend(texts)
    elif any(isinstance(value, float) for value in values):
        feature.float_list.value.extend(values)
    elif values:
        feature.int64_list.value.extend(values)
