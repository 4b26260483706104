"""The codec of each wire format. Imports NumPy, so workers may import it, the gateway not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from salver.protocol.seldon_grpc import SeldonGrpcCodec
from salver.protocol.seldon_json import SeldonJsonCodec
from salver.protocol.v1_json import V1JsonCodec
from salver.protocol.v2_grpc import V2GrpcCodec
from salver.protocol.v2_json import V2JsonCodec
from salver.protocol.wire import Codec, WireCodec

_CODECS: Mapping[int, WireCodec] = MappingProxyType(
    {
        Codec.V2_JSON: V2JsonCodec(),
        Codec.V2_GRPC: V2GrpcCodec(),
        Codec.V1_JSON: V1JsonCodec(),
        Codec.SELDON_JSON: SeldonJsonCodec(),
        Codec.SELDON_GRPC: SeldonGrpcCodec(),
    }
)


def codec_for(codec: Codec) -> WireCodec:
    """The codec, which has no state and may be shared."""
    return _CODECS[codec]
