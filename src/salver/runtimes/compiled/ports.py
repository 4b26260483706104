"""What an engine is, and what it is made from.

An engine knows rows, not requests: `entry` turns a request into them. Whatever an engine does
not know for certain it declines, and the framework answers instead: so an engine can only be
quicker, never know less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from salver.inference.compilation import Tier
from salver.inference.metadata import Datatype
from salver.inference.tensor import Array, InferRequest
from salver.runtimes.ports import LoadedModel

Rows = Array | list[Array]
"""A matrix, or one vector per column where columns differ in kind."""
Entry = Callable[[InferRequest], Rows]
"""Raises `Declined` for a request that the engine does not take."""
Compute = Callable[[Any], Array]


class Declined(Exception):
    """The engine leaves this request to the framework."""


class NotCompiled(Exception):
    """The engine has no way to hold this model; the text says what it lacks."""


class Subject(msgspec.Struct, frozen=True):
    """A loaded model as compilers see it.

    `artifact` is the framework's own object of the `family`. `form` is `matrix` for a matrix of
    numbers, `columns` where columns go by name and may be text. `outputs` are those that may be
    compiled; `defaults` is what is answered when nothing is asked for.
    """

    name: str
    family: str
    artifact: Any
    native: LoadedModel
    form: str
    width: int
    outputs: tuple[str, ...]
    defaults: tuple[str, ...]
    names: tuple[str, ...] = ()
    datatypes: tuple[Datatype, ...] = ()
    threads: int = 1

    @property
    def text_columns(self) -> tuple[int, ...]:
        return tuple(i for i, each in enumerate(self.datatypes) if each == "BYTES")


class Candidate(msgspec.Struct, frozen=True):
    """An engine that may hold the model. `build` raises `NotCompiled`, or whatever the library
    raises; it gives a computation for each output that it can."""

    name: str
    tier: Tier
    build: Callable[[Subject], Mapping[str, Compute]]
