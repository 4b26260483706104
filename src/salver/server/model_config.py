"""A model's configuration in the terms of Triton's model configuration extension. Pure.

What Salver decides by itself is said as Triton would be told it: batches form whenever requests
wait, so every batchable model has `dynamic_batching`.
"""

from __future__ import annotations

from typing import Any

from salver.engine.model_facts import ModelFacts
from salver.inference.metadata import ModelMetadata, TensorMetadata

MOST_REQUESTS = 128
"""What a batch may hold of requests where the model has no limit of rows."""


def config_of(name: str, metadata: ModelMetadata, facts: ModelFacts | None) -> dict[str, Any]:
    """The body of `GET /v2/models/NAME/config`. Without `facts`, the model runs elsewhere."""
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
        found["instance_group"] = [
            {"name": name, "kind": "KIND_CPU", "count": max(1, facts.workers), "gpus": []}
        ]
        if most:
            delay_us = round(facts.max_batch_delay_s * 1e6)
            found["dynamic_batching"] = {"max_queue_delay_microseconds": delay_us}
    return found


def _tensor(tensor: TensorMetadata, most: int) -> dict[str, Any]:
    """Triton's shapes leave out the dimension that batches grow along, and are never empty."""
    dims = list(tensor.shape[1:] if most and tensor.shape else tensor.shape)
    return {"name": tensor.name, "data_type": data_type(tensor.datatype), "dims": dims or [1]}


def data_type(datatype: str) -> str:
    """`FP32` as `TYPE_FP32`."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
