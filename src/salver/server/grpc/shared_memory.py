"""Triton's shared-memory methods: which regions there are, and registering them.

Messages are a few fields, read and written with `fields.py`; a port keeps the regions. CUDA's
memory is answered for what it is here: there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from salver.engine.shared_memory import ClientRegions, Region
from salver.errors import InvalidInput, ModelNotFound, Unsupported
from salver.server.grpc import fields
from salver.server.shared_memory import NO_CUDA, NOT_LOCAL, SWITCHED_OFF

Method = Callable[[bytes], bytes]
_NAME, _KEY, _OFFSET, _SIZE = 1, 2, 3, 4


class SharedMemoryMethods:
    """The methods by name; without `regions` they say that the server takes none."""

    def __init__(self, regions: ClientRegions | None, is_caller_local: Callable[[], bool]) -> None:
        """`is_caller_local` is asked while a call is being handled."""
        self._regions = regions
        self._is_caller_local = is_caller_local

    def methods(self) -> Mapping[str, Method]:
        return {
            "SystemSharedMemoryStatus": self._status,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": _cuda_status,
            "CudaSharedMemoryRegister": _cuda_register,
            "CudaSharedMemoryUnregister": lambda _: b"",
        }

    def _of_caller(self) -> ClientRegions:
        if self._regions is None:
            raise Unsupported(SWITCHED_OFF)
        if not self._is_caller_local():
            raise Unsupported(NOT_LOCAL)
        return self._regions

    def _status(self, payload: bytes) -> bytes:
        found = self._of_caller().regions(_text(payload, _NAME))
        return b"".join(fields.bytes_field(1, _entry(region)) for region in found)

    def _register(self, payload: bytes) -> bytes:
        numbers = dict(fields.read_fields(payload))
        offset, size = numbers.get(_OFFSET, 0), numbers.get(_SIZE, 0)
        if not isinstance(offset, int) or not isinstance(size, int):
            raise fields.MalformedMessageError("a number of bytes is no number")
        region = Region(_text(payload, _NAME), _text(payload, _KEY), offset, size)
        self._of_caller().register(region)
        return b""

    def _unregister(self, payload: bytes) -> bytes:
        self._of_caller().unregister(_text(payload, _NAME))
        return b""


def _entry(region: Region) -> bytes:
    """An entry of the map from names to regions."""
    status = b"".join(
        (
            fields.text_field(_NAME, region.name),
            fields.text_field(_KEY, region.key),
            fields.number_field(_OFFSET, region.offset),
            fields.number_field(_SIZE, region.byte_size),
        )
    )
    return fields.text_field(1, region.name) + fields.bytes_field(2, status)


def _text(payload: bytes, number: int) -> str:
    value = dict(fields.read_fields(payload)).get(number, b"")
    if not isinstance(value, bytes):
        raise fields.MalformedMessageError(f"field {number} is no string")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise fields.MalformedMessageError("a string is not UTF-8") from error


def _cuda_status(payload: bytes) -> bytes:
    name = _text(payload, _NAME)
    if name:
        raise ModelNotFound(f"Unable to find cuda shared memory region: '{name[:64]}': {NO_CUDA}")
    return b""


def _cuda_register(payload: bytes) -> bytes:
    raise InvalidInput(
        f"failed to register CUDA shared memory region: '{_text(payload, _NAME)[:64]}', GPUs not "
        f"supported: {NO_CUDA}"
    )
