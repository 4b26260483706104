"""Reads programs of `torch.export` (.pt2).

Owns the metadata that such a program carries: names, datatypes and shapes, with free
dimensions where it was exported with some. What could run code is refused before PyTorch
reads the file (`torch_export_guard.py`).
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from typing import Any

from salver.inference.metadata import Datatype, TensorMetadata
from salver.runtimes.ports import ModelSource
from salver.runtimes.torch_arguments import Argument
from salver.runtimes.torch_export_guard import check_export
from salver.runtimes.torch_program import TorchProgram, float_type_of
from salver.runtimes.torch_tensors import datatype_of_torch, named_leaves

_MOST_SHAPES = 1024


def read_export(torch: Any, source: ModelSource, path: Any, device: Any) -> TorchProgram:
    """Loads the program. Raises `LoadFailed` for one that could do more than calculate."""
    check_export(torch, source.name, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        exported = torch.export.load(str(path))
        if device is not None:
            from importlib import import_module

            passes = import_module("torch.export.passes")
            exported = passes.move_to_device_pass(exported, device)
        # Shapes are checked against the metadata, before the rows of requests are stacked.
        module = exported.module(check_guards=False)
    slots, inputs = _inputs(exported)
    return TorchProgram(
        platform="pytorch_export",
        function=_function(torch, module, exported, slots),
        arguments=tuple(Argument(each.name, "tensor", datatype=each.datatype) for each in inputs),
        inputs=inputs,
        outputs=_outputs(torch, exported),
        float_type=float_type_of(list(exported.state_dict.values())),
        has_free_rows=_has_free_rows(exported),
    )


def _placeholders(exported: Any) -> dict[str, Any]:
    """What the graph says of each user input, by name."""
    names = set(exported.graph_signature.user_inputs)
    return {
        node.name: node.meta["val"]
        for node in exported.graph.nodes
        if node.op == "placeholder" and node.name in names
    }


def _inputs(exported: Any) -> tuple[list[Any], tuple[TensorMetadata, ...]]:
    """The flat inputs: None where a request's tensor goes, else the constant that is fixed."""
    slots: list[Any] = []
    inputs: list[TensorMetadata] = []
    values = _placeholders(exported)
    for spec in exported.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        if type(spec.arg).__name__ == "ConstantArgument":
            slots.append((spec.arg.value,))
            continue
        name = spec.arg.name
        if type(spec.arg).__name__ != "TensorArgument":
            raise TypeError(f"its input '{name}' is no tensor; export it with tensors only")
        slots.append(None)
        inputs.append(_described(name, values[name]))
    return slots, tuple(inputs)


def _described(name: str, value: Any) -> TensorMetadata:
    datatype: Datatype | None = datatype_of_torch(value.dtype)
    if datatype is None:
        raise TypeError(f"'{name}' is {value.dtype}, which no request can carry; convert it")
    return TensorMetadata(name, datatype, _shape(value))


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in value.shape)


def _function(torch: Any, module: Any, exported: Any, slots: list[Any]) -> Callable[..., Any]:
    """The module as a function of the request's tensors, in their order."""
    names = _leaf_names(torch, exported)
    unflatten, in_spec = torch.utils._pytree.tree_unflatten, exported.call_spec.in_spec
    bare = copy.copy(module)
    bare.graph.set_codegen(torch.fx.graph.CodeGen())
    bare.recompile()
    bare._forward_pre_hooks.clear()
    known: set[Any] = set()

    def call(*tensors: Any) -> Any:
        given = iter(tensors)
        flat = [next(given) if each is None else each[0] for each in slots]
        # Containers and checks cost several times what a small network does. Shapes that have
        # passed the checks once go straight to the graph.
        shapes = tuple([each.shape for each in tensors])
        if shapes in known:
            return dict(zip(names, bare.forward(*flat), strict=True))
        args, kwargs = unflatten(flat, in_spec)
        answer = module(*args, **kwargs)
        if names and len(known) < _MOST_SHAPES:
            known.add(shapes)
        return answer

    return call


def _leaf_names(torch: Any, exported: Any) -> tuple[str, ...]:
    """The names of the flat outputs; none where one of them is no tensor."""
    user = exported.graph_signature.user_outputs
    marks = [torch.tensor(index) for index in range(len(user))]
    answer = torch.utils._pytree.tree_unflatten(marks, exported.call_spec.out_spec)
    if not all(isinstance(name, str) for name in user):
        return ()
    return tuple(named_leaves(torch, answer))


def _outputs(torch: Any, exported: Any) -> tuple[TensorMetadata, ...]:
    """The outputs by the names that the answer will have; none if they cannot be known."""
    by_name = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    user = exported.graph_signature.user_outputs
    values = [by_name.get(name) if isinstance(name, str) else None for name in user]
    answer = torch.utils._pytree.tree_unflatten(values, exported.call_spec.out_spec)
    try:
        named = named_leaves(torch, answer)
        return tuple(_described(name, value) for name, value in named.items())
    except Exception:
        # They are then learnt from an answer, as those of other formats are.
        return ()


def _has_free_rows(exported: Any) -> bool:
    """All inputs have the same free first dimension."""
    values = list(_placeholders(exported).values())
    tensors = [each for each in values if hasattr(each, "shape")]
    firsts = {str(each.shape[0]) if len(each.shape) else "" for each in tensors}
    return len(firsts) == 1 and not next(iter(firsts), "0").isdecimal() and "" not in firsts
