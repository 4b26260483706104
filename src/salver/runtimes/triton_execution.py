"""An instance of `TritonPythonModel`: what it says of itself, what it is told, what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from salver.errors import (
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    RequestError,
    Unavailable,
    Unsupported,
)
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse, tensor_from_array
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.ports import AskedRequest
from salver.runtimes.triton_completing import config_document
from salver.runtimes.triton_place import TritonPlace
from salver.runtimes.triton_shapes import seen_tensors
from salver.runtimes.triton_values import (
    SEQUENCE_END,
    SEQUENCE_START,
    InferenceRequest,
    InferenceResponse,
    Tensor,
    TritonError,
)
from salver.spec.triton_config import TritonConfig

_SCHEDULED = frozenset(
    {
        "binary_data_output",
        "priority",
        "timeout",
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "triton_enable_empty_final_response",
        "headers",
    }
)


class PythonExecution:
    """An instance of the class: what it is told and what its answers are."""

    def __init__(self, instance: Any, config: TritonConfig, place: TritonPlace) -> None:
        self.instance = instance
        self.config = config
        self._place = place
        self.awaiter = Awaiter()
        self._metadata = ModelMetadata(
            platform=config.platform or "python",
            inputs=seen_tensors(config, config.input),
            outputs=seen_tensors(config, config.output, place.folder),
            default_outputs=tuple(each.name for each in config.output),
            batchable=config.max_batch_size > 0
            and config.dynamic_batching is not None
            and not config.is_decoupled,
            has_rows=config.max_batch_size > 0,
            idempotent=config.sequence_batching is None,
            decoupled=config.is_decoupled,
            configuration=json.dumps(
                config_document(config)
                | {"default_model_filename": config.default_model_filename or "model.py"}
            ),
        )
        self._declared = frozenset(each.name for each in config.output)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def unload(self) -> None:
        finalize = getattr(self.instance, "finalize", None)
        if callable(finalize):
            finalize()
        self.awaiter.close()

    def told(self, asked: AskedRequest) -> InferenceRequest:
        """The request as the model is given it."""
        parameters = asked.parameters
        flags = SEQUENCE_START if parameters.get("sequence_start") else 0
        flags |= SEQUENCE_END if parameters.get("sequence_end") else 0
        request = asked.request
        return InferenceRequest(
            self.config.name,
            request.outputs or self._metadata.default_outputs,
            [Tensor(each.name, each.data) for each in request.inputs],
            asked.id,
            parameters.get("sequence_id", 0),
            int(self._place.version),
            flags,
            _whole(parameters.get("timeout")),
            parameters={k: v for k, v in parameters.items() if k not in _SCHEDULED},
        )

    def answer(self, response: Any, request: InferRequest) -> InferResponse | RequestError:
        if not isinstance(response, InferenceResponse):
            kind = type(response).__name__
            return ModelFailed(f"execute must give InferenceResponse objects, not a {kind}")
        error = response.error()
        if error is not None:
            return _refusal(error)
        given = {each.name(): each for each in response.output_tensors()}
        # As in Triton, what the configuration does not have is not handed out.
        wanted = request.outputs or tuple(
            name for name in given if name in self._declared or not self._declared
        )
        missing = [name for name in wanted if name not in given]
        if missing:
            known = ", ".join(given) or "none"
            return ModelFailed(f"its response lacks the output '{missing[0]}' (it has {known})")
        return InferResponse(
            tuple(tensor_from_array(name, given[name].as_numpy()) for name in wanted),
            json.loads(response.parameters()),
        )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


_KINDS: Mapping[int, type[RequestError]] = MappingProxyType(
    {
        TritonError.NOT_FOUND: ModelNotFound,
        TritonError.INVALID_ARG: InvalidInput,
        TritonError.UNAVAILABLE: Unavailable,
        TritonError.UNSUPPORTED: Unsupported,
        TritonError.ALREADY_EXISTS: InvalidInput,
        TritonError.CANCELLED: InvalidInput,
    }
)
"""What a model's own error is to the caller, with Triton's HTTP statuses; any other is the
model's failure."""


def _refusal(error: TritonError) -> RequestError:
    return _KINDS.get(error.code(), ModelFailed)(error.message())
