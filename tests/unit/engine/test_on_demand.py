"""Asking a model in standby for its metadata loads it."""

from __future__ import annotations

import asyncio

import pytest

from salver.engine.on_demand import metadata_of
from salver.errors import ModelNotReady
from salver.inference.metadata import ModelMetadata

IRIS = ModelMetadata("sklearn", (), ())


class Plain:
    """A model that nobody can start."""

    def __init__(self) -> None:
        self.known: ModelMetadata | None = None

    @property
    def metadata(self) -> ModelMetadata:
        if self.known is None:
            raise ModelNotReady("standby")
        return self.known


class OnDemand(Plain):
    """One that loads when somebody waits for it."""

    waited_s: float = 0.0

    async def wait_ready(self, timeout_s: float) -> None:
        self.waited_s, self.known = timeout_s, IRIS


def test_a_model_that_can_be_started_is_started_once() -> None:
    model = OnDemand()
    assert asyncio.run(metadata_of(model, 7.0)) is IRIS  # type: ignore[arg-type]
    assert model.waited_s == 7.0
    model.waited_s = 0.0
    assert asyncio.run(metadata_of(model, 7.0)) is IRIS  # type: ignore[arg-type]
    assert model.waited_s == 0.0


def test_any_other_says_that_it_is_not_ready() -> None:
    with pytest.raises(ModelNotReady, match="standby"):
        asyncio.run(metadata_of(Plain(), 7.0))  # type: ignore[arg-type]
