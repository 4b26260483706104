"""What models and the server say of themselves, as the V2 protocol's JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from salver.engine.ports import ModelStatus
from salver.inference.metadata import ANY_DIMENSION, ModelMetadata, TensorMetadata

READY = "READY"
_MOST_REASONS = 10


def model_metadata(name: str, versions: Sequence[str], metadata: ModelMetadata) -> dict[str, Any]:
    """The body of `GET /v2/models/NAME`.

    `inputs` are the tensors a request needs; a tabular model's columns, which it takes as
    well, are in `parameters` with their datatypes, since a client that fills in every input
    listed must not send both.
    """
    answer: dict[str, Any] = {
        "name": name,
        "versions": list(versions),
        "platform": metadata.platform,
        "inputs": [tensor_metadata(tensor) for tensor in metadata.inputs],
        "outputs": [tensor_metadata(tensor) for tensor in metadata.outputs],
    }
    parameters = _model_parameters(metadata)
    if parameters:
        answer["parameters"] = parameters
    return answer


def tensor_metadata(tensor: TensorMetadata) -> dict[str, Any]:
    """One input or output; a model that does not say its shape shows one open dimension."""
    shape = [ANY_DIMENSION] if tensor.any_shape and not tensor.shape else list(tensor.shape)
    answer: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}
    parameters: dict[str, Any] = {}
    if tensor.content_type:
        parameters["content_type"] = tensor.content_type
    if tensor.accepts:
        parameters["accepts"] = list(tensor.accepts)
    if tensor.optional:
        parameters["optional"] = True
    if tensor.any_shape:
        parameters["any_shape"] = True
    if parameters:
        answer["parameters"] = parameters
    return answer


def _model_parameters(metadata: ModelMetadata) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    if metadata.column_names:
        parameters["content_type"] = "pd"
        parameters["column_names"] = list(metadata.column_names)
    if metadata.column_datatypes:
        parameters["column_datatypes"] = list(metadata.column_datatypes)
    if metadata.default_outputs:
        parameters["default_outputs"] = list(metadata.default_outputs)
    if metadata.framework_version:
        parameters["framework_version"] = metadata.framework_version
    return parameters


def index_entry(status: ModelStatus) -> dict[str, str]:
    """One row of the repository index; `reason` only where there is one."""
    entry = {"name": status.name, "version": status.version, "state": status.state}
    if status.reason:
        entry["reason"] = status.reason
    return entry


def model_names(statuses: Iterable[ModelStatus]) -> list[str]:
    """Every model once, in the order of the index."""
    return list(dict.fromkeys(status.name for status in statuses))


def why_not_ready(statuses: Iterable[ModelStatus]) -> str:
    """One line that names each model that is not ready, and why."""
    missing = [status for status in statuses if status.state != READY]
    shown = "; ".join(describe(status) for status in missing[:_MOST_REASONS])
    more = len(missing) - _MOST_REASONS
    return shown + (f"; and {more} more, see /v2/repository/index" if more > 0 else "")


def describe(status: ModelStatus) -> str:
    """The model, its version and its state, with the reason if one is known."""
    reason = f": {status.reason}" if status.reason else ""
    version = f" version {status.version}" if status.version else ""
    return f"model {status.name}{version} is {status.state}{reason}"
