"""Reads a state dict (torch.save or safetensors) into a class of the user's.

Weights are unpickled with `weights_only`, so that a pickle that would run something is
refused; the class is the user's code and is run as such. Owns the choice of the class, the
usual wrappings of checkpoints, and what the class says of itself: the attributes `inputs`,
`outputs`, `batchable` and `example`, as Python models have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import msgspec

from salver.errors import LoadFailed
from salver.inference.metadata import Datatype, TensorMetadata
from salver.inference.torch_archives import torch_format
from salver.runtimes.loading import framework_module
from salver.runtimes.ports import ModelSource
from salver.runtimes.torch_arguments import arguments_of_forward
from salver.runtimes.torch_parts import Parts
from salver.runtimes.torch_program import TorchProgram, float_type_of
from salver.runtimes.torch_settings import TorchSettings
from salver.runtimes.user_module import import_user_module, user_failures

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training programs put the state dict within a checkpoint."""
_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before each name."""


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a class's `inputs` or `outputs`."""

    name: str
    datatype: Datatype = "FP32"
    shape: tuple[int, ...] | None = None
    optional: bool = False


def read_module(
    torch: Any, source: ModelSource, parts: Parts, settings: TorchSettings, device: Any
) -> TorchProgram:
    """Makes an instance and fills it. Raises `LoadFailed` for names or sizes that differ."""
    if parts.code is None:
        raise LoadFailed(f"model '{source.name}': {parts.weights} comes without its class")
    weights = _state_dict(torch, source, parts, device)
    user = ModelSource(source.name, parts.code, source.runtime, source.attribute)
    code = import_user_module(user)
    made_by = _class(torch, code, user)
    with user_failures(user, f"{made_by.__name__}()"):
        module = made_by(**settings.arguments)
    if not isinstance(module, torch.nn.Module):
        raise LoadFailed(
            f"model '{source.name}': {made_by.__name__} in {parts.code.name} gives a "
            f"{type(module).__name__}, no torch.nn.Module; derive it from that"
        )
    _fill(source, module, weights, made_by.__name__)
    if device is not None:
        module = module.to(device)
    return described_module(torch, module.eval())


def described_module(torch: Any, module: Any) -> TorchProgram:
    """An instance as a program, with what its attributes declare."""
    return TorchProgram(
        platform="pytorch",
        function=module,
        arguments=arguments_of_forward(module.forward),
        inputs=declared_tensors(getattr(module, "inputs", None), "inputs"),
        outputs=declared_tensors(getattr(module, "outputs", None), "outputs"),
        float_type=float_type_of([*module.parameters(), *module.buffers()]),
        batchable=getattr(module, "batchable", None),
    )


def declared_tensors(value: Any, attribute: str) -> tuple[TensorMetadata, ...]:
    """The tensors that a class attribute lists. Raises `TypeError` for what is no such list."""
    try:
        entries = msgspec.convert([] if value is None else value, list[_Declared])
    except msgspec.ValidationError as error:
        raise TypeError(
            f"{attribute} must be a list of dicts with name, datatype and shape: {error}"
        ) from error
    return tuple(
        TensorMetadata(
            each.name,
            each.datatype,
            each.shape or (),
            any_shape=each.shape is None,
            optional=each.optional,
        )
        for each in entries
    )


def _state_dict(torch: Any, source: ModelSource, parts: Parts, device: Any) -> dict[str, Any]:
    path = parts.weights
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{" and torch_format(path) == "state_dict"
    if is_safetensors:
        safetensors = framework_module(source, "safetensors.torch", "torch")
        weights: Any = safetensors.load_file(str(path), device=str(device or "cpu"))
        return _bare(source, weights, parts)
    try:
        weights = torch.load(path, map_location=device or "cpu", weights_only=True)
    except Exception as error:
        if "weights_only" not in str(error) and "Weights only" not in str(error):
            raise
        raise LoadFailed(
            f"model '{source.name}': {path} is a pickle of more than tensors, which could run "
            f"anything, so it was not loaded; save model.state_dict() instead "
            f"({_forbidden(error)})"
        ) from error
    return _bare(source, weights, parts)


def _forbidden(error: Exception) -> str:
    """What was in it, out of PyTorch's long advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (told[0] if told else lines[0])[:200].rstrip(". ")


def _bare(source: ModelSource, weights: Any, parts: Parts) -> dict[str, Any]:
    """The names and tensors, out of what wraps them."""
    for key in _WRAPPERS:
        if isinstance(weights, Mapping) and isinstance(weights.get(key), Mapping):
            weights = weights[key]
            break
    if not isinstance(weights, Mapping) or not all(isinstance(each, str) for each in weights):
        raise LoadFailed(
            f"model '{source.name}': {parts.weights} holds a {type(weights).__name__}, no state "
            "dict; save model.state_dict()"
        )
    found = dict(weights)
    for prefix in _PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _class(torch: Any, code: ModuleType, source: ModelSource) -> Any:
    """The class that is named, or the file's only one that no other one is made of."""
    if source.attribute:
        factory = getattr(code, source.attribute, None)
        if not callable(factory):
            raise LoadFailed(
                f"model '{source.name}': {source.path} has no class '{source.attribute}'; name "
                "one that it has"
            )
        return factory
    own = [
        each
        for each in vars(code).values()
        if isinstance(each, type)
        and issubclass(each, torch.nn.Module)
        and each.__module__ == code.__name__
    ]
    if len(own) != 1:
        names = ", ".join(each.__name__ for each in own) or "none"
        raise LoadFailed(
            f"model '{source.name}': {source.path} has {len(own)} classes of torch.nn.Module "
            f"({names}); name one behind a colon, as weights.pt:Class"
        )
    return own[0]


def _fill(source: ModelSource, module: Any, weights: dict[str, Any], name: str) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        reason = " ".join(lines)[:400] or str(error)[:400]
        raise LoadFailed(
            f"model '{source.name}': the weights are not those of {name}: {reason}"
        ) from error
    kinds = {each.dtype for each in weights.values() if each.is_floating_point()}
    if len(kinds) == 1:
        # Weights keep the type that they were saved in: half of it was meant to be half.
        module.to(kinds.pop())
