"""Stand-ins for ports, in memory: a catalog of models that answer what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from salver.engine.call import Call
from salver.engine.ports import ModelStatus
from salver.errors import ErrorKind, LoadFailed, ModelNotFound, ModelNotReady
from salver.inference.metadata import ModelMetadata, TensorMetadata

IRIS = ModelMetadata(
    platform="sklearn",
    inputs=(TensorMetadata("input", "FP64", (-1, 4), accepts=("FP32",)),),
    outputs=(
        TensorMetadata("predict", "INT64", (-1,)),
        TensorMetadata("predict_proba", "FP64", (-1, 3)),
    ),
    default_outputs=("predict",),
    positional_input=True,
    framework_version="1.9.0",
)


class FakeModel:
    """A `ServedModel` whose state is an attribute and whose answer is a function."""

    def __init__(
        self,
        name: str,
        version: str = "1",
        *,
        metadata: ModelMetadata = IRIS,
        state: str = "READY",
        reason: str = "",
    ) -> None:
        self.name = name
        self.version = version
        self.state = state
        self.reason = reason
        self.calls: list[Call] = []
        self.answer: Callable[[Call], None] = lambda call: call.fail(
            ErrorKind.UNSUPPORTED, "this fake answers nothing"
        )
        self._metadata = metadata

    @property
    def status(self) -> ModelStatus:
        return ModelStatus(self.name, self.version, self.state, self.reason)

    @property
    def is_ready(self) -> bool:
        return self.state == "READY"

    @property
    def metadata(self) -> ModelMetadata:
        if not self.is_ready:
            raise ModelNotReady(f"model {self.name} is {self.state}: {self.reason}")
        return self._metadata

    def submit(self, call: Call) -> None:
        """Remembers the call and answers it at once."""
        self.calls.append(call)
        self.answer(call)


class FakeCatalog:
    """A `ModelCatalog` of given models; names in `broken` fail to load with that reason."""

    def __init__(self, *models: FakeModel, broken: dict[str, str] | None = None) -> None:
        self.models = list(models)
        self.broken = broken or {}
        self.is_draining = False

    def find(self, name: str, version: str = "") -> FakeModel:
        found = [m for m in self._named(name) if version in ("", m.version)]
        if not found:
            raise ModelNotFound(f"model {name!r} has no version {version!r}: see /v2/models/{name}")
        return max(found, key=lambda model: int(model.version))

    def versions(self, name: str) -> Sequence[str]:
        return sorted((model.version for model in self._named(name)), key=int)

    def statuses(self) -> Sequence[ModelStatus]:
        return [m.status for m in sorted(self.models, key=lambda m: (m.name, int(m.version)))]

    @property
    def is_ready(self) -> bool:
        return all(model.is_ready for model in self.models)

    async def load(self, name: str) -> None:
        if name in self.broken:
            raise LoadFailed(self.broken[name])
        for model in self._named(name):
            model.state, model.reason = "READY", ""

    async def unload(self, name: str) -> None:
        for model in self._named(name):
            model.state, model.reason = "UNAVAILABLE", "unloaded"

    def _named(self, name: str) -> list[FakeModel]:
        found = [model for model in self.models if model.name == name]
        if not found:
            raise ModelNotFound(f"there is no model {name!r}: see /v2/models for those there are")
        return found
