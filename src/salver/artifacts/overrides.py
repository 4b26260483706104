"""What a settings file beside a model says of how it is served. A value only."""

from __future__ import annotations

from typing import Any

import msgspec

from salver.inference.metadata import TensorMetadata
from salver.inference.scheduling import NO_SCHEDULING, LimitedGroup, Scheduling


class ModelOverrides(msgspec.Struct, frozen=True):
    """Empty and 0 stand for what the model, or the server, has anyway.

    `inputs` and `outputs` replace what the model says of itself, `parameters` are arguments of
    its runtime. Times in seconds.
    """

    platform: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    parameters: dict[str, Any] = {}
    max_batch_rows: int = 0
    max_batch_delay_s: float = 0.0
    max_queued: int = 0
    workers: int = 0
    scheduling: Scheduling = NO_SCHEDULING
    limited: tuple[LimitedGroup, ...] = ()
    """What its instances need of resources, if they need any."""


NO_OVERRIDES = ModelOverrides()
