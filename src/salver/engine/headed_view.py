"""The catalog as a `Seldon-Model` header shows it: one model, whatever the path calls it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salver.engine.ports import ModelCatalog, ModelStatus, ServedModel


class HeadedView:
    """Implements `ModelCatalog`: every name means the header's model."""

    def __init__(self, all_models: ModelCatalog, name: str, model: ServedModel) -> None:
        self._all = all_models
        self._name = name
        self._model = model

    def find(self, name: str, version: str = "") -> ServedModel:
        return self._model

    def versions(self, name: str) -> Sequence[str]:
        return [self._model.version]

    def statuses(self) -> Sequence[ModelStatus]:
        return [msgspec.structs.replace(self._model.status, name=self._name)]

    @property
    def is_ready(self) -> bool:
        return self._model.is_ready and not self._all.is_draining

    @property
    def is_draining(self) -> bool:
        return self._all.is_draining

    async def load(self, name: str) -> None:
        await self._all.load(name)

    async def unload(self, name: str) -> None:
        await self._all.unload(name)
