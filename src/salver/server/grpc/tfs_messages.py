"""TensorFlow Serving's small messages, read and written by hand: specs, status, metadata, the list
of models. The gateway so needs no protobuf library, and tensors are passed over unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from salver.inference.metadata import ModelMetadata, SignatureMetadata, TensorMetadata
from salver.protocol import wire_fields
from salver.protocol.tfs_signatures import DTYPES, shape_of, signatures_of, version_number
from salver.server.grpc.fields import (
    MalformedMessageError,
    bytes_field,
    number_field,
    read_fields,
    text_field,
    varint,
)
from salver.server.tfs_facts import Spec, VersionStatus
from salver.server.tfs_reload import DeclaredModel

_SIGNATURE_DEF = "signature_def"
_SIGNATURE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_SPECIFIC = 102
_SIGN = 1 << 63


def request_spec(message: bytes) -> Spec:
    """The ModelSpec of any request about one model. Raises `MalformedMessageError`."""
    return _spec(b"".join(_submessages(message, 1)))


def task_specs(message: bytes) -> list[Spec]:
    """Those of a MultiInferenceRequest's tasks. Raises `MalformedMessageError`."""
    return [request_spec(task) for task in _submessages(message, 1)]


def metadata_fields(message: bytes) -> list[str]:
    """What a GetModelMetadataRequest wants to know. Raises `MalformedMessageError`."""
    return [_text(value) for value in _submessages(message, 2)]


def _submessages(message: bytes, wanted: int) -> list[bytes]:
    """The bytes of each field of that number; others are neither read nor copied."""
    try:
        found = [value for number, value in wire_fields.fields(message) if number == wanted]
    except ValueError as error:
        raise MalformedMessageError(str(error)) from error
    return [bytes(value) for value in found]


def _spec(message: bytes) -> Spec:
    spec = Spec()
    for number, value in read_fields(message):
        if number == 1:
            spec.name = _text(value)
        elif number == 2:
            spec.version, spec.label = _number(value), ""
        elif number == 3:
            spec.signature = _text(value)
        elif number == 4:
            spec.version, spec.label = None, _text(value)
    return spec


def _number(value: int | bytes) -> int:
    """The number in an Int64Value."""
    found = 0
    for number, each in read_fields(_message(value)):
        if number == 1:
            found = _signed(each)
    return found


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise MalformedMessageError("a number has another kind")
    value &= 2 * _SIGN - 1
    return value - 2 * _SIGN if value >= _SIGN else value


def _text(value: int | bytes) -> str:
    try:
        return _message(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError("a string is not UTF-8") from error


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MalformedMessageError("a number stands where a message or a string belongs")
    return value


def declared_models(message: bytes) -> list[DeclaredModel] | None:
    """The models of a ReloadConfigRequest; None if it has no list of models.

    Raises `MalformedMessageError`.
    """
    configs = _submessages(b"".join(_submessages(message, 1)), 1)
    if not configs:
        return None
    return [_declared(each) for each in _submessages(b"".join(configs), 1)]


def _declared(message: bytes) -> DeclaredModel:
    model = DeclaredModel()
    labels: dict[str, int] = {}
    for number, value in read_fields(message):
        if number == 1:
            model.name = _text(value)
        elif number == 7:
            model.versions = _versions(_message(value))
        elif number == 8:
            label, version = _entry(_message(value))
            labels[label] = version
    model.labels = labels
    return model


def _entry(message: bytes) -> tuple[str, int]:
    key, found = "", 0
    for number, value in read_fields(message):
        if number == 1:
            key = _text(value)
        elif number == 2:
            found = _signed(value)
    return key, found


def _versions(policy: bytes) -> tuple[int, ...]:
    """The versions that a ServableVersionPolicy names, if it names any."""
    found: list[int] = []
    for number, value in read_fields(policy):
        if number != _SPECIFIC:
            continue
        for inner, each in read_fields(_message(value)):
            if inner == 1 and isinstance(each, bytes):
                found += _packed(each)
            elif inner == 1:
                found.append(_signed(each))
    return tuple(found)


def _packed(values: bytes) -> Iterable[int]:
    try:
        return [_signed(each) for each in wire_fields.varints(values)]
    except (ValueError, IndexError) as error:
        raise MalformedMessageError("a list of numbers is cut off") from error


def status_response(statuses: Sequence[VersionStatus]) -> bytes:
    """A GetModelStatusResponse."""
    return b"".join(bytes_field(1, _status(each)) for each in statuses)


def _status(status: VersionStatus) -> bytes:
    error = number_field(1, status.error[1]) + text_field(2, status.message)
    return b"".join(
        (number_field(1, status.version), number_field(2, status.state[1]), bytes_field(3, error))
    )


def metadata_response(name: str, version: str, metadata: ModelMetadata) -> bytes:
    """A GetModelMetadataResponse with the signatures."""
    number = version_number(version)
    spec = text_field(1, name)
    if number is not None:
        spec += bytes_field(2, number_field(1, number))
    signatures = b"".join(
        bytes_field(1, text_field(1, each.name) + bytes_field(2, _signature(each)))
        for each in signatures_of(metadata)
    )
    packed = text_field(1, _SIGNATURE_URL) + bytes_field(2, signatures)
    entry = text_field(1, _SIGNATURE_DEF) + bytes_field(2, packed)
    return bytes_field(1, spec) + bytes_field(2, entry)


def _signature(signature: SignatureMetadata) -> bytes:
    return b"".join(
        (
            *(_named(1, tensor) for tensor in signature.inputs),
            *(_named(2, tensor) for tensor in signature.outputs),
            text_field(3, signature.method_name),
        )
    )


def _named(number: int, tensor: TensorMetadata) -> bytes:
    shape = shape_of(tensor)
    dims = b"".join(bytes_field(2, _dimension(size)) for size in shape or ())
    told = b"".join(
        (
            text_field(1, tensor.name),
            number_field(2, DTYPES[tensor.datatype][1]),
            bytes_field(3, dims + number_field(3, shape is None)),
        )
    )
    return bytes_field(number, text_field(1, tensor.name) + bytes_field(2, told))


def _dimension(size: int) -> bytes:
    return b"\x08" + varint(size) if size else b""
