"""The gRPC services that Salver offers, under the names they have on the wire. Values only.

Messages come from the `.proto` files of this package, whose packages are Salver's own; here is
which names they really have, and the few messages that those files lack.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from salver.protocol import triton_tables as triton

STREAMED = "stream "
"""What begins both ends of a method that streams."""


class WireFile(msgspec.Struct, frozen=True):
    """One file as reflection tells of it. `services`: methods by service, each with the messages
    that it takes and gives. `written`: messages that no file of ours has, field by field."""

    name: str
    package: str
    source: str = ""
    messages: Mapping[str, str] | None = None
    """Names on the wire, each with ours. None: all that the source has, by our names."""
    services: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType({})
    written: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    enums: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Enumerations, whose names count from 0; a dot puts one into its message, as in `written`."""


def _asked(*names: str) -> dict[str, tuple[str, str]]:
    return {name: (f"{name}Request", f"{name}Response") for name in names}


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_SELDON = "SeldonMessage"
_TALK = (_SELDON, _SELDON)
_FEEDBACK = ("Feedback", _SELDON)
_POLICY = "FileSystemStoragePathSourceConfig.ServableVersionPolicy"
_EMPTY = ".google.protobuf.Empty"

INFERENCE = WireFile(
    name="inference.proto",
    package="inference",
    source="inference",
    services={
        "GRPCInferenceService": {
            **_asked(
                *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata"),
                *("ModelInfer", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
                *triton.METHODS,
            ),
            "ModelStreamInfer": (
                STREAMED + "ModelInferRequest",
                STREAMED + "ModelStreamInferResponse",
            ),
        }
    },
    written=triton.MESSAGES,
    enums=triton.ENUMS,
)
TENSORFLOW = WireFile(
    name="tensorflow.proto",
    package="tensorflow",
    source="tfs",
    messages=_same(
        *("TensorShapeProto", "TensorProto", "DataType", "BytesList", "FloatList", "Int64List"),
        *("Feature", "Features", "Example"),
    ),
)
SERVING = WireFile(
    name="tensorflow_serving.proto",
    package="tensorflow.serving",
    source="tfs",
    messages={
        **_same(
            *("ModelSpec", "PredictRequest", "PredictResponse", "ExampleList", "Input", "Class"),
            *("ExampleListWithContext", "Classifications", "ClassificationResult", "Regression"),
            *("ClassificationResponse", "RegressionResult", "RegressionResponse"),
            *("InferenceTask", "MultiInferenceRequest", "InferenceResult"),
            "MultiInferenceResponse",
        ),
        "ClassificationRequest": "ExamplesRequest",
        "RegressionRequest": "ExamplesRequest",
    },
    services={
        "PredictionService": {
            **_asked("Predict", "MultiInference", "GetModelMetadata"),
            "Classify": ("ClassificationRequest", "ClassificationResponse"),
            "Regress": ("RegressionRequest", "RegressionResponse"),
        },
        "ModelService": {
            **_asked("GetModelStatus"),
            "HandleReloadConfigRequest": ("ReloadConfigRequest", "ReloadConfigResponse"),
        },
    },
    written={
        "GetModelMetadataRequest": ("1 model_spec ModelSpec", "2 metadata_field string*"),
        "GetModelMetadataResponse": (
            "1 model_spec ModelSpec",
            "2 metadata map string .google.protobuf.Any",
        ),
        "GetModelStatusRequest": ("1 model_spec ModelSpec",),
        "GetModelStatusResponse": ("1 model_version_status ModelVersionStatus*",),
        "ModelVersionStatus": (
            "1 version int64",
            "2 state ModelVersionState",
            "3 status StatusProto",
        ),
        "StatusProto": ("1 error_code int32", "2 error_message string"),
        "ReloadConfigRequest": ("1 config ModelServerConfig",),
        "ReloadConfigResponse": ("1 status StatusProto",),
        "ModelServerConfig": ("1 model_config_list ModelConfigList |config",),
        "ModelConfigList": ("1 config ModelConfig*",),
        "ModelConfig": (
            *("1 name string", f"7 model_version_policy {_POLICY}"),
            "8 version_labels map string int64",
        ),
        "FileSystemStoragePathSourceConfig": (),
        _POLICY: (f"102 specific {_POLICY}.Specific |policy_choice",),
        f"{_POLICY}.Specific": ("1 versions int64*",),
    },
    enums={
        "ModelVersionState": (
            *("UNKNOWN", "START=10", "LOADING=20", "AVAILABLE=30", "UNLOADING=40", "END=50"),
        )
    },
)
SELDON = WireFile(
    name="seldon.proto",
    package="seldon.protos",
    source="seldon",
    messages=_same(
        *("SeldonMessage", "DefaultData", "Tensor", "Meta", "Metric", "SeldonMessageList"),
        *("Status", "Feedback", "SeldonModelMetadataRequest", "SeldonMessageMetadata"),
        *("SeldonModelMetadata", "SeldonGraphMetadata"),
    ),
    services={
        "Seldon": {
            "Predict": _TALK,
            "SendFeedback": _FEEDBACK,
            "ModelMetadata": ("SeldonModelMetadataRequest", "SeldonModelMetadata"),
            "GraphMetadata": (_EMPTY, "SeldonGraphMetadata"),
        },
        "Model": {
            "Predict": _TALK,
            "SendFeedback": _FEEDBACK,
            "Metadata": (_EMPTY, "SeldonModelMetadata"),
        },
        "Generic": {
            "TransformInput": _TALK,
            "TransformOutput": _TALK,
            "Route": _TALK,
            "Aggregate": ("SeldonMessageList", _SELDON),
            "SendFeedback": _FEEDBACK,
        },
        "Router": {"Route": _TALK, "SendFeedback": _FEEDBACK},
        "Transformer": {"TransformInput": _TALK},
        "OutputTransformer": {"TransformOutput": _TALK},
        "Combiner": {"Aggregate": ("SeldonMessageList", _SELDON)},
    },
)
HEALTH = WireFile(
    name="grpc/health/v1/health.proto",
    package="grpc.health.v1",
    services={"Health": {"Check": ("HealthCheckRequest", "HealthCheckResponse")}},
    written={
        "HealthCheckRequest": ("1 service string",),
        "HealthCheckResponse": ("1 status HealthCheckResponse.ServingStatus",),
    },
    enums={
        "HealthCheckResponse.ServingStatus": (
            *("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"),
        )
    },
)


def _reflection(version: str) -> WireFile:
    ends = (STREAMED + "ServerReflectionRequest", STREAMED + "ServerReflectionResponse")
    return WireFile(
        name=f"grpc/reflection/{version}/reflection.proto",
        package=f"grpc.reflection.{version}",
        services={"ServerReflection": {"ServerReflectionInfo": ends}},
        written={
            "ServerReflectionRequest": (
                "1 host string",
                "3 file_by_filename string |message_request",
                "4 file_containing_symbol string |message_request",
                "5 file_containing_extension ExtensionRequest |message_request",
                "6 all_extension_numbers_of_type string |message_request",
                "7 list_services string |message_request",
            ),
            "ExtensionRequest": ("1 containing_type string", "2 extension_number int32"),
            "ServerReflectionResponse": (
                "1 valid_host string",
                "2 original_request ServerReflectionRequest",
                "4 file_descriptor_response FileDescriptorResponse |message_response",
                "5 all_extension_numbers_response ExtensionNumberResponse |message_response",
                "6 list_services_response ListServiceResponse |message_response",
                "7 error_response ErrorResponse |message_response",
            ),
            "FileDescriptorResponse": ("1 file_descriptor_proto bytes*",),
            "ExtensionNumberResponse": ("1 base_type_name string", "2 extension_number int32*"),
            "ListServiceResponse": ("1 service ServiceResponse*",),
            "ServiceResponse": ("1 name string",),
            "ErrorResponse": ("1 error_code int32", "2 error_message string"),
        },
    )


FILES = (INFERENCE, TENSORFLOW, SERVING, SELDON, HEALTH, _reflection("v1"), _reflection("v1alpha"))
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "seldon.TensorShape": "tensorflow.TensorShapeProto",
        "seldon.TensorProto": "tensorflow.TensorProto",
        "seldon.DataType": "tensorflow.DataType",
    }
)
"""Messages of our files that are another file's on the wire."""
