"""ModelStatistics and ModelConfig, written field by field as the `.proto` numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.server.grpc import fields
from salver.server.statistics import (
    BatchFigures,
    Duration,
    InferFigures,
    ModelFigures,
)

_DATA_TYPES = (
    *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64"),
    *("TYPE_INT8", "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32"),
    *("TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
)
"""In the order of their numbers."""
_BATCHING = (
    "max_queue_delay_microseconds",
    "preserve_ordering",
    "priority_levels",
    "default_priority_level",
)
_POLICY = ("default_timeout_microseconds", "allow_timeout_override", "max_queue_size")
"""Both in the order of their numbers, from 2 on."""
_KIND_CPU = 2


def statistics_response(found: Sequence[ModelFigures]) -> bytes:
    """`ModelStatisticsResponse`."""
    return b"".join(fields.bytes_field(1, _model(each)) for each in found)


def _model(figures: ModelFigures) -> bytes:
    return b"".join(
        (
            fields.text_field(1, figures.name),
            fields.text_field(2, figures.version),
            fields.number_field(3, figures.last_inference),
            fields.number_field(4, figures.inference_count),
            fields.number_field(5, figures.execution_count),
            fields.bytes_field(6, _infer(figures.inference_stats)),
            *(fields.bytes_field(7, _batch(each)) for each in figures.batch_stats),
        )
    )


def _infer(figures: InferFigures) -> bytes:
    parts = (
        *(figures.success, figures.fail, figures.queue, figures.compute_input),
        *(figures.compute_infer, figures.compute_output, figures.cache_hit, figures.cache_miss),
    )
    return b"".join(_duration(number, each) for number, each in enumerate(parts, 1))


def _batch(figures: BatchFigures) -> bytes:
    parts = (figures.compute_input, figures.compute_infer, figures.compute_output)
    return fields.number_field(1, figures.batch_size) + b"".join(
        _duration(number, each) for number, each in enumerate(parts, 2)
    )


def _duration(number: int, value: Duration) -> bytes:
    message = fields.number_field(1, value.count) + fields.number_field(2, value.ns)
    return fields.bytes_field(number, message)


def config_response(config: dict[str, Any]) -> bytes:
    """`ModelConfigResponse` of what `config_of` gives."""
    message = [
        fields.text_field(1, config["name"]),
        fields.text_field(2, config["platform"]),
        fields.bytes_field(3, _versions(config["version_policy"])),
        fields.number_field(4, config["max_batch_size"]),
        *(fields.bytes_field(5, _tensor(each, 4, 8)) for each in config["input"]),
        *(fields.bytes_field(6, _tensor(each, 3, 0)) for each in config["output"]),
        *(fields.bytes_field(7, _group(each)) for each in config.get("instance_group", ())),
        fields.text_field(8, config.get("default_model_filename", "")),
    ]
    batching = config.get("dynamic_batching")
    if batching is not None:
        message.append(fields.bytes_field(11, _batching(batching)))
    message.append(fields.text_field(17, config["backend"]))
    if config.get("model_transaction_policy", {}).get("decoupled"):
        message.append(fields.bytes_field(19, fields.number_field(1, True)))
    return fields.bytes_field(1, b"".join(message))


def _versions(policy: dict[str, Any]) -> bytes:
    if policy.get("specific") is not None:
        return fields.bytes_field(3, fields.integers_field(1, policy["specific"]["versions"]))
    if policy.get("all") is not None:
        return fields.bytes_field(2, b"")
    count = (policy.get("latest") or {}).get("num_versions", 1)
    return fields.bytes_field(1, fields.number_field(1, count))


def _tensor(tensor: dict[str, Any], dims: int, optional: int) -> bytes:
    """`dims` and `optional` are the fields' numbers, which inputs and outputs differ in."""
    message = (
        fields.text_field(1, tensor["name"])
        + fields.number_field(2, _DATA_TYPES.index(tensor["data_type"]))
        + fields.integers_field(dims, tensor["dims"])
    )
    if tensor.get("reshape") is not None:
        shape = fields.integers_field(1, tensor["reshape"]["shape"])
        message += fields.bytes_field(5, shape)
    if tensor.get("label_filename"):
        message += fields.text_field(4, tensor["label_filename"])
    return message + fields.number_field(optional, True) if tensor.get("optional") else message


def _batching(batching: dict[str, Any]) -> bytes:
    sizes = batching.get("preferred_batch_size", ())
    message = fields.integers_field(1, sizes)
    for number, name in enumerate(_BATCHING, 2):
        message += fields.number_field(number, batching.get(name, 0))
    if "default_queue_policy" in batching:
        message += fields.bytes_field(6, _policy(batching["default_queue_policy"]))
    for level, policy in batching.get("priority_queue_policy", {}).items():
        entry = fields.number_field(1, int(level)) + fields.bytes_field(2, _policy(policy))
        message += fields.bytes_field(7, entry)
    return message


def _policy(policy: dict[str, Any]) -> bytes:
    message = fields.number_field(1, policy["timeout_action"] == "DELAY")
    for number, name in enumerate(_POLICY, 2):
        message += fields.number_field(number, policy[name])
    return message


def _group(group: dict[str, Any]) -> bytes:
    return (
        fields.text_field(1, group["name"])
        + fields.number_field(2, group["count"])
        + fields.number_field(4, _KIND_CPU)
    )
