"""A request as received: parsed and named, its tensors not yet arrays.

Every codec turns bytes into a `WireRequest`; `materialise.py` checks and stacks the tensors
of many such requests with one NumPy call each. That is where batching earns its keep, so a
codec must not build arrays of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec

if TYPE_CHECKING:  # the gateway imports this module and must not import NumPy
    from salver.inference.tensor import InferResponse


class WireTensor(msgspec.Struct):
    """One tensor on the wire: `data` is a nested or flat list, or its little-endian bytes.

    Bytes (`bytes` or `memoryview`) cannot come out of JSON, so no field of a JSON body can
    pass for a raw tensor.
    """

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class WireOutput(msgspec.Struct):
    """An output asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class WireRequest(msgspec.Struct):
    """One request of any protocol."""

    inputs: list[WireTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[WireOutput] | None = None


class ModelIdentity(msgspec.Struct, frozen=True, cache_hash=True):
    """The name and version that responses carry, and what the model says of itself."""

    name: str
    version: str
    metadata: ModelMetadata


class EncodedResponse(msgspec.Struct):
    """A response's bytes. `json_length` > 0: the length of the JSON before binary tensors."""

    body: bytes
    json_length: int = 0


class WireCodec(Protocol):
    """One wire format, both ways. Pure: bytes in, bytes out."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        """Parses a request; `aux` is the codec's own number from the head (JSON length).

        Raises `InvalidInput` for bytes that are no such request.
        """

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        """Writes the response to the request."""

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        """Splits a stacked response on axis 0: request i gets the next `rows[i]` rows."""


__all__ = [
    "RAW_BODY_AUX",
    "Codec",
    "EncodedResponse",
    "ModelIdentity",
    "TensorMetadata",
    "WireCodec",
    "WireOutput",
    "WireRequest",
    "WireTensor",
]
