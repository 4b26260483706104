"""Messages between the steps of a graph, as the gateway handles them: whole, or tensor by tensor.

An answer becomes the next request, tensors are picked, renamed and put together, answers are
gathered into one object. All of it moves bytes: a tensor's elements are never looked at, and NumPy
is not imported. A request that cannot be read raises `InvalidInput`, an answer `ModelFailed`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from salver.errors import InvalidInput, ModelFailed, PayloadTooLarge, Unsupported
from salver.inference.metadata import STRUCT_CODES
from salver.protocol import wire_fields
from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import Codec

Body = bytes | bytearray | memoryview
_JSON = (Codec.V1_JSON, Codec.V2_JSON)
_FAILED = 300
"""The least status of a failure that was tolerated."""
_SELDON = (Codec.SELDON_JSON, Codec.SELDON_GRPC)
_V1_REQUEST_OF = {"predictions": "instances", "outputs": "inputs"}
_V1_RESPONSE_OF = {value: key for key, value in _V1_REQUEST_OF.items()}
_V1_ROWS = ("instances", "predictions")
_V1_COLUMNS = ("inputs", "outputs")


class Tensor(msgspec.Struct):
    """One tensor of a message: its head, and its elements as they came.

    V2 in JSON has them as JSON in `data`, or as bytes in `blob`; gRPC has the tensor's message in
    `data` and what belongs to it of the raw contents in `blob`; V1 has JSON in `data`.
    """

    name: str
    datatype: str = ""
    shape: tuple[int, ...] = ()
    parameters: dict[str, Any] | None = None
    data: Any = None
    blob: Body | None = None


class Message(msgspec.Struct):
    """A request or an answer between two steps, its body as bytes; never changed once made.

    `codec` is the wire format (`Codec`), `aux` the codec's number, `coding` the body's content
    coding. `status` is 200, or for a failure that was tolerated the HTTP status that came with it.
    `parts` and `id` keep what was read of it.
    """

    codec: int
    aux: int
    body: Body
    is_request: bool
    coding: int = 0
    status: int = 200
    parts: list[Tensor] | None = None
    id: str | msgspec.UnsetType | None = msgspec.UNSET


class _JsonTensor(msgspec.Struct, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _JsonHead(msgspec.Struct):
    """What of a V2 answer is read."""

    outputs: list[_JsonTensor] = []


class _JsonRequestHead(msgspec.Struct, omit_defaults=True):
    """The same of a request, whose `outputs` only name what is asked for."""

    inputs: list[_JsonTensor]
    id: str | None = None
    outputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] | None = None


class _JsonResponseHead(msgspec.Struct, omit_defaults=True):
    """The same of an answer, as it is written."""

    outputs: list[_JsonTensor]
    id: str | None = None


_MODEL_NAME = re.compile(rb'\s*\{(\s*"model_name"\s*:\s*"(?:[^"\\]|\\.)*")?')
"""The beginning of a V2 answer: who gave it comes first, if it is there."""
_decode_response = msgspec.json.Decoder(_JsonHead).decode
_decode_request = msgspec.json.Decoder(_JsonRequestHead).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


# Whole messages.


def as_request(
    message: Message,
    first: Message,
    *,
    is_mapped: bool,
    is_binary: bool = False,
    names: Sequence[str] = (),
) -> Message:
    """The answer as the next step's request. V1's needs to be mapped for that, Seldon's does not.

    `first` is the graph's own request, whose id the others have too.

    `is_mapped`: V1's predictions become instances; else its answer is sent on as it is.
    `is_binary`: V2 in JSON asks for raw tensors in return. `names`: see `fitted`.
    """
    if message.is_request:
        return message
    codec = message.codec
    if codec in (Codec.V2_JSON, Codec.V2_GRPC) and message.status < _FAILED:
        tensors = _renamed(tensors_of(message), names)
        return assemble(tensors, first, is_request=True, is_binary=is_binary)
    if codec == Codec.V1_JSON and is_mapped and message.status < _FAILED:
        return msgspec.structs.replace(message, body=_mapped_v1(message), is_request=True)
    return msgspec.structs.replace(message, is_request=True, parts=None)


def _mapped_v1(message: Message) -> bytes:
    fields = _fields(message)
    return _encode({_V1_REQUEST_OF.get(key, key): value for key, value in fields.items()})


def as_response(message: Message) -> Message:
    """A request as the answer to itself: what a graph without a step on its way gives back."""
    if message.codec in (Codec.V2_JSON, Codec.V2_GRPC):
        return assemble(tensors_of(message), message, is_request=False)
    if message.codec == Codec.V1_JSON:
        fields = {_V1_RESPONSE_OF.get(key, key): value for key, value in _fields(message).items()}
        return Message(int(Codec.V1_JSON), 0, _encode(fields), is_request=False)
    return msgspec.structs.replace(message, is_request=False, parts=None)


def as_model(message: Message, name: str) -> Message:
    """The answer as that of another model: V2 says in each answer who gave it."""
    if message.codec == Codec.V2_JSON and not message.coding:
        body = bytes(message.body)
        found = _MODEL_NAME.match(body)
        if found is None:
            return message
        comma = b"" if found[1] is not None or body[found.end() :].lstrip()[:1] == b"}" else b","
        start = b'{"model_name":%b%b' % (_encode(name), comma)
        aux = message.aux + len(start) - found.end() if message.aux > 0 else message.aux
        return Message(message.codec, aux, start + body[found.end() :], is_request=False)
    if message.codec == Codec.V2_GRPC:
        view = memoryview(message.body)
        own = next(wire_fields.places(view), (0, 0, 0))
        rest = view[own[2] :] if own[0] == _MODEL else view
        body = b"".join((wire_fields.text_field(_MODEL, name.encode()), rest))
        return Message(message.codec, 0, body, is_request=False)
    return message


def json_view(message: Message) -> Body:
    """The message as JSON, for conditions: its own, with the elements of raw tensors, or the JSON
    of V2 for gRPC. Raises `Unsupported` for what cannot be shown as JSON."""
    if message.codec == Codec.V2_GRPC:
        return _json_of_grpc(message)
    if message.codec == Codec.SELDON_GRPC or message.aux < 0:
        raise Unsupported("conditions look at JSON, which this message is not: send it as JSON")
    return _with_elements(message) if message.aux > 0 else message.body


def _with_elements(message: Message) -> bytes:
    tensors = [
        {
            "name": each.name,
            "shape": each.shape,
            "datatype": each.datatype,
            "data": _elements(each) if each.blob is not None else each.data or [],
        }
        for each in tensors_of(message)
    ]
    try:
        fields = _decode_object(memoryview(message.body)[: message.aux])
    except msgspec.MsgspecError as error:
        raise _unreadable(message, "V2", error) from error
    key = "inputs" if message.is_request else "outputs"
    return _encode({**fields, key: tensors})


def unpacked(message: Message, limit_bytes: int) -> Message:
    """The message with its content coding undone. Raises `InvalidInput`, `PayloadTooLarge`."""
    if not message.coding:
        return message
    # 32: gzip and zlib heads are told apart by themselves. "deflate" means zlib's format, yet
    # some clients send the bare stream.
    is_bare = message.coding == ContentCoding.DEFLATE and bytes(message.body[:1]) != b"\x78"
    stream = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else 32 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(message.body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body cannot be unpacked: {error}") from error
    if len(plain) > limit_bytes:
        raise PayloadTooLarge(f"the body unpacks to more than {limit_bytes} bytes: send less")
    if not stream.eof:
        raise InvalidInput("the packed body ends too early: send all of it")
    return msgspec.structs.replace(message, body=plain, coding=0, parts=None)


def gathered(keys: Sequence[str], messages: Sequence[Message], like: Message) -> Message:
    """One answer that has the answers of several, by key: KServe's Ensemble.

    Where there is no JSON, all tensors are in one answer, called `KEY.TENSOR`. Raises
    `ModelFailed` for an answer that is no JSON object.
    """
    if all(each.codec in _JSON and not each.aux for each in messages):
        for key, each in zip(keys, messages, strict=True):
            _check_object(key, each)
        fields = (
            b"%b:%b" % (_encode(key), bytes(each.body))
            for key, each in zip(keys, messages, strict=True)
        )
        return Message(like.codec, 0, b"{%b}" % b",".join(fields), is_request=False)
    if like.codec in _SELDON:
        raise Unsupported(
            "answers of several steps cannot be gathered in Seldon's protocol: use V1"
        )
    answers = [tensors_of(each) for each in messages if each.status < _FAILED]
    is_raw = any(tensor.blob is not None for part in answers for tensor in part)
    parts = [
        [_error_tensor(each, like, is_raw)] if each.status >= _FAILED else tensors_of(each)
        for each in messages
    ]
    tensors = [
        msgspec.structs.replace(tensor, name=f"{key}.{tensor.name}")
        for key, part in zip(keys, parts, strict=True)
        for tensor in part
    ]
    return assemble(tensors, like, is_request=False)


def _error_tensor(message: Message, like: Message, is_raw: bool) -> Tensor:
    """A failure that was tolerated as a tensor called `error`: its JSON as one string."""
    text = bytes(message.body)
    if like.codec == Codec.V2_JSON:
        return Tensor("error", "BYTES", (1,), data=[text.decode(errors="replace")])
    head = wire_fields.text_field(2, b"BYTES") + wire_fields.text_field(3, b"\x01")
    if is_raw:
        blob = len(text).to_bytes(4, "little") + text
        return Tensor("error", "BYTES", (1,), data=head, blob=blob)
    contents = wire_fields.text_field(5, wire_fields.text_field(8, text))
    return Tensor("error", "BYTES", (1,), data=head + contents)


def _check_object(key: str, message: Message) -> None:
    try:
        _decode_object(message.body)
    except msgspec.MsgspecError:
        raise ModelFailed(
            f"the answer of '{key}' is no JSON object: it cannot be gathered"
        ) from None


# Tensors.


def tensors_of(message: Message) -> list[Tensor]:
    """The tensors of a message. V1's rows are one tensor called by their key, unless each row is an
    object: then its keys are tensors. A failure that was tolerated has none."""
    if message.parts is None:
        message.parts = _taken_apart(message)
    return message.parts


def _taken_apart(message: Message) -> list[Tensor]:
    if message.status >= _FAILED:
        return []
    if message.coding:
        raise InvalidInput("a packed body cannot be taken apart: send it without content-encoding")
    if message.codec == Codec.V2_JSON:
        return _v2_tensors(message)
    if message.codec == Codec.V2_GRPC:
        return _grpc_tensors(message)
    if message.codec == Codec.V1_JSON:
        return _v1_tensors(message)
    return [Tensor("data", data=message.body)]


def elements(tensor: Tensor, message: Message) -> list[Any]:
    """The elements of a tensor of V2, flat. Raises `InvalidInput` or `ModelFailed`."""
    if message.codec == Codec.V2_GRPC or tensor.blob is not None:
        return _elements(tensor)
    found: list[Any] = []
    waiting: list[Any] = [msgspec.json.decode(tensor.data)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += reversed(each)
        else:
            found.append(each)
    return found


def find_tensor(message: Message, name: str) -> Tensor | None:
    """The tensor of that name, or None."""
    return next((each for each in tensors_of(message) if each.name == name), None)


def assemble(
    tensors: Sequence[Tensor], like: Message, *, is_request: bool, is_binary: bool = False
) -> Message:
    """A message of these tensors, in the wire format and with the id of another one.

    `is_binary`: as a request of V2 in JSON it asks for raw tensors in return.
    """
    if like.codec == Codec.V2_JSON:
        return _v2_message(tensors, like, is_request, is_binary)
    if like.codec == Codec.V2_GRPC:
        return _grpc_message(tensors, like, is_request)
    if like.codec == Codec.V1_JSON:
        return _v1_message(tensors, is_request)
    if len(tensors) == 1:
        return Message(like.codec, 0, tensors[0].data, is_request)
    if not tensors:
        return Message(like.codec, 0, b"{}" if like.codec == Codec.SELDON_JSON else b"", is_request)
    raise Unsupported(
        f"a message of Seldon's protocol holds one tensor, not {len(tensors)}: ask in V2"
    )


def fitted(
    message: Message, names: Sequence[str], first: Message, *, is_binary: bool = False
) -> Message:
    """The request with its tensors called as the model calls its inputs, by their order, if no
    name of theirs is known to it and there are as many."""
    if not names or message.codec not in (Codec.V2_JSON, Codec.V2_GRPC) or message.coding:
        return message
    tensors = tensors_of(message)
    renamed = _renamed(tensors, names)
    if renamed is tensors:
        return message
    return assemble(renamed, first, is_request=True, is_binary=is_binary)


def _renamed(tensors: list[Tensor], names: Sequence[str]) -> list[Tensor]:
    if len(tensors) != len(names) or any(each.name in names for each in tensors):
        return tensors
    return [
        msgspec.structs.replace(tensor, name=name)
        for tensor, name in zip(tensors, names, strict=True)
    ]


# V2 in JSON.


def _v2_tensors(message: Message) -> list[Tensor]:
    view = memoryview(message.body)
    end = message.aux if message.aux > 0 else len(view)
    try:
        if message.is_request:
            listed = _decode_request(view[:end]).inputs
        else:
            listed = _decode_response(view[:end]).outputs
    except msgspec.MsgspecError as error:
        raise _unreadable(message, "V2", error) from error
    found: list[Tensor] = []
    for each in listed:
        tensor = Tensor(each.name, each.datatype, tuple(each.shape), each.parameters)
        size = (each.parameters or {}).get("binary_data_size")
        if size is None:
            tensor.data = each.data
        elif not isinstance(size, int) or not 0 <= size <= len(view) - end:
            raise _unreadable(message, "V2", ValueError(f"tensor '{each.name}' runs past its end"))
        elif each.data is not msgspec.UNSET:
            fact = ValueError(f"tensor '{each.name}' has both data and binary_data_size")
            raise _unreadable(message, "V2", fact)
        else:
            tensor.blob = view[end : end + size]
            end += size
        found.append(tensor)
    if end != len(view):
        fact = ValueError(f"it has {len(view) - end} bytes after its last binary tensor")
        raise _unreadable(message, "V2", fact)
    return found


def _v2_message(
    tensors: Sequence[Tensor], like: Message, is_request: bool, is_binary: bool
) -> Message:
    listed = [
        _JsonTensor(each.name, list(each.shape), each.datatype, each.parameters, each.data)
        if each.blob is None
        else _JsonTensor(each.name, list(each.shape), each.datatype, each.parameters)
        for each in tensors
    ]
    blobs = [each.blob for each in tensors if each.blob is not None]
    parameters = {"binary_data_output": True} if is_binary else None
    head_id = _json_id(like)
    if is_request:
        text = _encode(_JsonRequestHead(listed, head_id, parameters=parameters))
    else:
        text = _encode(_JsonResponseHead(listed, head_id))
    aux = len(text) if blobs else 0
    body = b"".join((text, *blobs)) if blobs else text
    return Message(int(Codec.V2_JSON), aux, body, is_request, parts=list(tensors))


class _JustId(msgspec.Struct):
    id: str | None = None


_decode_id = msgspec.json.Decoder(_JustId).decode


def _json_id(message: Message) -> str | None:
    if message.id is msgspec.UNSET:
        message.id = _read_json_id(message)
    return message.id or None


def _read_json_id(message: Message) -> str | None:
    view = memoryview(message.body)
    try:
        return _decode_id(view[: message.aux] if message.aux > 0 else view).id
    except msgspec.MsgspecError:
        return None


# V2 over gRPC: ModelInferRequest and ModelInferResponse, by their field numbers.

_MODEL, _ID, _TENSOR = 1, 3, 5
_RAW_OUT, _RAW_IN = 6, 7


def _grpc_tensors(message: Message) -> list[Tensor]:
    raw_field = _RAW_IN if message.is_request else _RAW_OUT
    heads: list[bytes] = []
    raws: list[Body] = []
    try:
        for number, value in wire_fields.fields(message.body):
            if number == _TENSOR:
                heads.append(bytes(value))
            elif number == raw_field:
                raws.append(value)
        found = [_grpc_tensor(head) for head in heads]
    except ValueError as error:
        raise _unreadable(message, "V2 gRPC", error) from error
    if raws:
        if len(raws) != len(found):
            fact = ValueError(f"{len(found)} tensors, but {len(raws)} raw contents")
            raise _unreadable(message, "V2 gRPC", fact)
        for tensor, raw in zip(found, raws, strict=True):
            tensor.blob = raw
    return found


def _grpc_tensor(head: bytes) -> Tensor:
    tensor = Tensor("", data=head)
    shape: list[int] = []
    for number, value in wire_fields.fields(head):
        if number == 1:
            tensor.name = bytes(value).decode()
        elif number == 2:
            tensor.datatype = bytes(value).decode()
        elif number == 3:
            shape += wire_fields.varints(value)
    tensor.shape = tuple(shape)
    return tensor


def _grpc_message(tensors: Sequence[Tensor], like: Message, is_request: bool) -> Message:
    pieces: list[Body] = []
    for number, value in wire_fields.fields(like.body):
        if number == _ID:
            pieces.append(wire_fields.text_field(_ID, value))
            break
    raw_field = _RAW_IN if is_request else _RAW_OUT
    if any(each.blob is not None for each in tensors):
        tensors = [each if each.blob is not None else _with_blob(each) for each in tensors]
    pieces += [wire_fields.text_field(_TENSOR, _grpc_head(each)) for each in tensors]
    pieces += [
        wire_fields.text_field(raw_field, each.blob) for each in tensors if each.blob is not None
    ]
    body = b"".join(pieces)
    return Message(int(Codec.V2_GRPC), 0, body, is_request, parts=list(tensors))


def _with_blob(tensor: Tensor) -> Tensor:
    """The tensor with its typed contents as raw ones, which the others of its message have."""
    from salver.protocol.grpc_contents import as_raw

    data, blob = as_raw(tensor.data)
    return msgspec.structs.replace(tensor, data=data, blob=blob)


def _grpc_head(tensor: Tensor) -> bytes:
    """The tensor's own message, under its present name."""
    pieces = [wire_fields.text_field(1, tensor.name.encode())]
    pieces += [
        wire_fields.whole_field(tensor.data, start, end)
        for number, start, end in wire_fields.places(tensor.data)
        if number != 1
    ]
    return b"".join(pieces)


