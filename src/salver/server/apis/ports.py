"""What the admin API needs from the rest, and the parts of it that others may replace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from starlette.requests import Request

from salver.control.resources import JsonObject, ResourceStore
from salver.spec.kinds import ResourceType


class PagedStore(ResourceStore, Protocol):
    """A store that can list a part."""

    def page(
        self,
        group: str,
        plural: str,
        namespace: str = "",
        *,
        after: tuple[str, str] = ("", ""),
        limit: int = -1,
    ) -> tuple[list[JsonObject], int]:
        """As `list`, but what comes after this (namespace, name), and at most `limit`; -1: all."""

    def transaction(self) -> AbstractContextManager[None]:
        """As `ResourceStore.transaction`."""

    async def wait_durable(self) -> None:
        """Returns once all that was written before is on disk. Raises `ResourceError`."""


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; `type` date makes an age of a time. Priority above 0: wide."""

    name: str
    value: Callable[[JsonObject], Any]
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Scale:
    """What the scale sub-resource says of an object."""

    replicas: int
    present_replicas: int = 0
    selector: str = ""


class Scaling(Protocol):
    """How objects are scaled: `read` and `write` are each other's inverse."""

    def read(self, obj: JsonObject) -> Scale: ...

    def write(self, obj: JsonObject, replicas: int) -> JsonObject: ...


class ReadLogs(Protocol):
    """The log of a pod; `tail` is how many last lines, None all; with `follow` it goes on."""

    def __call__(
        self, namespace: str, pod: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[bytes]:
        """Raises `ResourceNotFound` before its first line if there is no such pod."""


ColumnsOf = Callable[[ResourceType], Sequence[Column]]
SchemaOf = Callable[[ResourceType, str], dict[str, Any]]
Convert = Callable[[JsonObject, str], JsonObject]
Authorise = Callable[[Request], None]


@dataclass(frozen=True)
class Clock:
    """Where the API takes the time and random name endings from."""

    now: Callable[[], datetime]
    suffix: Callable[[], str]
    """Five characters, for `generateName`."""
