"""What listeners may ask about the memory that clients share: regions with names.

Values and the port only; what a region is made of is the backend's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from salver.errors import InvalidInput, ModelNotFound


class Region(msgspec.Struct, frozen=True):
    """A piece of a memory object: `byte_size` bytes from `offset` of what `key` names."""

    name: str
    key: str
    offset: int
    byte_size: int


class RegionExistsError(InvalidInput):
    """A region of that name is registered already."""


class RegionNotFoundError(ModelNotFound):
    """No region goes by that name."""


class ClientRegions(Protocol):
    """The regions that are registered."""

    def regions(self, name: str = "") -> Sequence[Region]:
        """That one, or all by name. Raises `RegionNotFoundError`."""

    def register(self, region: Region) -> None:
        """From now on requests may name it.

        Raises `InvalidInput`: `RegionExistsError` if there is one of that name.
        """

    def unregister(self, name: str = "") -> None:
        """Forgets that one, or all; one that is not there is no error, as with Triton."""