_CONTENTS = {
    1: "bool_contents",
    2: "int_contents",
    3: "int64_contents",
    4: "uint_contents",
    5: "uint64_contents",
    6: "fp32_contents",
    7: "fp64_contents",
    8: "bytes_contents",
}


def _json_of_grpc(message: Message) -> bytes:
    tensors = [
        {
            "name": each.name,
            "shape": each.shape,
            "datatype": each.datatype,
            "data": _elements(each),
        }
        for each in tensors_of(message)
    ]
    key = "inputs" if message.is_request else "outputs"
    return _encode({key: tensors})


def _elements(tensor: Tensor) -> list[Any]:
    """The elements of a tensor of gRPC as JSON takes them."""
    if tensor.blob is None:
        return _typed_elements(tensor)
    raw = bytes(tensor.blob)
    if tensor.datatype == "BYTES":
        return _texts(raw)
    code = STRUCT_CODES.get(tensor.datatype)
    if code is None:
        return []
    count = len(raw) // struct.calcsize(code)
    return list(struct.unpack_from(f"<{count}{code}", raw))


def _texts(raw: bytes) -> list[str]:
    found, at = [], 0
    while at + 4 <= len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        found.append(raw[at + 4 : end].decode(errors="replace"))
        at = end
    return found


def _typed_elements(tensor: Tensor) -> list[Any]:
    from google.protobuf.message import DecodeError

    from salver.protocol import inference_pb2

    try:
        head = inference_pb2.ModelInferRequest.InferInputTensor.FromString(tensor.data)
    except DecodeError:
        return []
    for name in _CONTENTS.values():
        values = getattr(head.contents, name)
        if values:
            return [
                each.decode(errors="replace") if isinstance(each, bytes) else each
                for each in values
            ]
    return []


