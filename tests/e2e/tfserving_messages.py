"""TensorFlow Serving's own messages, importable without TensorFlow; for the client's environment.

The package with TensorFlow's messages is of an earlier version than the client and lacks the file
of error codes, which has since moved: here it is, under both of its names.
"""

import sys
import types

from google.protobuf import descriptor_pb2, descriptor_pool

CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)


def add_error_codes() -> None:
    """Makes `tensorflow.core.protobuf.error_codes_pb2` known to what imports it next."""
    codes = descriptor_pb2.FileDescriptorProto(
        name="xla/tsl/protobuf/error_codes.proto", package="tensorflow.error", syntax="proto3"
    )
    enum = codes.enum_type.add(name="Code")
    for number, name in enumerate(CODES):
        enum.value.add(name=name, number=number)
    moved = descriptor_pb2.FileDescriptorProto(
        name="tensorflow/core/protobuf/error_codes.proto",
        package="tensorflow.error.dummy",
        syntax="proto3",
        dependency=[codes.name],
        public_dependency=[0],
    )
    pool = descriptor_pool.Default()
    pool.Add(codes)
    pool.Add(moved)
    module = types.ModuleType("tensorflow.core.protobuf.error_codes_pb2")
    module.xla_dot_tsl_dot_protobuf_dot_error__codes__pb2 = module
    sys.modules[module.__name__] = module


add_error_codes()

from tensorflow.core.example import example_pb2  # noqa: E402
from tensorflow.core.framework import tensor_pb2, types_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

__all__ = [
    "classification_pb2",
    "example_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "inference_pb2",
    "model_management_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "regression_pb2",
    "tensor_pb2",
    "types_pb2",
]
