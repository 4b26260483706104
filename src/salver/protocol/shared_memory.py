"""Triton's shared-memory extension in a request: which tensors lie where in the client's memory.

Pure: reads and checks the parameters, and knows neither memory nor files. A request that names
shared memory is refused by `layout.py`, unless whoever asks takes it apart here first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.protocol.wire import WireRequest, WireTensor

REGION = "shared_memory_region"
_OFFSET = "shared_memory_offset"
_SIZE = "shared_memory_byte_size"
_PARAMETERS = frozenset({REGION, _OFFSET, _SIZE})
_MOST_BYTES = 1 << 62


class SharedMemoryAskedError(InvalidInput):
    """The request names shared memory, and nobody has looked yet whether it may."""


class Place(msgspec.Struct, frozen=True):
    """A piece of a region, in bytes from its beginning."""

    region: str
    offset: int
    byte_size: int

    def parameters(self) -> dict[str, Any]:
        """The parameters that say so."""
        named: dict[str, Any] = {REGION: self.region, _SIZE: self.byte_size}
        return {**named, _OFFSET: self.offset} if self.offset else named


Read = Callable[[Place, WireTensor], bytes | memoryview]
"""Gives a tensor's bytes. Raises `RequestError` if they are not there."""


class PlacedRequest(WireRequest):
    """A request whose answer goes into shared memory, in part at least: `places` by output."""

    places: dict[str, Place] = {}


def resolved(request: WireRequest, model: str, read: Read) -> tuple[PlacedRequest, int]:
    """The request with the bytes that its inputs name, and how many those are.

    Raises `RequestError`: for parameters that are wrong, and what `read` raises.
    """
    size = 0
    for tensor in request.inputs:
        subject = f"input {tensor.name[:64]!r} of model {model!r}"
        place = _place_of(tensor.parameters, subject)
        if place is None:
            continue
        if tensor.data is not None and tensor.data != []:
            raise InvalidInput(f"{subject} has both data and {REGION}: send one of them")
        tensor.data = read(place, tensor)
        tensor.parameters = _others(tensor.parameters)
        size += place.byte_size
    places: dict[str, Place] = {}
    for output in request.outputs or ():
        subject = f"output {output.name[:64]!r} of model {model!r}"
        place = _place_of(output.parameters, subject)
        if place is not None:
            _check_alone(output.parameters or {}, subject)
            places[output.name] = place
            output.parameters = _others(output.parameters)
    if places and any(
        (each.parameters or {}).get("classification") for each in request.outputs or ()
    ):
        raise InvalidInput(
            f"the request to model {model!r} asks for classes of one output and for another in "
            "shared memory: ask for one of them"
        )
    found = PlacedRequest(
        request.inputs, request.id, request.parameters, request.outputs, places=places
    )
    return found, size


def _place_of(parameters: Mapping[str, Any] | None, subject: str) -> Place | None:
    if not parameters or _PARAMETERS.isdisjoint(parameters):
        return None
    region = parameters.get(REGION)
    if not isinstance(region, str) or not region:
        raise InvalidInput(f"{subject} has no {REGION} that is a name: give that of the region")
    if _SIZE not in parameters:
        raise InvalidInput(f"{subject} has {REGION} without {_SIZE}: give both")
    size = _number(parameters[_SIZE], _SIZE, subject)
    return Place(region, _number(parameters.get(_OFFSET, 0), _OFFSET, subject), size)


def _number(value: Any, name: str, subject: str) -> int:
    if type(value) is not int or not 0 <= value < _MOST_BYTES:
        raise InvalidInput(f"{subject} has a {name} that is no number of bytes: send one from 0 on")
    return value


def _check_alone(parameters: Mapping[str, Any], subject: str) -> None:
    for name in ("classification", "binary_data"):
        if parameters.get(name):
            raise InvalidInput(f"{subject} has both {REGION} and {name}: ask for one of them")


def _others(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {k: v for k, v in (parameters or {}).items() if k not in _PARAMETERS} or None


def asks_for_memory(parameters: Mapping[str, Any] | None) -> bool:
    """Whether a tensor with these parameters is said to lie in shared memory."""
    return bool(parameters) and not _PARAMETERS.isdisjoint(parameters or ())
