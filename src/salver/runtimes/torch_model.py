"""Predicts with a PyTorch program: binds inputs, runs it in inference mode, names outputs.

Owns whose fault an error is: what PyTorch refuses is the caller's, memory is the worker's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from salver.errors import InvalidInput, ModelFailed, SalverError
from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.tabular import refused_by
from salver.runtimes.torch_arguments import Argument, declared_inputs, guessed_input
from salver.runtimes.torch_program import TorchProgram
from salver.runtimes.torch_tensors import answer_tensor, named_leaves, torch_tensor

_FLOATS = frozenset({"FP64", "FP32", "FP16", "BF16"})
_REFUSALS = (RuntimeError, IndexError, ValueError, TypeError)
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
_TYPE_COMPLAINT = re.compile(r"dtype|scalar type|data type|tensor for argument", re.IGNORECASE)


class Binding(msgspec.Struct, frozen=True):
    """The input of a request for an argument; `datatype` None: nobody has said which."""

    name: str
    argument: Argument
    datatype: Datatype | None


class TorchModel:
    """A program in memory. `device` None is the CPU, where nothing is to be moved."""

    def __init__(self, torch: Any, program: TorchProgram, device: Any) -> None:
        self._torch = torch
        self._program = program
        self._function = program.function
        self._device = device
        self._takes_integers: bool | None = None
        self._bindings, inputs = _bound(program)
        self._by_name = {each.name: each for each in self._bindings}
        self._has_unsaid = any(each.datatype is None for each in self._bindings)
        kinds = {each.kind for each in program.arguments}
        self._whole = next((each for each in ("dict", "tensors") if each in kinds), "")
        self._metadata = ModelMetadata(
            platform=program.platform,
            inputs=inputs,
            outputs=program.outputs,
            default_outputs=tuple(each.name for each in program.outputs),
            positional_input=len(inputs) == 1,
            batchable=False,
            framework_version=str(torch.__version__),
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def described(self, outputs: Sequence[TensorMetadata], *, batchable: bool) -> TorchModel:
        """This model with what was learnt of it at load."""
        self._metadata = msgspec.structs.replace(
            self._metadata,
            outputs=tuple(outputs),
            default_outputs=tuple(each.name for each in outputs),
            batchable=batchable,
        )
        return self

    def predict(self, request: InferRequest) -> InferResponse:
        leaves = self._answer(request)
        wanted = request.outputs or tuple(leaves)
        unknown = next((each for each in wanted if each not in leaves), None)
        if unknown is not None:
            known = ", ".join(f"'{each}'" for each in leaves)
            raise InvalidInput(f"output '{unknown}' is unknown; the model has {known}")
        return InferResponse(
            tuple([answer_tensor(self._torch, name, leaves[name]) for name in wanted])
        )

    def unload(self) -> None:
        """The module frees itself; memory that CUDA keeps for later is given back."""
        self._function = None
        if self._device is not None and self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def _answer(self, request: InferRequest) -> dict[str, Any]:
        """The outputs as PyTorch's tensors, by their names."""
        try:
            with self._torch.inference_mode():
                leaves = named_leaves(self._torch, self._run(request))
        except SalverError:
            raise
        except _REFUSALS as error:
            if _OUT_OF_MEMORY.search(str(error)):
                raise MemoryError(str(error)) from error
            if "CUDA error" in str(error):
                raise ModelFailed(f"CUDA failed: {error}") from error
            raise refused_by("PyTorch", _as_said(error)) from error
        return self._named(leaves)

    def _run(self, request: InferRequest) -> Any:
        if self._takes_integers is not None or not self._is_unsaid_integer(request):
            return self._called(request, as_floats=self._takes_integers is False)
        # Nobody has said whether the model takes integers (an embedding does) or numbers that
        # happen to be whole: what it does not refuse, it is from then on given.
        try:
            answer = self._called(request, as_floats=False)
        except RuntimeError as error:
            if not _TYPE_COMPLAINT.search(str(error)):
                raise
            answer = self._called(request, as_floats=True)
            self._takes_integers = False
            return answer
        self._takes_integers = True
        return answer

    def _is_unsaid_integer(self, request: InferRequest) -> bool:
        if not self._has_unsaid:
            return False
        only = self._bindings[0] if len(self._bindings) == 1 else None
        for tensor in request.inputs:
            binding = only or self._by_name.get(tensor.name)
            if tensor.datatype not in _FLOATS and binding and binding.datatype is None:
                return True
        return False

    def _called(self, request: InferRequest, *, as_floats: bool) -> Any:
        if self._whole:
            return self._function(self._together(request))
        positional: list[Any] = []
        named: dict[str, Any] = {}
        bindings = self._bindings
        tensors = request.inputs
        if len(bindings) == len(tensors) == 1:
            pairs = [(bindings[0], tensors[0])]
        else:
            pairs = self._pairs(tensors)
        for binding, tensor in pairs:
            value = self._value(binding, tensor, as_floats=as_floats)
            if binding.argument.is_keyword:
                named[binding.argument.name] = value
            else:
                positional.append(value)
        return self._function(*positional, **named)

    def _pairs(self, tensors: Sequence[Tensor]) -> list[tuple[Binding, Tensor]]:
        """In the order of forward's arguments. Raises `InvalidInput` for a name it has not."""
        given = {tensor.name: tensor for tensor in tensors}
        unknown = next((name for name in given if name not in self._by_name), None)
        missing = [
            each.name
            for each in self._bindings
            if each.name not in given and not each.argument.is_optional
        ]
        if unknown is not None or missing:
            name, fact = (unknown, "unknown") if unknown is not None else (missing[0], "missing")
            raise InvalidInput(
                f"input '{name}' is {fact}; the model takes {', '.join(self._by_name)}"
            )
        return [(each, given[each.name]) for each in self._bindings if each.name in given]

    def _value(self, binding: Binding, tensor: Tensor, *, as_floats: bool) -> Any:
        datatype = binding.datatype
        if datatype is None:
            is_float = as_floats or tensor.datatype in _FLOATS
            datatype = self._program.float_type if is_float else tensor.datatype
        if binding.argument.kind == "number":
            if tensor.data.size != 1:
                raise InvalidInput(
                    f"input '{tensor.name}' has {tensor.data.size} values, forward takes one "
                    "number; send one"
                )
            return tensor.data.reshape(-1)[0].item()
        return torch_tensor(self._torch, tensor.data, datatype, self._device)

    def _together(self, request: InferRequest) -> Any:
        """All inputs as the list or the dict that forward takes."""
        text = next((each.name for each in request.inputs if each.datatype == "BYTES"), None)
        if text is not None:
            raise InvalidInput(f"input '{text}' has datatype BYTES, the model takes numbers")
        found = {}
        for tensor in request.inputs:
            is_float = tensor.datatype in _FLOATS
            datatype = self._program.float_type if is_float else tensor.datatype
            found[tensor.name] = torch_tensor(self._torch, tensor.data, datatype, self._device)
        return found if self._whole == "dict" else list(found.values())

    def _named(self, leaves: dict[str, Any]) -> dict[str, Any]:
        """Under the declared names, where these are others than the model's own."""
        declared = self._program.outputs
        if not declared or len(declared) != len(leaves):
            return leaves
        names = tuple(each.name for each in declared)
        if set(names) == set(leaves):
            return leaves
        return dict(zip(names, leaves.values(), strict=True))


def _bound(program: TorchProgram) -> tuple[tuple[Binding, ...], tuple[TensorMetadata, ...]]:
    """How inputs go to arguments, and the inputs as the metadata shows them."""
    arguments = program.arguments
    if any(each.kind in ("tensors", "dict") for each in arguments):
        return (), program.inputs
    if not program.inputs:
        inputs = tuple(guessed_input(each, program.float_type) for each in arguments)
        bindings = tuple(Binding(each.name, each, each.datatype) for each in arguments)
        return bindings, inputs
    pairs = declared_inputs(arguments, program.inputs)
    found = {argument.name: (argument, tensor) for argument, tensor in pairs}
    bindings = tuple(
        Binding(found[each.name][1].name, each, found[each.name][1].datatype)
        for each in arguments
        if each.name in found
    )
    return bindings, tuple(tensor for _, tensor in pairs)


def _as_said(error: Exception) -> Exception:
    """The reason alone: TorchScript puts the model's source lines before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "TorchScript interpreter" in lines[0]:
        return type(error)(lines[-1].partition(": ")[2] or lines[-1])
    return error
