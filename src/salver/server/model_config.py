"""A model's configuration in the terms of Triton's model configuration extension. Pure.

What Salver decides by itself is said as Triton would be told it: batches form whenever requests
wait, so every batchable model has `dynamic_batching`.
"""

from __future__ import annotations

import json
from typing import Any

from salver.engine.model_facts import ModelFacts
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.scheduling import NO_SCHEDULING, QueuePolicy

MOST_REQUESTS = 128
"""What a batch may hold of requests where the model has no limit of rows."""


def config_of(name: str, metadata: ModelMetadata, facts: ModelFacts | None) -> dict[str, Any]:
    """The body of `GET /v2/models/NAME/config`. Without `facts`, the model runs elsewhere."""
    if metadata.configuration:
        return _declared(name, metadata, facts)
    limit = facts.max_batch_rows if facts is not None else 0
    most = (limit or MOST_REQUESTS) if metadata.batchable else 0
    found: dict[str, Any] = {
        "name": name,
        "platform": metadata.platform,
        "backend": metadata.platform,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": most,
        "input": [
            {**_tensor(each, most), "format": "FORMAT_NONE", "optional": each.optional}
            for each in metadata.inputs
        ],
        "output": [_tensor(each, most) for each in metadata.outputs],
    }
    if facts is not None:
        found["instance_group"] = [_group(name, facts)]
        if most:
            found["dynamic_batching"] = _batching(facts)
    return found


def _declared(name: str, metadata: ModelMetadata, facts: ModelFacts | None) -> dict[str, Any]:
    """What was declared for the model, with what this server has made of it."""
    found: dict[str, Any] = json.loads(metadata.configuration)
    found |= {"name": name, "backend": found.get("backend") or metadata.platform}
    found.setdefault("version_policy", {"latest": {"num_versions": 1}})
    if facts is not None:
        found["instance_group"] = [_group(name, facts)]
        if found.get("dynamic_batching") is not None:
            found["dynamic_batching"] |= _batching(facts)
    return found


def _group(name: str, facts: ModelFacts) -> dict[str, Any]:
    return {"name": name, "kind": "KIND_CPU", "count": max(1, facts.workers), "gpus": []}


def _batching(facts: ModelFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"max_queue_delay_microseconds": round(facts.max_batch_delay_s * 1e6)}
    scheduling = facts.scheduling
    if scheduling == NO_SCHEDULING:
        return found
    return {
        "preferred_batch_size": list(scheduling.preferred),
        **found,
        "preserve_ordering": scheduling.keeps_order,
        "priority_levels": scheduling.levels,
        "default_priority_level": scheduling.default_level,
        "default_queue_policy": _policy(scheduling.policy),
        "priority_queue_policy": {
            str(level): _policy(policy) for level, policy in scheduling.by_level.items()
        },
    }


def _policy(policy: QueuePolicy) -> dict[str, Any]:
    return {
        "timeout_action": "DELAY" if policy.is_delaying else "REJECT",
        "default_timeout_microseconds": round(policy.timeout_s * 1e6),
        "allow_timeout_override": policy.allows_override,
        "max_queue_size": policy.max_queued,
    }


def _tensor(tensor: TensorMetadata, most: int) -> dict[str, Any]:
    """Triton's shapes leave out the dimension that batches grow along, and are never empty."""
    dims = list(tensor.shape[1:] if most and tensor.shape else tensor.shape)
    return {"name": tensor.name, "data_type": data_type(tensor.datatype), "dims": dims or [1]}


def data_type(datatype: str) -> str:
    """`FP32` as `TYPE_FP32`."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
