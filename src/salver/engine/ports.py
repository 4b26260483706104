"""What the listeners may ask of the engine, and the engine of a backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from salver.engine.call import Call
from salver.inference.metadata import ModelMetadata
from salver.telemetry.trace import TraceContext


class ModelStatus(msgspec.Struct, frozen=True):
    """One version of a model as the repository index shows it.

    `state` is Triton's: READY, LOADING, UNLOADING, UNAVAILABLE; `reason` says why not READY.
    """

    name: str
    version: str
    state: str
    reason: str = ""


class ServedModel(Protocol):
    """One version of a model, ready or not."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def status(self) -> ModelStatus: ...

    @property
    def is_ready(self) -> bool: ...

    @property
    def metadata(self) -> ModelMetadata:
        """Raises `ModelNotReady` until the model has loaded once."""

    def submit(self, call: Call) -> None:
        """Queues the call; the answer comes through `call.deliver` or `call.fail`.

        Never raises and never blocks; a refusal is delivered through `call.fail` too.
        """


class ForwardedRequest(msgspec.Struct, frozen=True):
    """A whole HTTP request that somebody else is to answer. `target` is path and query, `span`
    what it is part of, if spans of it are recorded."""

    method: str
    target: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    span: TraceContext | None = None


class ForwardedAnswer(Protocol):
    """An answer whose head has come; names of headers are in lower case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `Unavailable` if it is cut off, and `DeadlineExceeded`."""


class Forwarder(Protocol):
    """Something that answers HTTP requests itself, whatever their paths."""

    def forward(self, request: ForwardedRequest) -> AbstractAsyncContextManager[ForwardedAnswer]:
        """The answer, for as long as the context lasts. Entering it raises `RequestError`."""


class ModelCatalog(Protocol):
    """All models of this server, and the control of which are loaded."""

    def find(self, name: str, version: str = "") -> ServedModel:
        """The version asked for, or the model's default. Raises `ModelNotFound`."""

    def versions(self, name: str) -> Sequence[str]:
        """All versions of the model, lowest first. Raises `ModelNotFound`."""

    def statuses(self) -> Sequence[ModelStatus]:
        """Every version of every model, by name, then version."""

    @property
    def is_ready(self) -> bool:
        """True when every model that should be loaded is."""

    @property
    def is_draining(self) -> bool: ...

    async def load(self, name: str) -> None:
        """(Re)loads the model from its source, the old one serving until the new is ready.

        Raises `ModelNotFound`, or `LoadFailed` with the reason.
        """

    async def unload(self, name: str) -> None:
        """Takes the model out of service after its queue is empty. Raises `ModelNotFound`."""
