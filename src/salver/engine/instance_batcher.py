"""KServe's `batcher` in terms of the batching that is here anyway. Pure.

KServe's agent collects the instances of V1 requests until there are `maxBatchSize` of them or
`maxLatency` (5 s unless told) has passed. Here batching is work-conserving: an idle worker
gets at once what there is, so nobody waits for a batch to fill; a busy one gets what has
collected. What a user can rely on is kept: one prediction has at most `maxBatchSize`
instances (a single request with more goes by itself, as it does there), nobody waits longer
than `maxLatency` for others, each caller gets the predictions of its own instances, and
requests still unanswered after `timeout` fail. It works for V2 and gRPC as well.
"""

from __future__ import annotations

import msgspec

from salver.graphs.plan import BatchPolicy


class InstanceLimits(msgspec.Struct, frozen=True):
    """`max_rows` predicted together, the delay to wait for them, the time limit (0: none)."""

    max_rows: int
    max_delay_s: float
    timeout_s: float


def instance_limits(policy: BatchPolicy, *, waits: bool = False) -> InstanceLimits:
    """The limits that keep the policy's promises.

    `waits` is for models whose batches gain more than the wait costs: an idle worker then
    waits up to `maxLatency` for a batch to fill, as KServe's does.
    """
    return InstanceLimits(
        max_rows=max(1, policy.max_batch_size),
        max_delay_s=max(0.0, policy.max_latency_s) if waits else 0.0,
        timeout_s=max(0.0, policy.timeout_s),
    )
