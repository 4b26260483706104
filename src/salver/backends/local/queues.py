"""Which queue a model has: the plain one, or one with policies. Decided once, when it is added."""

from __future__ import annotations

import logging

from salver.backends.local.options import ModelOptions, batch_limits
from salver.engine.policy_queue import PolicyQueue
from salver.engine.queue import Clock, ModelQueue, Scheduler
from salver.engine.rate_limiter import RateLimiter, ResourceClaim
from salver.engine.resource_ledger import GivenResource
from salver.inference.scheduling import NO_SCHEDULING
from salver.settings import ServeSettings, rate_limit_resource
from salver.telemetry.metrics import ModelMetrics

logger = logging.getLogger("salver.supervisor")


def make_queue(
    label: str,
    options: ModelOptions,
    limiter: RateLimiter | None,
    *,
    metrics: ModelMetrics,
    scheduler: Scheduler,
    clock: Clock,
) -> tuple[ModelQueue, ResourceClaim | None]:
    """The queue, and what the model claims of shared resources, where these are limited."""
    claim = None
    if options.limited and limiter is not None:
        claim = limiter.claim(options.limited)
    elif options.limited:
        logger.warning(
            "%s: its rate_limiter has no effect: start the server with --rate-limit "
            "execution_count",
            label,
        )
    limits = batch_limits(options)
    if claim is None and options.scheduling == NO_SCHEDULING:
        plain = ModelQueue(
            label,
            limits,
            max_queued=options.max_queued,
            metrics=metrics,
            scheduler=scheduler,
            clock=clock,
        )
        return plain, None
    queue = PolicyQueue(
        label,
        limits,
        options.scheduling,
        max_queued=options.max_queued,
        metrics=metrics,
        scheduler=scheduler,
        clock=clock,
        claim=claim,
    )
    return queue, claim


def rate_limiter_of(settings: ServeSettings) -> RateLimiter | None:
    """The server's rate limiter, if it has one."""
    if settings.rate_limit == "off":
        return None
    given = [GivenResource(*rate_limit_resource(each)) for each in settings.rate_limit_resource]
    return RateLimiter(given)
