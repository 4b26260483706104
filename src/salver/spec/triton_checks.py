"""What contradicts what within a Triton model's configuration. Pure: findings with their paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salver.spec.problems import Finding, did_you_mean, quoted
from salver.spec.steps import served_name_fault
from salver.spec.triton_config import (
    DynamicBatching,
    EnsembleScheduling,
    ModelInput,
    ModelOutput,
    QueuePolicy,
    RateLimiter,
    SequenceBatching,
    TritonConfig,
)

_MOST_DIMENSIONS = 32
MOST_INSTANCES = 256
_MOST_BATCH = 1 << 20


def check_config(config: TritonConfig) -> Iterator[Finding]:
    """All contradictions of a configuration."""
    if config.name and (fault := served_name_fault(config.name)):
        yield ("name",), fault
    if not 0 <= config.max_batch_size <= _MOST_BATCH:
        yield ("max_batch_size",), f"must be 0 (no batches) or more, up to {_MOST_BATCH}"
    yield from _check_tensors(config, config.input, "input")
    yield from _check_tensors(config, config.output, "output")
    yield from _check_versions(config)
    for number, group in enumerate(config.instance_group):
        if not 0 <= group.count <= MOST_INSTANCES:
            yield (
                ("instance_group", number, "count"),
                f"must be from 0 to {MOST_INSTANCES}, found {group.count}",
            )
        yield from _check_limiter(number, group.rate_limiter)
    if config.default_model_filename and _is_outside(config.default_model_filename):
        yield ("default_model_filename",), "must be a name within the version's folder"
    if config.dynamic_batching is not None:
        yield from _check_batching(config, config.dynamic_batching)
    if config.sequence_batching is not None:
        yield from _check_sequences(config.sequence_batching)
    if config.ensemble_scheduling is not None:
        yield from _check_ensemble(config, config.ensemble_scheduling)
    elif config.platform == "ensemble":
        yield ("platform",), "is ensemble: say its steps under ensemble_scheduling"
    yield from _check_warmup(config)


def _check_tensors(
    config: TritonConfig, tensors: Sequence[ModelInput | ModelOutput], field: str
) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for number, tensor in enumerate(tensors):
        path = (field, number)
        if not tensor.name:
            yield (*path, "name"), "is required: the name of the tensor"
        elif tensor.name in seen:
            yield (
                (*path, "name"),
                f"{quoted(tensor.name)} is there already: {field}[{seen[tensor.name]}]",
            )
        seen.setdefault(tensor.name, number)
        if tensor.data_type == "TYPE_INVALID":
            yield (*path, "data_type"), "is required: TYPE_FP32, say"
        if not tensor.dims and config.max_batch_size == 0 and tensor.reshape is None:
            yield (*path, "dims"), "is required: the shape, with -1 for any size"
        if len(tensor.dims) > _MOST_DIMENSIONS or any(each < -1 for each in tensor.dims):
            yield (
                (*path, "dims"),
                f"must be sizes, or -1 for any, at most {_MOST_DIMENSIONS} of them",
            )
        if isinstance(tensor, ModelOutput) and _is_outside(tensor.label_filename):
            yield (*path, "label_filename"), "must be a file within the model's folder"


def _is_outside(name: str) -> bool:
    return name.startswith("/") or ".." in name.replace("\\", "/").split("/") or "\0" in name


def _check_versions(config: TritonConfig) -> Iterator[Finding]:
    policy = config.version_policy
    if policy is None:
        return
    if policy.latest is not None and policy.latest.num_versions < 1:
        yield ("version_policy", "latest", "num_versions"), "must be 1 or more"
    if policy.specific is not None:
        if not policy.specific.versions:
            yield ("version_policy", "specific", "versions"), "is required: the versions to serve"
        elif min(policy.specific.versions) < 1:
            yield (
                ("version_policy", "specific", "versions"),
                "must be 1 or more, as the folders are",
            )


def _check_batching(config: TritonConfig, batching: DynamicBatching) -> Iterator[Finding]:
    if config.max_batch_size == 0:
        yield (
            ("dynamic_batching",),
            "needs a max_batch_size of 1 or more: the model takes no batches",
        )
    if batching.max_queue_delay_microseconds < 0:
        yield ("dynamic_batching", "max_queue_delay_microseconds"), "must be 0 or more"
    for number, size in enumerate(batching.preferred_batch_size):
        if not 1 <= size <= config.max_batch_size:
            yield (
                ("dynamic_batching", "preferred_batch_size", number),
                f"must be from 1 to the max_batch_size, {config.max_batch_size}, found {size}",
            )

    yield from _check_levels(batching)
    yield from _check_policy(batching.default_queue_policy, ("default_queue_policy",))
    for level, policy in batching.priority_queue_policy.items():
        yield from _check_policy(policy, ("priority_queue_policy", str(level)))


def _check_levels(batching: DynamicBatching) -> Iterator[Finding]:
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels < 0:
        yield ("dynamic_batching", "priority_levels"), "must be 0 (all requests are equal) or more"
    elif levels and not 1 <= default <= levels:
        yield (
            ("dynamic_batching", "default_priority_level"),
            f"must be from 1 to the priority_levels, {levels}, found {default}",
        )
    for level in batching.priority_queue_policy:
        if levels and not 1 <= level <= levels:
            yield (
                ("dynamic_batching", "priority_queue_policy", str(level)),
                f"must be a level from 1 to {levels}",
            )


def _check_policy(policy: QueuePolicy | None, place: tuple[str, ...]) -> Iterator[Finding]:
    if policy is None:
        return
    for field in ("default_timeout_microseconds", "max_queue_size"):
        if getattr(policy, field) < 0:
            yield ("dynamic_batching", *place, field), "must be 0 (none) or more"


def _check_limiter(number: int, limiter: RateLimiter | None) -> Iterator[Finding]:
    path = ("instance_group", number, "rate_limiter")
    if limiter is None:
        return
    if limiter.priority < 0:
        yield (*path, "priority"), "must be 0 or more, the lower the sooner"
    for index, resource in enumerate(limiter.resources):
        if not resource.name:
            yield (*path, "resources", index, "name"), "is required: the resource's"
        if resource.count < 0:
            yield (*path, "resources", index, "count"), "must be 0 or more"


def _check_sequences(sequences: SequenceBatching) -> Iterator[Finding]:
    if sequences.max_sequence_idle_microseconds < 0:
        yield ("sequence_batching", "max_sequence_idle_microseconds"), "must be 0 or more"
    for number, given in enumerate(sequences.control_input):
        path = ("sequence_batching", "control_input", number)
        if not given.name:
            yield (*path, "name"), "is required: the model's input that it sets"
        if len(given.control) != 1:
            yield (*path, "control"), f"must be one, found {len(given.control)}"
            continue
        control = given.control[0]
        if control.kind == "CONTROL_SEQUENCE_CORRID":
            continue
        pairs = (control.int32_false_true, control.fp32_false_true, control.bool_false_true)
        if sorted(map(len, pairs)) != [0, 0, 2]:
            text = "needs one of int32_false_true, fp32_false_true, bool_false_true, of two values"
            yield (*path, "control", 0), text
    for number, state in enumerate(sequences.state):
        if not state.input_name or not state.output_name:
            path = ("sequence_batching", "state", number)
            yield path, "needs input_name and output_name: where it comes from and goes to"


def _check_ensemble(config: TritonConfig, ensemble: EnsembleScheduling) -> Iterator[Finding]:
    """Every tensor has one producer, every step's inputs exist, and no step waits for itself."""
    path = ("ensemble_scheduling", "step")
    if not ensemble.step:
        yield path, "is required: the models that the ensemble asks"
        return
    producers = {each.name: -1 for each in config.input}
    for number, step in enumerate(ensemble.step):
        where = (*path, number)
        if fault := served_name_fault(step.model_name):
            yield (*where, "model_name"), fault
        elif step.model_name == config.name:
            yield (*where, "model_name"), f"{quoted(step.model_name)} is the ensemble itself"
        for field in ("input_map", "output_map"):
            if not getattr(step, field):
                yield (*where, field), "is required: at least one tensor of the model"
        for tensor in step.output_map.values():
            if tensor in producers:
                yield (*where, "output_map"), f"{quoted(tensor)} has a producer already"
            producers.setdefault(tensor, number)
    for number, step in enumerate(ensemble.step):
        for tensor in step.input_map.values():
            if tensor not in producers:
                meant = did_you_mean(tensor, producers)
                yield (*path, number, "input_map"), f"nothing makes {quoted(tensor)}{meant}"
    for number, output in enumerate(config.output):
        if output.name not in producers:
            meant = did_you_mean(output.name, producers)
            yield ("output", number, "name"), f"nothing makes {quoted(output.name)}{meant}"
    yield from _check_order(ensemble, producers)


def _check_order(ensemble: EnsembleScheduling, producers: dict[str, int]) -> Iterator[Finding]:
    """The steps can be put in an order in which each has what it needs."""
    waiting = {
        number: {producers.get(tensor, -1) for tensor in step.input_map.values()} - {-1}
        for number, step in enumerate(ensemble.step)
    }
    done: set[int] = set()
    while ready := [number for number, needs in waiting.items() if needs <= done]:
        done.update(ready)
        for number in ready:
            del waiting[number]
    if waiting:
        names = ", ".join(ensemble.step[number].model_name for number in sorted(waiting))
        yield ("ensemble_scheduling", "step"), f"wait for each other in a circle: {names[:200]}"


def _check_warmup(config: TritonConfig) -> Iterator[Finding]:
    for number, warmup in enumerate(config.model_warmup):
        path = ("model_warmup", number)
        if not warmup.inputs:
            yield (*path, "inputs"), "is required: what the request has"
        for name, given in warmup.inputs.items():
            if any(size < 0 for size in given.dims):
                yield (*path, "inputs", name), "needs the real size of each dimension"
            if _is_outside(given.input_data_file):
                yield (*path, "inputs", name), "input_data_file must be within the folder warmup"
