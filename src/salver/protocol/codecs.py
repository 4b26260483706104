"""The codec of each wire format. Imports NumPy, so workers may import it, the gateway not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from salver.protocol.generate_json import GenerateJsonCodec
from salver.protocol.mlflow_csv import MlflowCsvCodec
from salver.protocol.mlflow_json import MlflowJsonCodec
from salver.protocol.mlflow_parquet import MlflowParquetCodec
from salver.protocol.seldon_grpc import SeldonGrpcCodec
from salver.protocol.seldon_json import SeldonJsonCodec
from salver.protocol.tfs_examples_grpc import TfsExamplesGrpcCodec
from salver.protocol.tfs_examples_json import TfsExamplesJsonCodec
from salver.protocol.tfs_grpc import TfsGrpcCodec
from salver.protocol.v1_json import V1JsonCodec
from salver.protocol.v2_form import V2FormCodec
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
        Codec.TFS_GRPC: TfsGrpcCodec(),
        Codec.TFS_EXAMPLES_JSON: TfsExamplesJsonCodec(),
        Codec.TFS_EXAMPLES_GRPC: TfsExamplesGrpcCodec(),
        Codec.MLFLOW_JSON: MlflowJsonCodec(),
        Codec.MLFLOW_CSV: MlflowCsvCodec(),
        Codec.MLFLOW_PARQUET: MlflowParquetCodec(),
        Codec.GENERATE_JSON: GenerateJsonCodec(),
        Codec.V2_FORM: V2FormCodec(),
    }
)


def codec_for(codec: Codec) -> WireCodec:
    """The codec, which has no state and may be shared."""
    return _CODECS[codec]
