"""A model of a Triton repository as its `config.pbtxt` describes it. Values only.

Names and meanings are those of Triton's message `ModelConfig`. Fields that have no effect on this
server are kept out of the values and told of (`IGNORED`); what a field must look like is read off
the types here (`triton_read.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

DataType = Literal[
    "TYPE_INVALID",
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
]
"""In the order of their numbers."""


def wire_name(data_type: DataType) -> str:
    """V2's name of a datatype; FP32 for one that is not set."""
    name = data_type.removeprefix("TYPE_")
    return {"STRING": "BYTES", "INVALID": "FP32"}.get(name, name)


class Reshape(msgspec.Struct, frozen=True):
    shape: tuple[int, ...] = ()


class ModelInput(msgspec.Struct, frozen=True):
    """`dims` leave out the batch dimension where `max_batch_size` is not 0."""

    name: str = ""
    data_type: DataType = "TYPE_INVALID"
    format: Literal["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"] = "FORMAT_NONE"
    dims: tuple[int, ...] = ()
    reshape: Reshape | None = None
    allow_ragged_batch: bool = False
    optional: bool = False


class ModelOutput(msgspec.Struct, frozen=True):
    """`label_filename`: the names of the classes, one a line, in the model's folder."""

    name: str = ""
    data_type: DataType = "TYPE_INVALID"
    dims: tuple[int, ...] = ()
    reshape: Reshape | None = None
    label_filename: str = ""


class Latest(msgspec.Struct, frozen=True):
    num_versions: int = 1


class All(msgspec.Struct, frozen=True):
    pass


class Specific(msgspec.Struct, frozen=True):
    versions: tuple[int, ...] = ()


class VersionPolicy(msgspec.Struct, frozen=True):
    latest: Latest | None = None
    all: All | None = None
    specific: Specific | None = None


class QueuePolicy(msgspec.Struct, frozen=True):
    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


class DynamicBatching(msgspec.Struct, frozen=True):
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy | None = None
    priority_queue_policy: Mapping[int, QueuePolicy] = MappingProxyType({})


class Direct(msgspec.Struct, frozen=True):
    max_queue_delay_microseconds: int = 0
    minimum_slot_utilization: float = 0.0


class Oldest(msgspec.Struct, frozen=True):
    max_candidate_sequences: int = 0
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False


class Control(msgspec.Struct, frozen=True):
    kind: Literal[
        "CONTROL_SEQUENCE_START",
        "CONTROL_SEQUENCE_READY",
        "CONTROL_SEQUENCE_END",
        "CONTROL_SEQUENCE_CORRID",
    ] = "CONTROL_SEQUENCE_START"
    int32_false_true: tuple[int, ...] = ()
    fp32_false_true: tuple[float, ...] = ()
    bool_false_true: tuple[bool, ...] = ()
    data_type: DataType = "TYPE_INVALID"


class ControlInput(msgspec.Struct, frozen=True):
    name: str = ""
    control: tuple[Control, ...] = ()


class InitialState(msgspec.Struct, frozen=True):
    data_type: DataType = "TYPE_INVALID"
    dims: tuple[int, ...] = ()
    zero_data: bool = False
    data_file: str = ""
    name: str = ""


class State(msgspec.Struct, frozen=True):
    """What is kept of one answer of a sequence for its next request."""

    input_name: str = ""
    output_name: str = ""
    data_type: DataType = "TYPE_INVALID"
    dims: tuple[int, ...] = ()
    initial_state: tuple[InitialState, ...] = ()
    use_same_buffer_for_input_output: bool = False
    use_growable_memory: bool = False


class SequenceBatching(msgspec.Struct, frozen=True):
    direct: Direct | None = None
    oldest: Oldest | None = None
    max_sequence_idle_microseconds: int = 0
    control_input: tuple[ControlInput, ...] = ()
    state: tuple[State, ...] = ()
    iterative_sequence: bool = False


class EnsembleStep(msgspec.Struct, frozen=True):
    """`input_map`: the model's input to the ensemble's tensor; `output_map`: its output to one."""

    model_name: str = ""
    model_version: int = -1
    input_map: Mapping[str, str] = MappingProxyType({})
    output_map: Mapping[str, str] = MappingProxyType({})
    model_namespace: str = ""


