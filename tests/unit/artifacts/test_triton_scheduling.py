"""Queues and resources as `config.pbtxt` has them, and what contradicts itself in it."""

from __future__ import annotations

import pytest

from salver.artifacts.triton_scheduling import limited_groups, scheduling_of
from salver.inference.scheduling import (
    NO_SCHEDULING,
    LimitedGroup,
    Need,
    QueuePolicy,
    Scheduling,
)
from salver.spec.triton_config import TritonConfig
from salver.spec.triton_read import read_triton_config, triton_config


def config(text: str) -> TritonConfig:
    return triton_config(f'max_batch_size: 8 backend: "python" {text}', "config.pbtxt")


def test_all_of_a_queue_s_fields_are_taken() -> None:
    text = """dynamic_batching {
      preferred_batch_size: [8, 4]
      preserve_ordering: true
      priority_levels: 3
      default_priority_level: 2
      default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1500 }
      priority_queue_policy { key: 1 value { allow_timeout_override: true max_queue_size: 7 } }
    }"""
    assert scheduling_of(config(text)) == Scheduling(
        levels=3,
        default_level=2,
        policy=QueuePolicy(is_delaying=True, timeout_s=0.0015),
        by_level={1: QueuePolicy(allows_override=True, max_queued=7)},
        preferred=(4, 8),
        keeps_order=True,
    )


@pytest.mark.parametrize("text", ["", "dynamic_batching { max_queue_delay_microseconds: 5 }"])
def test_a_plain_model_has_the_plain_queue(text: str) -> None:
    assert scheduling_of(config(text)) == NO_SCHEDULING


def test_policies_of_levels_mean_nothing_without_levels() -> None:
    text = "dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 7 } } }"
    assert scheduling_of(config(text)) == NO_SCHEDULING


def test_only_levels_and_overrides_have_requests_read() -> None:
    assert not Scheduling(policy=QueuePolicy(timeout_s=1.0, max_queued=3)).reads_requests
    assert Scheduling(policy=QueuePolicy(allows_override=True)).reads_requests
    assert Scheduling(levels=1).reads_requests


def test_resources_are_needed_by_each_instance_of_a_group() -> None:
    text = """instance_group [
      { count: 2 rate_limiter { resources [{name: "R" count: 4}, {name: "G" global: true count: 1},
        {name: "none" count: 0}] priority: 3 } },
      { }, { passive: true rate_limiter { } } ]"""
    assert limited_groups(config(text)) == (
        LimitedGroup((Need("R", 4), Need("G", 1, True)), 3, 2),
        LimitedGroup(),
    )
    assert limited_groups(config("instance_group { count: 2 }")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dynamic_batching { priority_levels: 2 }",
            "dynamic_batching.default_priority_level: must be from 1 to the priority_levels, 2",
        ),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 1 "
            "priority_queue_policy { key: 3 value { } } }",
            "must be a level from 1 to 2",
        ),
        ("dynamic_batching { priority_levels: -1 }", "must be 0 (all requests are equal) or more"),
        (
            "dynamic_batching { default_queue_policy { max_queue_size: -1 } }",
            "default_queue_policy.max_queue_size: must be 0 (none) or more",
        ),
        (
            "instance_group { rate_limiter { resources { count: 1 } } }",
            "rate_limiter.resources[0].name: is required",
        ),
        (
            'instance_group { rate_limiter { resources { name: "R" count: -1 } priority: -1 } }',
            "resources[0].count: must be 0 or more",
        ),
        (
            'instance_group { rate_limiter { resources { name: "R" globally: true } } }',
            "globally: is no field of Triton's configuration; did you mean",
        ),
    ],
)
def test_contradictions_are_named(text: str, message: str) -> None:
    reading = read_triton_config(f"max_batch_size: 8 {text}", "config.pbtxt")
    found = " ".join(str(problem) for problem in reading.problems)
    assert message in found
