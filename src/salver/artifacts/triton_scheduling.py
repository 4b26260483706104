"""What a Triton model's configuration says of its queue and of shared resources. Pure."""

from __future__ import annotations

from salver.inference.scheduling import (
    NO_POLICY,
    NO_SCHEDULING,
    LimitedGroup,
    Need,
    QueuePolicy,
    Scheduling,
)
from salver.spec.triton_config import InstanceGroup, TritonConfig
from salver.spec.triton_config import QueuePolicy as TritonPolicy


def scheduling_of(config: TritonConfig) -> Scheduling:
    """Levels, policies, preferred sizes and order of `dynamic_batching`."""
    batching = config.dynamic_batching
    if batching is None:
        return NO_SCHEDULING
    levels = batching.priority_levels
    by_level = batching.priority_queue_policy if levels else {}
    return Scheduling(
        levels=levels,
        default_level=batching.default_priority_level if levels else 0,
        policy=_policy(batching.default_queue_policy),
        by_level={level: _policy(policy) for level, policy in by_level.items()},
        preferred=tuple(sorted(set(batching.preferred_batch_size))),
        keeps_order=batching.preserve_ordering,
    )


def _policy(policy: TritonPolicy | None) -> QueuePolicy:
    if policy is None:
        return NO_POLICY
    return QueuePolicy(
        is_delaying=policy.timeout_action == "DELAY",
        timeout_s=policy.default_timeout_microseconds / 1e6,
        allows_override=policy.allow_timeout_override,
        max_queued=policy.max_queue_size,
    )


def limited_groups(config: TritonConfig) -> tuple[LimitedGroup, ...]:
    """The instance groups with what they need; none if no group needs anything."""
    groups = [group for group in config.instance_group if not group.passive]
    if not any(group.rate_limiter is not None for group in groups):
        return ()
    if config.sequence_batching is not None:
        # Its instances become one worker, which runs as the first of them.
        groups = groups[:1]
    return tuple(_group(group) for group in groups)


def _group(group: InstanceGroup) -> LimitedGroup:
    limiter = group.rate_limiter
    if limiter is None:
        return LimitedGroup(count=max(1, group.count))
    needs = {
        each.name: Need(each.name, each.count, each.global_)
        for each in limiter.resources
        if each.count
    }
    return LimitedGroup(tuple(needs.values()), max(1, limiter.priority), max(1, group.count))
