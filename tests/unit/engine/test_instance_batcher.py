"""KServe's batcher as limits."""

from __future__ import annotations

from salver.engine.instance_batcher import InstanceLimits, instance_limits
from salver.graphs.plan import BatchPolicy


def test_nobody_waits_unless_that_is_asked_for() -> None:
    policy = BatchPolicy(max_batch_size=32, max_latency_s=5.0, timeout_s=2.0)
    assert instance_limits(policy) == InstanceLimits(32, 0.0, 2.0)
    assert instance_limits(policy, waits=True) == InstanceLimits(32, 5.0, 2.0)


def test_there_is_at_least_one_instance_in_a_batch() -> None:
    assert instance_limits(BatchPolicy(max_batch_size=0)).max_rows == 1
