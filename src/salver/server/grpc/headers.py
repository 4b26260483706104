"""A call's metadata as the engine asks for it: like the headers of an HTTP request, in bytes.

Also what `seldon-model` in it means: which models the call can see.
"""

from __future__ import annotations

from collections.abc import Sequence

from salver.engine.directory import MODEL_ADDRESS, ModelDirectory
from salver.engine.ports import ModelCatalog
from salver.server.grpc.ports import Metadata


def header_of(metadata: Metadata, name: bytes) -> bytes:
    """The first value of that name, in lower case; empty if there is none."""
    key = name.decode("latin-1")
    return next((_value_bytes(value) for each, value in metadata if each == key), b"")


def headers_of(metadata: Metadata) -> Sequence[tuple[bytes, bytes]]:
    """All names and values."""
    return [(key.encode("latin-1"), _value_bytes(value)) for key, value in metadata]


def _value_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def named_by(metadata: Metadata, catalog: ModelCatalog) -> ModelCatalog:
    """The catalog as `seldon-model` shows it: that model alone. Raises `ModelNotFound`."""
    for key, value in metadata:
        if key == "seldon-model" and isinstance(catalog, ModelDirectory):
            return catalog.view(MODEL_ADDRESS + str(value))
    return catalog
