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
        fields.bytes_field(3, fields.bytes_field(1, fields.number_field(1, 1))),
        fields.number_field(4, config["max_batch_size"]),
        *(fields.bytes_field(5, _tensor(each, 4, 8)) for each in config["input"]),
        *(fields.bytes_field(6, _tensor(each, 3, 0)) for each in config["output"]),
        *(fields.bytes_field(7, _group(each)) for each in config.get("instance_group", ())),
    ]
    batching = config.get("dynamic_batching")
    if batching is not None:
        delay = fields.number_field(2, batching["max_queue_delay_microseconds"])
        message.append(fields.bytes_field(11, delay))
    message.append(fields.text_field(17, config["backend"]))
    return fields.bytes_field(1, b"".join(message))


def _tensor(tensor: dict[str, Any], dims: int, optional: int) -> bytes:
    """`dims` and `optional` are the fields' numbers, which inputs and outputs differ in."""
    message = (
        fields.text_field(1, tensor["name"])
        + fields.number_field(2, _DATA_TYPES.index(tensor["data_type"]))
        + fields.integers_field(dims, tensor["dims"])
    )
    return message + fields.number_field(optional, True) if tensor.get("optional") else message


def _group(group: dict[str, Any]) -> bytes:
    return (
        fields.text_field(1, group["name"])
        + fields.number_field(2, group["count"])
        + fields.number_field(4, _KIND_CPU)
    )
