"""Metadata of models that load on demand: asking for it is a reason to load."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from salver.engine.ports import ServedModel
from salver.errors import ModelNotReady
from salver.inference.metadata import ModelMetadata


@runtime_checkable
class Startable(Protocol):
    """A model that can be told to become ready."""

    async def wait_ready(self, timeout_s: float) -> None:
        """Returns once it is. Raises `ModelNotReady` with the reason, or `DeadlineExceeded`."""


async def metadata_of(model: ServedModel, timeout_s: float) -> ModelMetadata:
    """What the model says of itself; one in standby that never loaded is loaded for it.

    Raises `ModelNotReady`, or `DeadlineExceeded`.
    """
    try:
        return model.metadata
    except ModelNotReady:
        if not isinstance(model, Startable):
            raise
    await model.wait_ready(timeout_s)
    return model.metadata