class EnsembleScheduling(msgspec.Struct, frozen=True):
    step: tuple[EnsembleStep, ...] = ()
    max_inflight_requests: int = 0


class RateLimiterResource(msgspec.Struct, frozen=True):
    """The field `global` has a name here that Python takes."""

    name: str = ""
    global_: bool = False
    count: int = 0


class RateLimiter(msgspec.Struct, frozen=True):
    """`priority` 0 means 1."""

    resources: tuple[RateLimiterResource, ...] = ()
    priority: int = 0


class InstanceGroup(msgspec.Struct, frozen=True):
    name: str = ""
    kind: Literal["KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"] = "KIND_AUTO"
    count: int = 0
    gpus: tuple[int, ...] = ()
    passive: bool = False
    profile: tuple[str, ...] = ()
    host_policy: str = ""
    rate_limiter: RateLimiter | None = None


class Parameter(msgspec.Struct, frozen=True):
    string_value: str = ""


class WarmupInput(msgspec.Struct, frozen=True):
    data_type: DataType = "TYPE_INVALID"
    dims: tuple[int, ...] = ()
    zero_data: bool = False
    random_data: bool = False
    input_data_file: str = ""


class Warmup(msgspec.Struct, frozen=True):
    """`count` 0 means once."""

    name: str = ""
    batch_size: int = 0
    inputs: Mapping[str, WarmupInput] = MappingProxyType({})
    count: int = 0


class TransactionPolicy(msgspec.Struct, frozen=True):
    decoupled: bool = False


class ResponseCache(msgspec.Struct, frozen=True):
    enable: bool = False


class TritonConfig(msgspec.Struct, frozen=True):
    """A `config.pbtxt`."""

    name: str = ""
    platform: str = ""
    backend: str = ""
    runtime: str = ""
    version_policy: VersionPolicy | None = None
    max_batch_size: int = 0
    input: tuple[ModelInput, ...] = ()
    output: tuple[ModelOutput, ...] = ()
    dynamic_batching: DynamicBatching | None = None
    sequence_batching: SequenceBatching | None = None
    ensemble_scheduling: EnsembleScheduling | None = None
    instance_group: tuple[InstanceGroup, ...] = ()
    default_model_filename: str = ""
    parameters: Mapping[str, Parameter] = MappingProxyType({})
    model_warmup: tuple[Warmup, ...] = ()
    model_transaction_policy: TransactionPolicy | None = None
    response_cache: ResponseCache | None = None

    @property
    def is_ensemble(self) -> bool:
        return self.ensemble_scheduling is not None or self.platform == "ensemble"

    @property
    def is_decoupled(self) -> bool:
        policy = self.model_transaction_policy
        return policy is not None and policy.decoupled

    @property
    def is_cached(self) -> bool:
        return self.response_cache is not None and self.response_cache.enable


IGNORED: Mapping[type, frozenset[str]] = MappingProxyType(
    {
        TritonConfig: frozenset(
            {
                "batch_input",
                "batch_output",
                "cc_model_filenames",
                "metric_tags",
                "model_metrics",
                "model_operations",
                "model_repository_agents",
                "optimization",
            }
        ),
        ModelInput: frozenset({"is_shape_tensor", "is_non_linear_format_io"}),
        ModelOutput: frozenset({"is_shape_tensor", "is_non_linear_format_io"}),
        InstanceGroup: frozenset({"secondary_devices"}),
    }
)
"""Fields that Triton has and that change nothing here."""
CHOICES: Mapping[type, tuple[frozenset[str], ...]] = MappingProxyType(
    {
        TritonConfig: (
            frozenset({"dynamic_batching", "sequence_batching", "ensemble_scheduling"}),
        ),
        VersionPolicy: (frozenset({"latest", "all", "specific"}),),
        SequenceBatching: (frozenset({"direct", "oldest"}),),
        InitialState: (frozenset({"zero_data", "data_file"}),),
        WarmupInput: (frozenset({"zero_data", "random_data", "input_data_file"}),),
    }
)
"""Fields of which a message has one at most."""
