"""Reads TorchScript (`torch.jit.save`).

Owns the schema of `forward` and the hints that the graph gives on types. Programs that read or
write files are refused by `torch_code.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

import msgspec

from salver.runtimes.ports import ModelSource
from salver.runtimes.torch_arguments import Argument, arguments_of_types
from salver.runtimes.torch_code import check_code, check_operators
from salver.runtimes.torch_program import TorchProgram, float_type_of

_LOOKUPS = {"aten::embedding": 1, "aten::embedding_bag": 1, "aten::one_hot": 0}
"""Operators and which of their operands must be whole numbers."""


def read_script(torch: Any, source: ModelSource, path: Any, device: Any) -> TorchProgram:
    """Loads the module in evaluation mode. Raises `LoadFailed` for code that touches files."""
    check_code(source.name, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path), map_location=device or "cpu").eval()
    check_operators(source.name, path, module)
    schema = module.forward.schema
    types = [
        (each.name, str(each.type), each.has_default_value(), False)
        for each in schema.arguments[1:]
    ]
    arguments = arguments_of_types(types)
    return TorchProgram(
        platform="pytorch_torchscript",
        function=module,
        arguments=_with_lookups(module, arguments),
        float_type=float_type_of([*module.parameters(), *module.buffers()]),
    )


def _with_lookups(module: Any, arguments: tuple[Argument, ...]) -> tuple[Argument, ...]:
    """Inputs that go straight into an embedding are whole numbers."""
    try:
        values = {each.debugName().split(".")[0]: each for each in module.inlined_graph.inputs()}
    except RuntimeError:
        return arguments
    return tuple(
        msgspec.structs.replace(each, datatype="INT64")
        if each.name in values and _is_looked_up(values[each.name])
        else each
        for each in arguments
    )


def _is_looked_up(value: Any) -> bool:
    return any(_LOOKUPS.get(use.user.kind()) == use.offset for use in value.uses())
