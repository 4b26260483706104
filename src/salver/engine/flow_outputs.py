"""The outputs that a V2 request names: they are the whole graph's, not its first step's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata
from salver.protocol import wire_fields
from salver.protocol.class_names import class_count
from salver.protocol.message_classes import with_classes
from salver.protocol.messages import Message, assemble, tensors_of
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec

_GRPC_OUTPUTS = 6
_NAME, _PARAMETERS = 1, 2
"""Of an output in gRPC; its parameters are a map of messages."""
_KEY, _VALUE, _INT64 = 1, 2, 2
_REGION = "shared_memory_region"
_NO_MEMORY = (
    "an output of a graph cannot be put into shared memory: ask for its values, or ask the model "
    "that gives it"
)


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Head(msgspec.Struct, omit_defaults=True):
    inputs: msgspec.Raw
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Head).decode


class Asked(msgspec.Struct, frozen=True):
    """What of the answer the caller wants: these tensors (all, if none is named), raw or not."""

    names: tuple[str, ...] = ()
    is_binary: bool = False
    classes: Mapping[str, int] = {}
    """How many classes are wanted, of outputs that are wanted so."""

    def only(self, message: Message) -> Message:
        """The answer with what is asked for. Raises `InvalidInput`."""
        if not self.names:
            return message
        given = {each.name: each for each in tensors_of(message)}
        unknown = [name for name in self.names if name not in given]
        if unknown:
            raise InvalidInput(
                f"the graph gave no output '{unknown[0]}' to this request: it gave "
                f"{', '.join(given) or 'none'}"
            )
        if len(given) == len(self.names):
            return message
        return assemble([given[name] for name in self.names], message, is_request=False)

    def ranked(self, message: Message, metadata: ModelMetadata) -> Message:
        """The answer with classes where they are asked for; `metadata` has the graph's labels.

        Raises `InvalidInput`.
        """
        labels = {each.name: each.labels for each in metadata.outputs}
        tensors = [
            with_classes(
                each,
                message,
                self.classes[each.name],
                labels.get(each.name, ()),
                has_rows=metadata.has_rows,
            )
            if each.name in self.classes
            else each
            for each in tensors_of(message)
        ]
        return assemble(tensors, message, is_request=False)


def asked_outputs(request: Message) -> tuple[Message, Asked | None]:
    """The request without the outputs that it asks for, and these; None if it asks for none."""
    if request.codec == Codec.V2_GRPC:
        return _asked_in_grpc(request)
    if request.aux == RAW_BODY_AUX:
        return request, None
    end = request.aux or len(request.body)
    view = memoryview(request.body)
    text = request.body if end == len(view) else bytes(view[:end])
    if isinstance(text, memoryview):
        text = bytes(text)
    if b'"outputs"' not in text and b"binary_data_output" not in text:
        return request, None
    try:
        head = _decode(text)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the body is no V2 inference request: {error}") from error
    is_binary = bool((head.parameters or {}).get("binary_data_output"))
    is_binary |= any(each.parameters.get("binary_data") is True for each in head.outputs or ())
    asked = _asked(head.outputs or (), is_binary=is_binary)
    head.outputs = None
    if is_binary:
        head.parameters = {**(head.parameters or {}), "binary_data_output": True}
    text = msgspec.json.encode(head)
    body = b"".join((text, view[end:]))
    return Message(request.codec, len(text) if request.aux else 0, body, is_request=True), asked


def _asked(outputs: Sequence[_Output], *, is_binary: bool) -> Asked:
    counts = {
        each.name: class_count(each.parameters, None, f"output '{each.name[:64]}' of the graph")
        for each in outputs
    }
    if any(_REGION in each.parameters for each in outputs):
        raise InvalidInput(_NO_MEMORY)
    classes = {name: count for name, count in counts.items() if count}
    return Asked(tuple(each.name for each in outputs), is_binary, classes)


def _asked_in_grpc(request: Message) -> tuple[Message, Asked | None]:
    try:
        places = list(wire_fields.places(request.body))
        if not any(number == _GRPC_OUTPUTS for number, _, _ in places):
            return request, None
        outputs = [
            _grpc_output(output)
            for number, output in wire_fields.fields(request.body)
            if number == _GRPC_OUTPUTS
        ]
    except ValueError as error:
        raise InvalidInput(f"the body is no V2 gRPC inference request: {error}") from error
    asked = _asked(outputs, is_binary=False)
    view = memoryview(request.body)
    body = b"".join(view[start:end] for number, start, end in places if number != _GRPC_OUTPUTS)
    return Message(request.codec, 0, body, is_request=True), asked


def _grpc_output(output: memoryview) -> _Output:
    """Of its parameters, only numbers have their values. Raises `ValueError`."""
    found = _Output("")
    for field, value in wire_fields.fields(output):
        if field == _NAME:
            found.name = bytes(value).decode()
        elif field == _PARAMETERS:
            entry = dict(wire_fields.fields(value))
            numbers = dict(wire_fields.numbers(entry.get(_VALUE, b"")))
            number = numbers.get(_INT64)
            if number is not None and number >> 63:
                number -= 1 << 64
            found.parameters = {**found.parameters, bytes(entry.get(_KEY, b"")).decode(): number}
    return found
