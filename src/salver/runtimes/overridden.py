"""A model that is said to be something else than it says itself: another platform, other names.

Owns which of such sayings can be kept. What a model computes does not change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse
from salver.runtimes.ports import LoadedModel, ModelSource, StreamingModel

logger = logging.getLogger("salver.worker")


def overridden(model: LoadedModel, source: ModelSource, platform: str) -> LoadedModel:
    """The model with the metadata that its settings give it, as far as it can have them."""
    metadata = model.metadata
    if metadata.operations:
        return model
    changed = msgspec.structs.replace(
        metadata,
        platform=platform or metadata.platform,
        inputs=_inputs(metadata, source.inputs, source.name),
        default_outputs=_defaults(metadata, source.outputs, source.name),
    )
    return model if changed == metadata else OverriddenModel(model, changed)


class OverriddenModel:
    """Implements `LoadedModel` around another."""

    def __init__(self, model: LoadedModel, metadata: ModelMetadata) -> None:
        self._model = model
        self._metadata = metadata
        own = model.metadata.default_outputs
        self._defaults = () if metadata.default_outputs == own else metadata.default_outputs

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        return self._model.predict(self._completed(request))

    def stream(self, request: InferRequest) -> Iterator[InferResponse]:
        """See `StreamingModel`."""
        return cast(StreamingModel, self._model).stream(self._completed(request))

    def _completed(self, request: InferRequest) -> InferRequest:
        if self._defaults and not request.outputs:
            return msgspec.structs.replace(request, outputs=self._defaults)
        return request

    def unload(self) -> None:
        self._model.unload()


def _inputs(
    metadata: ModelMetadata, declared: Sequence[TensorMetadata], name: str
) -> tuple[TensorMetadata, ...]:
    """The one input of a model that has no name for it takes the declared name and type."""
    own = metadata.inputs
    if not declared or tuple(declared) == own:
        return own
    if metadata.positional_input and len(declared) == len(own) == 1:
        given, known = declared[0], own[0]
        datatypes = dict.fromkeys((known.datatype, *known.accepts))
        if given.datatype in datatypes:
            accepts = tuple(each for each in datatypes if each != given.datatype)
            shape = known.shape if given.any_shape else given.shape
            fitting = len(shape) == len(known.shape) or known.any_shape
            return (
                msgspec.structs.replace(
                    given,
                    shape=shape if fitting else known.shape,
                    any_shape=known.any_shape and given.any_shape,
                    accepts=accepts,
                ),
            )
    if {each.name for each in declared} != {each.name for each in own}:
        logger.info("model '%s': the inputs in its settings have no effect: it has its own", name)
    return own


def _defaults(
    metadata: ModelMetadata, declared: Sequence[TensorMetadata], name: str
) -> tuple[str, ...]:
    """The outputs that are declared are those given unless a request names others."""
    known = {each.name for each in metadata.outputs}
    names = tuple(each.name for each in declared)
    if not names:
        return metadata.default_outputs
    if not set(names) <= known:
        logger.info("model '%s': the outputs in its settings have no effect: it has its own", name)
        return metadata.default_outputs
    return names
