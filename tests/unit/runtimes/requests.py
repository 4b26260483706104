"""Requests in a line, for the tests of the runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from salver.inference.tensor import InferRequest, InferResponse, tensor_from_array
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.registry import runtime_named


def source(path: Path, runtime: str, **fields: Any) -> ModelSource:
    return ModelSource(name=path.stem, path=path, runtime=runtime, **fields)


def load(path: Path, runtime: str, **fields: Any) -> LoadedModel:
    return runtime_named(runtime).load(source(path, runtime, **fields))


def ask(*outputs: str, **inputs: Any) -> InferRequest:
    """A request with an input per keyword."""
    tensors = tuple(tensor_from_array(name, np.asarray(data)) for name, data in inputs.items())
    return InferRequest(tensors, outputs)


def matrix(data: Any, *outputs: str) -> InferRequest:
    """A request with one matrix."""
    return InferRequest((tensor_from_array("input-0", np.asarray(data)),), outputs)


def arrays(response: InferResponse) -> dict[str, Any]:
    return {tensor.name: tensor.data for tensor in response.outputs}


def only(response: InferResponse) -> Any:
    (tensor,) = response.outputs
    return tensor.data


def texts(array: Any) -> list[bytes]:
    return [str(value).encode() for value in np.asarray(array).ravel()]
