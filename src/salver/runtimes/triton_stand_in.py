"""The module `triton_python_backend_utils` that models of Triton's Python backend import.

Triton's own lives inside its server and cannot be had elsewhere, so this one is written to its
documentation. Owns the functions and the module; the values are `triton_values.py`'s.
"""

from __future__ import annotations

import json
import logging
import struct
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from salver.inference.tensor import NUMPY_TYPES, Array
from salver.runtimes import triton_values as values
from salver.runtimes.triton_completing import ModelConfig

MODULE = "triton_python_backend_utils"
_LENGTH = struct.Struct("<I")
_CONFIG_ONLY = ("name", "data_type", "dims")


class Logger:
    """Writes to the log of the model."""

    INFO, WARNING, ERROR, VERBOSE = 0, 1, 2, 3
    _levels = (logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG)
    _logger = logging.getLogger("salver.worker")

    @classmethod
    def log(cls, message: str, level: int = INFO) -> None:
        cls._logger.log(cls._levels[level], "%s", message)

    @classmethod
    def log_info(cls, message: str) -> None:
        cls.log(message, cls.INFO)

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls.log(message, cls.WARNING)

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.log(message, cls.ERROR)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        cls.log(message, cls.VERBOSE)


class Metric:
    """A number of the model's own. It is kept, and not shown: see the server's own metrics."""

    def __init__(self) -> None:
        self._value = 0.0

    def increment(self, value: float) -> None:
        self._value += value

    def set(self, value: float) -> None:
        self._value = value

    def observe(self, value: float) -> None:
        self._value = value

    def value(self) -> float:
        return self._value


class MetricFamily:
    """Metrics of one name."""

    COUNTER, GAUGE, HISTOGRAM = 0, 1, 2

    def __init__(self, name: str, description: str, kind: int) -> None: ...

    def Metric(self, labels: Mapping[str, str] | None = None, **extra: Any) -> Metric:  # noqa: N802
        return Metric()


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """The NumPy type of a configuration's datatype; None for one that NumPy lacks."""
    name = triton_type_string.removeprefix("TYPE_")
    if name == "STRING":
        return np.object_
    if name == "BF16" or name not in NUMPY_TYPES:
        return None
    return NUMPY_TYPES[name].type


_BY_NUMBER = (
    "INVALID",
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "STRING",
)


def triton_to_numpy_type(data_type: int) -> Any:
    """The NumPy type of a datatype's number."""
    return triton_string_to_numpy(_BY_NUMBER[data_type])


def numpy_to_triton_type(data_type: Any) -> int:
    """The number of a NumPy type's datatype."""
    if data_type is np.bytes_:
        data_type = np.object_
    for number, name in enumerate(_BY_NUMBER[1:], 1):
        if triton_string_to_numpy(name) is np.dtype(data_type).type:
            return number
    raise values.TritonModelException(f"{data_type} is no datatype of a tensor")


def get_input_tensor_by_name(
    inference_request: values.InferenceRequest, name: str
) -> values.Tensor | None:
    """The input of that name; None if the request has none such."""
    return _named(inference_request.inputs(), name)


def get_output_tensor_by_name(
    inference_response: values.InferenceResponse, name: str
) -> values.Tensor | None:
    """The output of that name; None if the response has none such. Raises the response's error."""
    error = inference_response.error()
    if error is not None:
        raise values.TritonModelException(error.message())
    return _named(inference_response.output_tensors(), name)


def _named(tensors: list[values.Tensor], name: str) -> values.Tensor | None:
    return next((each for each in tensors if each.name() == name), None)


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> Any:
    """The input of that name as the configuration has it; None if it has none such."""
    return _configured(model_config, "input", name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> Any:
    """The output of that name as the configuration has it; None if it has none such."""
    return _configured(model_config, "output", name)


def _configured(model_config: Mapping[str, Any], field: str, name: str) -> Any:
    return next((each for each in model_config.get(field, ()) if each["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Whether the model gives any number of responses to a request."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def serialize_byte_tensor(input_tensor: Array) -> Array | None:
    """Each text behind its length, all in one array of bytes."""
    if input_tensor.size == 0:
        return np.empty([0], dtype=np.object_)
    texts = [
        each if isinstance(each, bytes) else str(each).encode() for each in input_tensor.ravel()
    ]
    joined = b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return np.asarray(joined, dtype=np.object_)


def deserialize_bytes_tensor(encoded_tensor: Any) -> Array:
    """Undoes `serialize_byte_tensor`, in one dimension."""
    data = bytes(encoded_tensor)
    found, at = [], 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return array


def stand_in(asks: values.Asks, model_folder: str) -> None:
    """Makes the module importable. `asks` is how models reach others of the server."""
    module = ModuleType(MODULE)
    request_kind = type(
        "InferenceRequest", (values.InferenceRequest,), {"asks": staticmethod(asks)}
    )
    kinds = (
        values.Tensor,
        values.InferenceResponse,
        values.TritonError,
        values.TritonModelException,
        values.PreferredMemory,
        Logger,
        MetricFamily,
        ModelConfig,
    )
    functions = (
        triton_string_to_numpy,
        triton_to_numpy_type,
        numpy_to_triton_type,
        get_input_tensor_by_name,
        get_output_tensor_by_name,
        get_input_config_by_name,
        get_output_config_by_name,
        using_decoupled_model_transaction_policy,
        serialize_byte_tensor,
        deserialize_bytes_tensor,
    )
    vars(module).update({each.__name__: each for each in (*kinds, *functions)})
    vars(module).update(
        InferenceRequest=request_kind,
        InferenceResponseSender=values.ResponseSender,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=values.RESPONSE_COMPLETE_FINAL,
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_START=values.SEQUENCE_START,
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_END=values.SEQUENCE_END,
        TRITONSERVER_MEMORY_CPU=0,
        TRITONSERVER_MEMORY_GPU=2,
        TRITON_STRING_TO_NUMPY={
            f"TYPE_{name}": triton_string_to_numpy(name) for name in _BY_NUMBER[1:]
        },
        get_model_dir=lambda: model_folder,
        json=json,
    )
    sys.modules[MODULE] = module