# V1.


def _v1_tensors(message: Message) -> list[Tensor]:
    fields = _fields(message)
    for key in _V1_ROWS:
        if key in fields:
            return _v1_rows(key, fields[key], message)
    for key in _V1_COLUMNS:
        if key in fields:
            return _v1_columns(key, fields[key])
    raise _unreadable(message, "V1", ValueError("it has neither rows nor columns"))


def _v1_rows(key: str, rows: msgspec.Raw, message: Message) -> list[Tensor]:
    try:
        listed = _decode_rows(rows)
    except msgspec.MsgspecError as error:
        raise _unreadable(message, "V1", error) from error
    if not listed or not all(bytes(each).lstrip().startswith(b"{") for each in listed):
        return [Tensor(key, shape=(len(listed),), data=listed)]
    try:
        objects = [_decode_object(each) for each in listed]
        names = list(objects[0])
        return [
            Tensor(name, shape=(len(listed),), data=[each[name] for each in objects])
            for name in names
        ]
    except (msgspec.MsgspecError, KeyError) as error:
        raise _unreadable(message, "V1", error) from error


def _v1_columns(key: str, columns: msgspec.Raw) -> list[Tensor]:
    try:
        named = _decode_object(columns)
        parts = {name: _decode_rows(value) for name, value in named.items()}
    except msgspec.MsgspecError:
        try:
            rows = _decode_rows(columns)
        except msgspec.MsgspecError:
            return [Tensor(key, shape=(1,), data=[columns])]
        return [Tensor(key, shape=(len(rows),), data=rows)]
    return [Tensor(name, shape=(len(rows),), data=rows) for name, rows in parts.items()]


def _v1_message(tensors: Sequence[Tensor], is_request: bool) -> Message:
    key = "instances" if is_request else "predictions"
    if len(tensors) == 1:
        return Message(
            int(Codec.V1_JSON), 0, _encode({key: tensors[0].data}), is_request, parts=list(tensors)
        )
    counts = {len(each.data) for each in tensors}
    if len(counts) == 1:
        (count,) = counts
        rows: Any = [{each.name: each.data[at] for each in tensors} for at in range(count)]
        body = _encode({key: rows})
    else:
        key = "inputs" if is_request else "outputs"
        body = _encode({key: {each.name: each.data for each in tensors}})
    return Message(int(Codec.V1_JSON), 0, body, is_request, parts=list(tensors))


def _fields(message: Message) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(message.body)
    except msgspec.MsgspecError as error:
        raise _unreadable(message, "V1", error) from error


def _unreadable(message: Message, protocol: str, error: Exception) -> InvalidInput | ModelFailed:
    if message.is_request:
        return InvalidInput(f"the body is no {protocol} inference request: {error}")
    return ModelFailed(f"its answer is no {protocol} inference response: {error}")
