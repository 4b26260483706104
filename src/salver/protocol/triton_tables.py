"""Triton's extensions as reflection tells of them: methods, and messages with the fields that are
read or written here. Values only, in the form that `service_tables.py` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

METHODS = (
    *("ModelStatistics", "ModelConfig", "TraceSetting", "LogSettings"),
    *(
        f"{kind}SharedMemory{what}"
        for kind in ("System", "Cuda")
        for what in ("Status", "Register", "Unregister")
    ),
)
"""Each takes a message that is called like it with `Request` behind, and gives a `Response`."""

_NAME = "1 name string"
_NAMED = (_NAME, "2 version string")
_REGION = (_NAME, "2 key string", "3 offset uint64", "4 byte_size uint64")
_CUDA_REGION = (_NAME, "2 device_id uint64", "3 byte_size uint64")
_LOG_VALUE = tuple(
    f"{number} {kind}_param {kind} |parameter_choice"
    for number, kind in enumerate(("bool", "uint32", "string"), 1)
)


def _durations(*names: str, start: int = 1) -> tuple[str, ...]:
    return tuple(f"{number} {name} StatisticDuration" for number, name in enumerate(names, start))


def _tensor(dims: int) -> tuple[str, ...]:
    return (
        *(_NAME, "2 data_type DataType"),
        *(f"{dims} dims int64*", "5 reshape ModelTensorReshape"),
    )


def _map(message: str) -> str:
    return f"1 settings map string {message}.SettingValue"


_STATISTICS: Mapping[str, tuple[str, ...]] = {
    "ModelStatisticsRequest": _NAMED,
    "ModelStatisticsResponse": ("1 model_stats ModelStatistics*",),
    "ModelStatistics": (
        *(*_NAMED, "3 last_inference uint64", "4 inference_count uint64"),
        *("5 execution_count uint64", "6 inference_stats InferStatistics"),
        "7 batch_stats InferBatchStatistics*",
    ),
    "StatisticDuration": ("1 count uint64", "2 ns uint64"),
    "InferStatistics": _durations(
        *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"),
        *("cache_hit", "cache_miss"),
    ),
    "InferBatchStatistics": (
        "1 batch_size uint64",
        *_durations("compute_input", "compute_infer", "compute_output", start=2),
    ),
}
_CONFIGURATION: Mapping[str, tuple[str, ...]] = {
    "ModelConfigRequest": _NAMED,
    "ModelConfigResponse": ("1 config ModelConfig",),
    "ModelConfig": (
        *(_NAME, "2 platform string", "17 backend string", "4 max_batch_size int32"),
        *("3 version_policy ModelVersionPolicy", "5 input ModelInput*", "6 output ModelOutput*"),
        *("7 instance_group ModelInstanceGroup*", "8 default_model_filename string"),
        "11 dynamic_batching ModelDynamicBatching |scheduling_choice",
        "19 model_transaction_policy ModelTransactionPolicy",
    ),
    "ModelVersionPolicy": tuple(
        f"{number} {name.lower()} ModelVersionPolicy.{name} |policy_choice"
        for number, name in enumerate(("Latest", "All", "Specific"), 1)
    ),
    "ModelVersionPolicy.Latest": ("1 num_versions uint32",),
    "ModelVersionPolicy.All": (),
    "ModelVersionPolicy.Specific": ("1 versions int64*",),
    "ModelInput": (*_tensor(4), "8 optional bool"),
    "ModelOutput": (*_tensor(3), "4 label_filename string"),
    "ModelTensorReshape": ("1 shape int64*",),
    "ModelInstanceGroup": (_NAME, "4 kind ModelInstanceGroup.Kind", "2 count int32"),
    "ModelDynamicBatching": (
        *("1 preferred_batch_size int32*", "2 max_queue_delay_microseconds uint64"),
        *("3 preserve_ordering bool", "4 priority_levels uint64"),
        *("5 default_priority_level uint64", "6 default_queue_policy ModelQueuePolicy"),
        "7 priority_queue_policy map uint64 ModelQueuePolicy",
    ),
    "ModelQueuePolicy": (
        "1 timeout_action ModelQueuePolicy.TimeoutAction",
        *("2 default_timeout_microseconds uint64", "3 allow_timeout_override bool"),
        "4 max_queue_size uint32",
    ),
    "ModelTransactionPolicy": ("1 decoupled bool",),
}
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "TraceSettingRequest": (_map("TraceSettingRequest"), "2 model_name string"),
    "TraceSettingRequest.SettingValue": ("1 value string*",),
    "TraceSettingResponse": (_map("TraceSettingResponse"),),
    "TraceSettingResponse.SettingValue": ("1 value string*",),
    "LogSettingsRequest": (_map("LogSettingsRequest"),),
    "LogSettingsRequest.SettingValue": _LOG_VALUE,
    "LogSettingsResponse": (_map("LogSettingsResponse"),),
    "LogSettingsResponse.SettingValue": _LOG_VALUE,
}


def _memory(kind: str, given: tuple[str, ...], told: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    stem = f"{kind}SharedMemory"
    status = f"{stem}StatusResponse"
    return {
        f"{stem}StatusRequest": (_NAME,),
        status: (f"1 regions map string {status}.RegionStatus",),
        f"{status}.RegionStatus": told,
        f"{stem}RegisterRequest": given,
        f"{stem}RegisterResponse": (),
        f"{stem}UnregisterRequest": (_NAME,),
        f"{stem}UnregisterResponse": (),
    }


MESSAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **_STATISTICS,
        **_CONFIGURATION,
        **_SETTINGS,
        **_memory("System", _REGION, _REGION),
        **_memory(
            "Cuda",
            (_NAME, "2 raw_handle bytes", "3 device_id int64", "4 byte_size uint64"),
            _CUDA_REGION,
        ),
    }
)
ENUMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "DataType": (
            *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32"),
            *("TYPE_UINT64", "TYPE_INT8", "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16"),
            *("TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
        ),
        "ModelInstanceGroup.Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
        "ModelQueuePolicy.TimeoutAction": ("REJECT", "DELAY"),
    }
)
