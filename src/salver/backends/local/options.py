"""How one model is to be run on this machine: how many workers, and within which limits.

A value only. Where it comes from (the command line, a manifest) is the caller's; what is
done with it is `model.py`'s.
"""

from __future__ import annotations

from typing import Any

import msgspec

from salver.artifacts.layout import ModelTarget
from salver.artifacts.overrides import NO_OVERRIDES, ModelOverrides
from salver.backends.local.worker_messages import LoadOrder
from salver.engine.batching import BatchLimits
from salver.graphs.plan import ScalingPolicy
from salver.inference.scheduling import NO_SCHEDULING, LimitedGroup, Scheduling
from salver.spec.triton_url import TRITONSERVER

_DEFAULT_MAX_REQUESTS = 128
_ASKING = frozenset({"triton"})
"""Runtimes whose models may ask others of the same server."""


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One model's workers and limits. Times in seconds, sizes in bytes."""

    replicas: int = 1
    """Workers to begin with; 0 begins in standby, and the first request starts one."""
    concurrency: int = 0
    """Most requests that one worker has at a time (`containerConcurrency`); 0: no such limit."""
    max_batch_rows: int = 0
    """Most rows predicted together; 0: what suits the model."""
    max_batch_delay_s: float = 0.0
    max_queued: int = 2048
    scheduling: Scheduling = NO_SCHEDULING
    limited: tuple[LimitedGroup, ...] = ()
    """What its executions need of the rate limiter's resources."""
    threads: int = 1
    memory_bytes: int = 0
    """What one worker may take; 0: no limit."""
    request_timeout_s: float = 30.0
    """The server's time limit, which the listeners give to every request."""
    timeout_s: float = 0.0
    """The model's own time limit for a request; 0: the server's."""
    load_timeout_s: float = 300.0
    drain_timeout_s: float = 30.0
    compile: str = "auto"
    """Whether faster engines are built for it, unless it says so itself."""
    verdicts: str = ""
    """The folder that keeps what compiling found out; empty: nothing is kept."""
    regions: str = ""
    """The folder that tells of the memory which clients share; empty: none is taken."""
    server_url: str = ""
    """Where workers reach this server, for models that ask others of it."""
    triton_leases: str = ""
    """Where workers ask for models that Triton itself runs."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment variables set in the worker before it loads the model."""
    max_body_bytes: int = 64 << 20
    log_format: str = "text"
    log_level: str = "info"


def batch_limits(options: ModelOptions) -> BatchLimits:
    """How much the queue sends to a worker at once."""
    most = options.max_batch_rows or _DEFAULT_MAX_REQUESTS
    return BatchLimits(
        max_requests=min(most, options.concurrency) if options.concurrency else most,
        max_delay_s=options.max_batch_delay_s,
    )


def pooled(options: ModelOptions) -> ModelOptions:
    """The options of the shared pool's models: compiling costs time and memory, and such models
    come and go."""
    return msgspec.structs.replace(options, compile="off") if options.compile == "auto" else options


def first_scale(policy: ScalingPolicy) -> int:
    """Replicas to begin with: a revision proves itself with at least one."""
    initial = policy.initial_scale if policy.initial_scale > 0 else max(1, policy.min_replicas)
    return min(initial, policy.max_replicas) if policy.max_replicas else initial


def tailored(options: ModelOptions, overrides: ModelOverrides) -> ModelOptions:
    """The options with what the model's own settings file says."""
    if overrides == NO_OVERRIDES:
        return options
    return msgspec.structs.replace(
        options,
        replicas=overrides.workers or options.replicas,
        max_batch_rows=overrides.max_batch_rows or options.max_batch_rows,
        max_batch_delay_s=overrides.max_batch_delay_s or options.max_batch_delay_s,
        max_queued=overrides.max_queued or options.max_queued,
        scheduling=(
            options.scheduling if overrides.scheduling == NO_SCHEDULING else overrides.scheduling
        ),
        limited=overrides.limited or options.limited,
    )


def load_order(target: ModelTarget, options: ModelOptions, caveat: str = "") -> LoadOrder:
    """What a worker is told for this artifact."""
    overrides = target.overrides
    return LoadOrder(
        name=target.name,
        version=target.version,
        path=str(target.path),
        runtime=target.runtime,
        attribute=target.attribute,
        threads=options.threads,
        max_rows=options.max_batch_rows,
        batch_requested=options.max_batch_rows > 1,
        memory_bytes=options.memory_bytes,
        max_body_bytes=options.max_body_bytes,
        log_format=options.log_format,
        log_level=options.log_level,
        env=dict(options.env),
        predictor_url=options.server_url if target.runtime in _ASKING else "",
        caveat=caveat,
        parameters=_parameters(target, options),
        platform=overrides.platform,
        inputs=overrides.inputs,
        outputs=overrides.outputs,
        compile=options.compile,
        verdicts=options.verdicts,
        regions=options.regions,
    )


def _parameters(target: ModelTarget, options: ModelOptions) -> dict[str, Any]:
    """Arguments of the runtime: what the target says, and where Triton's models are had."""
    given = target.overrides.parameters
    return {**given, "leases": options.triton_leases} if target.runtime == TRITONSERVER else given
