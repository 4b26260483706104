"""A model of a framework as its Triton configuration describes it: shapes, names, batches.

Owns what the configuration and the model must agree on, and reshaping. What the model computes is
its own.
"""

from __future__ import annotations

import json

import msgspec

from salver.errors import LoadFailed, ModelFailed
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.ports import LoadedModel
from salver.runtimes.triton_completing import config_document
from salver.runtimes.triton_place import TritonPlace
from salver.runtimes.triton_shapes import inner_shape, reshaped, rows_of, seen_tensors
from salver.spec.problems import did_you_mean
from salver.spec.triton_backends import Backend
from salver.spec.triton_config import ModelInput, ModelOutput, TritonConfig


def framework_model(
    inner: LoadedModel, config: TritonConfig, backend: Backend, place: TritonPlace
) -> LoadedModel:
    """The model as its configuration has it; as it is itself if the configuration says nothing.

    Raises `LoadFailed` if the two contradict each other.
    """
    if not config.input and not config.output and config.max_batch_size == 0:
        return inner
    completed = _completed(config, inner.metadata)
    _check(completed, completed.input, inner.metadata.inputs, backend)
    _check(completed, completed.output, inner.metadata.outputs, backend)
    return FrameworkModel(inner, completed, backend, place)


class FrameworkModel:
    """Implements `LoadedModel` around another."""

    def __init__(
        self, inner: LoadedModel, config: TritonConfig, backend: Backend, place: TritonPlace
    ) -> None:
        self._inner = inner
        self._config = config
        self._has_batch = config.max_batch_size > 0
        self._outputs = tuple(each.name for each in config.output)
        self._reshapes = {
            each.name: each.reshape.shape for each in config.input if each.reshape is not None
        }
        self._shapes = {each.name: each.dims for each in config.output if each.reshape is not None}
        self._metadata = ModelMetadata(
            platform=config.platform or backend.platform,
            inputs=seen_tensors(config, config.input),
            outputs=seen_tensors(config, config.output, place.folder),
            default_outputs=self._outputs,
            batchable=self._has_batch and config.dynamic_batching is not None,
            has_rows=self._has_batch,
            framework_version=inner.metadata.framework_version,
            configuration=json.dumps(config_document(config)),
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        rows_of(request, self._config)
        wanted = request.outputs or self._outputs
        inputs = tuple(map(self._fed, request.inputs)) if self._reshapes else request.inputs
        answer = self._inner.predict(
            msgspec.structs.replace(request, inputs=inputs, outputs=wanted)
        )
        if not self._shapes:
            return answer
        return msgspec.structs.replace(answer, outputs=tuple(map(self._shown, answer.outputs)))

    def unload(self) -> None:
        self._inner.unload()

    def _fed(self, tensor: Tensor) -> Tensor:
        shape = self._reshapes.get(tensor.name)
        if shape is None:
            return tensor
        data = reshaped(tensor.data, shape, has_batch=self._has_batch)
        return msgspec.structs.replace(tensor, data=data)

    def _shown(self, tensor: Tensor) -> Tensor:
        shape = self._shapes.get(tensor.name)
        if shape is None:
            return tensor
        sizes = (tensor.data.shape[0], *shape) if self._has_batch else shape
        try:
            return msgspec.structs.replace(tensor, data=tensor.data.reshape(sizes))
        except ValueError as error:
            raise ModelFailed(f"output '{tensor.name}' cannot have its dims: {error}") from error


def _completed(config: TritonConfig, metadata: ModelMetadata) -> TritonConfig:
    """The configuration with the tensors that it leaves to the model."""
    if config.input and config.output:
        return config
    return msgspec.structs.replace(
        config,
        input=config.input or tuple(_input(config, each) for each in metadata.inputs),
        output=config.output or tuple(_output(config, each) for each in metadata.outputs),
    )


def _input(config: TritonConfig, tensor: TensorMetadata) -> ModelInput:
    return ModelInput(tensor.name, _type(tensor), dims=_dims(config, tensor))  # type: ignore[arg-type]


def _output(config: TritonConfig, tensor: TensorMetadata) -> ModelOutput:
    return ModelOutput(tensor.name, _type(tensor), _dims(config, tensor))  # type: ignore[arg-type]


def _type(tensor: TensorMetadata) -> str:
    return "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"


def _dims(config: TritonConfig, tensor: TensorMetadata) -> tuple[int, ...]:
    return tensor.shape[1:] if config.max_batch_size > 0 else tensor.shape


def _check(
    config: TritonConfig,
    declared: tuple[ModelInput, ...] | tuple[ModelOutput, ...],
    own: tuple[TensorMetadata, ...],
    backend: Backend,
) -> None:
    """Names, datatypes and shapes are the model's own, as far as it knows them."""
    known = {each.name: each for each in own}
    if not known or backend.name == "pytorch":
        # PyTorch's take their inputs by position, and may have no names.
        return
    for tensor in declared:
        kind = "input" if isinstance(tensor, ModelInput) else "output"
        subject = f"model '{config.name}': {kind} '{tensor.name}'"
        found = known.get(tensor.name)
        if found is None:
            raise LoadFailed(
                f"{subject} of config.pbtxt is not in the model, which has "
                f"{', '.join(known)}{did_you_mean(tensor.name, known)}"
            )
        datatypes = {_type(found), *(f"TYPE_{each}" for each in found.accepts)}
        if tensor.data_type not in datatypes:
            raise LoadFailed(
                f"{subject} is {tensor.data_type} in config.pbtxt and {_type(found)} in the model: "
                "correct it"
            )
        _check_shape(config, tensor, found, subject)


def _check_shape(
    config: TritonConfig, tensor: ModelInput | ModelOutput, own: TensorMetadata, subject: str
) -> None:
    if own.any_shape:
        return
    if config.max_batch_size > 0 and own.shape[:1] != (-1,):
        raise LoadFailed(
            f"{subject}: for the model to support batching the shape should have at least 1 "
            f"dimension and the first dimension must be -1; but shape expected by the model is "
            f"{list(own.shape)}: set max_batch_size to 0"
        )
    shape = inner_shape(config, tensor)
    fits = len(shape) == len(own.shape) and all(
        -1 in (mine, theirs) or mine == theirs
        for mine, theirs in zip(shape, own.shape, strict=True)
    )
    if not fits:
        raise LoadFailed(
            f"{subject} has the shape {list(shape)} by config.pbtxt and {list(own.shape)} in the "
            "model: correct its dims"
        )
