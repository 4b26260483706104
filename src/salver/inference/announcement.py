"""What a server says of itself once it is up: its models and where it listens.

`bootstrap` fills it in; the command line prints it. It knows no wire format and no screen.
"""

from __future__ import annotations

import msgspec

from salver.inference.metadata import ModelMetadata


class AnnouncedModel(msgspec.Struct, frozen=True):
    """One version of a model. `failure` says why it is not served; then no metadata is known."""

    name: str
    version: str
    runtime: str
    metadata: ModelMetadata | None
    ready_s: float = 0.0
    failure: str = ""


class Announcement(msgspec.Struct, frozen=True):
    """A server that listens. `grpc_port` is -1 where gRPC is off; ports are the real ones."""

    models: tuple[AnnouncedModel, ...]
    host: str
    http_port: int
    grpc_port: int
    tls_cert: str = ""
    start_s: float = 0.0
