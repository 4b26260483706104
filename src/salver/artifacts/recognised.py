"""What an artifact was recognised as. A value only."""

from __future__ import annotations

import msgspec


class Recognised(msgspec.Struct, frozen=True):
    """`preload` are modules worth importing before the artifact is loaded, if they exist.

    `attribute` is the class to take from a Python file.
    """

    runtime: str
    detail: str
    preload: tuple[str, ...] = ()
    attribute: str = ""
