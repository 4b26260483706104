"""The outputs that a V2 request names: they are the whole graph's, not its first step's."""

from __future__ import annotations

from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.protocol import wire_fields
from salver.protocol.messages import Message, assemble, tensors_of
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec

_GRPC_OUTPUTS = 6


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
    asked = Asked(tuple(each.name for each in head.outputs or ()), is_binary)
    head.outputs = None
    if is_binary:
        head.parameters = {**(head.parameters or {}), "binary_data_output": True}
    text = msgspec.json.encode(head)
    body = b"".join((text, view[end:]))
    return Message(request.codec, len(text) if request.aux else 0, body, is_request=True), asked


def _asked_in_grpc(request: Message) -> tuple[Message, Asked | None]:
    try:
        places = list(wire_fields.places(request.body))
        if not any(number == _GRPC_OUTPUTS for number, _, _ in places):
            return request, None
        names = [
            bytes(value).decode()
            for number, output in wire_fields.fields(request.body)
            if number == _GRPC_OUTPUTS
            for field, value in wire_fields.fields(output)
            if field == 1
        ]
    except ValueError as error:
        raise InvalidInput(f"the body is no V2 gRPC inference request: {error}") from error
    view = memoryview(request.body)
    body = b"".join(view[start:end] for number, start, end in places if number != _GRPC_OUTPUTS)
    return Message(request.codec, 0, body, is_request=True), Asked(tuple(names))
