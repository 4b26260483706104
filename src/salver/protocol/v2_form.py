"""V2 inference requests as HTML forms send them (`multipart/form-data`): files as they are.

Each part is an input, by its name. A part with a file name is a BYTES element, its content; other
parts are text: a BYTES element of an input that takes BYTES, else a JSON value or list of values.
Several parts of one name are several elements. The parts `id` and `parameters` (a JSON object) are
what they are in JSON. Answers are V2's JSON. The boundary is what the body begins with. `aux` has
no meaning here.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.protocol.v1_values import free_tensor, typed_tensor
from salver.protocol.v2_json import V2JsonCodec
from salver.protocol.wire import ModelIdentity, WireRequest, WireTensor

_MOST_PARTS = 1024
_BOUNDARY = re.compile(rb"(?:\r?\n)*--([0-9A-Za-z'()+_,./:=? -]{1,70})[ \t]*\r\n")
_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 8192
_PARAMETER = re.compile(r';\s*([a-zA-Z*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


class Part(msgspec.Struct, frozen=True):
    """One part of a form."""

    name: str
    is_file: bool
    content: bytes
    content_type: str = ""


class V2FormCodec(V2JsonCodec):
    """See `wire.WireCodec`; answers as V2's JSON has them."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        by_name: dict[str, list[Part]] = {}
        for part in parts_of(bytes(body)):
            by_name.setdefault(part.name, []).append(part)
        inputs = {each.name for each in model.metadata.inputs}
        request = WireRequest([])
        if "id" in by_name and "id" not in inputs:
            request.id = _text(by_name.pop("id")[-1])
        if "parameters" in by_name and "parameters" not in inputs:
            request.parameters = _parameters(by_name.pop("parameters")[-1])
        request.inputs = [_tensor(name, parts, model) for name, parts in by_name.items()]
        return request


def parts_of(body: bytes) -> list[Part]:
    """The parts of a form. Raises `InvalidInput` for what is none, or is cut off."""
    match = _BOUNDARY.match(body)
    if match is None:
        raise InvalidInput("the form does not begin with its boundary: send multipart/form-data")
    delimiter = b"\r\n--" + match[1].rstrip(b" ")
    parts: list[Part] = []
    position = match.end()
    while True:
        end = body.find(delimiter, position)
        if end < 0:
            raise InvalidInput("the form is cut off: it has no closing boundary; send all of it")
        parts.append(_part(body[position:end]))
        if len(parts) > _MOST_PARTS:
            raise InvalidInput(f"the form has over {_MOST_PARTS} parts: send fewer")
        position = end + len(delimiter)
        if body.startswith(b"--", position):
            return parts
        line_end = body.find(b"\r\n", position)
        if line_end < 0 or body[position:line_end].strip(b" \t"):
            raise InvalidInput("the form has a boundary that no line ends after: correct it")
        position = line_end + 2


def _part(data: bytes) -> Part:
    end = data.find(_HEAD_END, 0, _LONGEST_HEAD)
    if end < 0:
        raise InvalidInput("a part of the form has no head that says its name: correct it")
    name: str | None = None
    is_file, content_type = False, ""
    for line in data[:end].decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            found = _parameters_of(value)
            name = found.get("name")
            is_file = "filename" in found or "filename*" in found
        elif key.strip().lower() == "content-type":
            content_type = value.strip().lower()
    if name is None:
        raise InvalidInput("a part of the form has no name: name it as the input that it is")
    return Part(name, is_file, data[end + len(_HEAD_END) :], content_type)


def _parameters_of(value: str) -> dict[str, str]:
    """The parameters of a header; a quoted one may hold quotes behind backslashes."""
    return {
        each[1].lower(): (each[2] or each[3] or "").replace('\\"', '"')
        for each in _PARAMETER.finditer(value)
    }


def _tensor(name: str, parts: list[Part], model: ModelIdentity) -> WireTensor:
    metadata = model.metadata
    spec = next((each for each in metadata.inputs if each.name == name), None)
    if spec is None and metadata.positional_input:
        spec = metadata.inputs[0]
    is_bytes = spec is None or "BYTES" in (spec.datatype, *spec.accepts)
    if any(part.is_file for part in parts) or (is_bytes and not _is_json(parts)):
        shape: tuple[int, ...] = (len(parts),)
        if spec is not None and len(spec.shape) > 1:
            shape += (1,) * (len(spec.shape) - 1)
        return WireTensor(name, shape, "BYTES", [part.content for part in parts])
    return _of_values(name, spec, [_json(part) for part in parts], model)


def _is_json(parts: list[Part]) -> bool:
    return any(part.content_type.startswith("application/json") for part in parts)


def _of_values(
    name: str, spec: TensorMetadata | None, given: list[Any], model: ModelIdentity
) -> WireTensor:
    values = given[0] if len(given) == 1 and isinstance(given[0], list) else given
    if spec is None:
        return free_tensor(name, values, model)
    if spec.any_shape and not spec.shape:
        return free_tensor(name, values, model, (spec.datatype, *spec.accepts))
    return typed_tensor(spec, values, model)


def _json(part: Part) -> Any:
    try:
        return msgspec.json.decode(part.content)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the part {part.name[:64]!r} of the form is no file and no JSON: send a number, a "
            "list of them, or a file"
        ) from error


def _parameters(part: Part) -> dict[str, Any]:
    found = _json(part)
    if not isinstance(found, dict):
        raise InvalidInput("the part 'parameters' of the form must be a JSON object")
    return found


def _text(part: Part) -> str:
    return part.content.decode("utf-8", "replace")[:256]
