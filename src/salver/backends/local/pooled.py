"""One model of the shared pool: a small record until its first request, and a front after it.

There may be tens of thousands of these, so a record has no queue, no metrics and nothing of
asyncio; all of that comes with the `LocalModel` that the pool opens for it and closes again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from salver.artifacts.layout import ModelTarget, version_order
from salver.backends.local.environment import Environment
from salver.backends.local.model import LocalModel
from salver.backends.local.readiness import STANDBY
from salver.backends.local.worker_messages import LoadOrder
from salver.engine.call import Call
from salver.engine.model_facts import ModelFacts
from salver.engine.ports import ModelStatus
from salver.engine.queue import Clock
from salver.errors import ErrorKind, ModelNotReady
from salver.inference.metadata import ModelMetadata

Prepared = tuple[LoadOrder, Environment]
Source = str | ModelTarget | Callable[[], Awaitable[Prepared]]
"""Where a model comes from: a path, a target, or a function that fetches and prepares it."""


class CopyLimits(msgspec.Struct, frozen=True):
    """How many workers a pooled model has: `min_copies` always, `max_copies` under load."""

    min_copies: int = 0
    max_copies: int = 1


class Opener(Protocol):
    """The pool, as a record sees it."""

    clock: Clock

    def open(self, record: PooledModel) -> LocalModel: ...

    def refuse(self, call: Call, kind: ErrorKind, message: str) -> None: ...


class PooledModel:
    """Implements the engine's `ServedModel`."""

    __slots__ = (
        "failure",
        "is_leaving",
        "is_unloaded",
        "known_metadata",
        "limits",
        "local",
        "name",
        "pool",
        "size_bytes",
        "source",
        "used_s",
        "version",
    )

    def __init__(
        self,
        pool: Opener,
        name: str,
        version: str,
        source: Source,
        limits: CopyLimits,
        used_s: float,
    ) -> None:
        self.pool = pool
        self.name = name
        self.version = version
        self.source = source
        self.limits = limits
        self.used_s = used_s
        """When its last request came, on the gateway's clock."""
        self.size_bytes = 0
        """What one of its workers adds to memory, as last measured; 0: never loaded."""
        self.local: LocalModel | None = None
        self.known_metadata: ModelMetadata | None = None
        self.failure = ""
        self.is_unloaded = False
        self.is_leaving = False
        """It is forgotten once its last calls have ended."""

    @property
    def key(self) -> str:
        """What placement calls it."""
        return f"{self.name}/{self.version}"

    @property
    def status(self) -> ModelStatus:
        if self.local is not None:
            return self.local.status
        if self.is_unloaded:
            return ModelStatus(self.name, self.version, "UNAVAILABLE", "unloaded")
        if self.failure:
            return ModelStatus(self.name, self.version, "UNAVAILABLE", self.failure)
        return ModelStatus(self.name, self.version, "READY", STANDBY)

    @property
    def is_ready(self) -> bool:
        if self.local is not None:
            return self.local.is_ready
        return not self.is_unloaded and not self.failure

    @property
    def metadata(self) -> ModelMetadata:
        if self.known_metadata is not None and not self.is_unloaded:
            return self.known_metadata
        if self.local is not None:
            return self.local.metadata
        reason = self.status.reason
        if reason == STANDBY:
            reason = "standby, and not loaded yet: its first request loads it"
        raise ModelNotReady(f"model '{self.name}' is not ready: {reason}")

    async def wait_ready(self, timeout_s: float) -> None:
        """Returns once its metadata is known, for which it may have to be loaded.

        Raises `ModelNotReady` with the reason, or `DeadlineExceeded`.
        """
        if self.known_metadata is not None and self.is_ready:
            return
        if self.local is None and self.is_unloaded:
            raise ModelNotReady(self._unloaded())
        self.used_s = self.pool.clock()
        await (self.local or self.pool.open(self)).wait_ready(timeout_s)

    def facts(self) -> Sequence[ModelFacts]:
        """See `KnownModel`."""
        return self.local.facts() if self.local is not None else []

    def submit(self, call: Call) -> None:
        """Queues the call; loads the model if it is not loaded."""
        self.used_s = call.arrived_s
        local = self.local
        if local is None:
            if self.is_unloaded:
                self.pool.refuse(call, ErrorKind.MODEL_NOT_READY, self._unloaded())
                return
            local = self.pool.open(self)
        local.submit(call)

    def _unloaded(self) -> str:
        return (
            f"model '{self.name}' is unloaded: load it with POST /v2/repository/models/"
            f"{self.name}/load"
        )


class PoolIndex:
    """The records by name and version. Most names have one version, so one is kept bare."""

    def __init__(self) -> None:
        self._by_name: dict[str, PooledModel | tuple[PooledModel, ...]] = {}
        self._ordered: list[PooledModel] | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, record: PooledModel) -> None:
        """Takes in a version that is not there yet."""
        others = self.named(record.name)
        versions = sorted((*others, record), key=lambda each: version_order(each.version))
        self._by_name[record.name] = record if not others else tuple(versions)
        self._count += 1
        self._ordered = None

    def remove(self, record: PooledModel) -> None:
        """Forgets one version."""
        left = tuple(each for each in self.named(record.name) if each is not record)
        if left:
            self._by_name[record.name] = left
        else:
            del self._by_name[record.name]
        self._count -= 1
        self._ordered = None

    def named(self, name: str) -> tuple[PooledModel, ...]:
        """The model's versions, lowest first; none if there is no such model."""
        found = self._by_name.get(name, ())
        return (found,) if isinstance(found, PooledModel) else found

    def find(self, name: str, version: str = "") -> PooledModel | None:
        """The version asked for, or the highest; None if there is none."""
        found = self._by_name.get(name)
        if isinstance(found, PooledModel):
            return found if version in ("", found.version) else None
        if not found:
            return None
        if not version:
            return found[-1]
        return next((each for each in found if each.version == version), None)

    def names(self) -> Iterator[str]:
        """Every model once, in the order of registration."""
        return iter(self._by_name)

    def ordered(self) -> Sequence[PooledModel]:
        """Every version of every model, by name, then version."""
        if self._ordered is None:
            self._ordered = [
                record for name in sorted(self._by_name) for record in self.named(name)
            ]
        return self._ordered
