"""What gateway, fork server and workers say to each other in JSON. Imports no NumPy."""

from __future__ import annotations

from typing import Any

import msgspec

from salver.inference.compilation import CompileCounts, CompileReport
from salver.inference.metadata import ModelMetadata, TensorMetadata


class LoadOrder(msgspec.Struct, frozen=True):
    """The first frame's JSON: what to load, and within which limits."""

    name: str
    version: str
    path: str
    runtime: str
    attribute: str
    threads: int
    max_rows: int
    batch_requested: bool
    memory_bytes: int
    max_body_bytes: int
    log_format: str
    log_level: str
    env: dict[str, str] = {}
    """Environment variables, set before the model is loaded."""
    predictor_url: str = ""
    """The base URL that a transformer or explainer reaches its predictor at."""
    caveat: str = ""
    """What may be the reason if the load fails, for people."""
    parameters: dict[str, Any] = {}
    """Arguments of the runtime."""
    platform: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    """What the model is to say of itself, where its settings say so."""
    compile: str = "off"
    verdicts: str = ""
    """See `ModelOptions`."""
    regions: str = ""
    """See `ModelOptions`."""


class LoadReport(msgspec.Struct, frozen=True):
    """The answer to a `LoadOrder`."""

    metadata: ModelMetadata
    load_s: float
    warmup_s: float
    compiled: CompileReport | None = None
    """What came of compiling it, for models that can be."""


class WorkerFacts(msgspec.Struct, frozen=True):
    """What a worker says of itself while it serves."""

    compiled: CompileReport
    counts: CompileCounts


class CacheCounts(msgspec.Struct, frozen=True, array_like=True):
    """What a worker's response cache has done since it began; its size is as of now."""

    hits: int = 0
    misses: int = 0
    hit_ns: int = 0
    miss_ns: int = 0
    evictions: int = 0
    size_bytes: int = 0


MAX_MESSAGE_BYTES = 4096
"""The most that a message between gateway and fork server takes."""


class ForkOrder(msgspec.Struct, frozen=True):
    """Asks for one worker; its descriptors travel with it."""

    id: int


class ForkReport(msgspec.Struct, frozen=True):
    """A worker has started or, with `status` (as of `waitpid`), ended.

    With `id` 0 the fork server speaks of itself: it is ready or, with `failure`, never will be.
    """

    id: int
    pid: int
    status: int | None = None
    failure: str = ""
