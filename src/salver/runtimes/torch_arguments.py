"""What the `forward` of a PyTorch model takes, by name: tensors, numbers, a list or a dict.

Owns the reading of type texts, which are much the same in Python's hints and TorchScript's
schemas. Imports no torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from salver.inference.metadata import Datatype, TensorMetadata
from salver.runtimes.tabular import NUMERIC

Kind = Literal["tensor", "number", "tensors", "dict"]
"""One tensor; a Python number; all inputs as a list; all inputs as a dict by name."""

_TENSOR_TYPES: dict[str, Datatype | None] = {
    "Tensor": None,
    "FloatTensor": "FP32",
    "DoubleTensor": "FP64",
    "HalfTensor": "FP16",
    "BFloat16Tensor": "BF16",
    "LongTensor": "INT64",
    "IntTensor": "INT32",
    "ShortTensor": "INT16",
    "CharTensor": "INT8",
    "ByteTensor": "UINT8",
    "BoolTensor": "BOOL",
}
_NUMBER_TYPES: dict[str, Datatype] = {"int": "INT64", "float": "FP64", "bool": "BOOL"}
_INTEGERS: tuple[Datatype, ...] = tuple(each for each in NUMERIC if "INT" in each)
_FLOATS = frozenset({"FP64", "FP32", "FP16", "BF16"})


class Argument(msgspec.Struct, frozen=True):
    """One parameter of `forward`. `datatype`: what it must have, None if nothing says.

    `is_keyword`: it cannot be given by position.
    """

    name: str
    kind: Kind
    is_optional: bool = False
    datatype: Datatype | None = None
    is_keyword: bool = False


def argument_of_type(name: str, text: str, *, is_optional: bool, is_keyword: bool) -> Argument:
    """The argument with this type, as it is written. Raises `TypeError` for one unservable."""
    bare = re.sub(r"\b(?:typing|torch|builtins|collections\.abc)\.", "", text).strip()
    inner = re.fullmatch(r"Optional\[(.*)\]", bare)
    if inner or bare.endswith(("| None", "?")):
        is_optional = True
        bare = inner[1] if inner else bare.removesuffix("?").removesuffix("| None").strip()
    if bare in ("", "Any") or bare in _TENSOR_TYPES:
        datatype = _TENSOR_TYPES.get(bare)
        return Argument(name, "tensor", is_optional, datatype, is_keyword)
    if bare in _NUMBER_TYPES:
        return Argument(name, "number", is_optional, _NUMBER_TYPES[bare], is_keyword)
    if re.fullmatch(r"(?:[Ll]ist|Sequence)\[Tensor\]|Tensor\[\]", bare):
        return Argument(name, "tensors", is_optional)
    if re.fullmatch(r"(?:[Dd]ict|Mapping)(?:\[str, ?Tensor\]|\(str, Tensor\))", bare):
        return Argument(name, "dict", is_optional)
    if is_optional:
        # It has a default that nobody can replace from outside: left alone, it is no input.
        raise _LeftOut
    raise TypeError(
        f"forward takes '{name}' of type {text}, which no request can carry; wrap the model so "
        "that it takes tensors"
    )


class _LeftOut(TypeError):
    """An optional parameter of a type that no request can carry."""


def arguments_of_types(types: list[tuple[str, str, bool, bool]]) -> tuple[Argument, ...]:
    """The arguments of (name, type, is optional, is keyword) each. Raises `TypeError`."""
    found: list[Argument] = []
    for name, text, is_optional, is_keyword in types:
        try:
            argument = argument_of_type(name, text, is_optional=is_optional, is_keyword=is_keyword)
        except _LeftOut:
            # What follows can then only be given by name.
            continue
        found.append(argument)
    whole = [each for each in found if each.kind in ("tensors", "dict")]
    if whole and len([each for each in found if not each.is_optional]) > 1:
        raise TypeError(
            f"forward takes '{whole[0].name}', several tensors at once, and more beside it; wrap "
            "the model so that it takes tensors by name"
        )
    return (whole[0],) if whole else tuple(found)


def arguments_of_forward(forward: Callable[..., Any]) -> tuple[Argument, ...]:
    """The arguments of a Python method. Raises `TypeError` for what cannot be served."""
    types = []
    has_default = False
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = parameter.annotation
        text = "" if hint is parameter.empty else _text_of(hint)
        has_default = has_default or parameter.default is not parameter.empty
        is_keyword = has_default or parameter.kind is parameter.KEYWORD_ONLY
        types.append((parameter.name, text, parameter.default is not parameter.empty, is_keyword))
    if not types:
        raise TypeError("forward takes no argument of its own; give it one for each input")
    return arguments_of_types(types)


def _text_of(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    return hint.__name__ if isinstance(hint, type) and "[" not in str(hint) else str(hint)


def accepted(datatype: Datatype) -> tuple[Datatype, ...]:
    """What else can be given where that is wanted, without changing what is meant."""
    if datatype in _FLOATS:
        return tuple(each for each in NUMERIC if each != datatype)
    if datatype == "BOOL":
        return ()
    return tuple(each for each in _INTEGERS if each != datatype)


def guessed_input(argument: Argument, datatype: Datatype) -> TensorMetadata:
    """The input for an argument of which nobody has said the shape."""
    known = argument.datatype
    accepts = accepted(known) if known else tuple(each for each in NUMERIC if each != datatype)
    return TensorMetadata(
        argument.name,
        known or datatype,
        (),
        any_shape=True,
        accepts=accepts,
        optional=argument.is_optional,
    )


def declared_inputs(
    arguments: tuple[Argument, ...], declared: tuple[TensorMetadata, ...]
) -> tuple[tuple[Argument, TensorMetadata], ...]:
    """Which argument each declared input is for: by name if all names fit, else by position.

    Raises `ValueError` if there are not enough of them, or one of BYTES.
    """
    text = next((each for each in declared if each.datatype == "BYTES"), None)
    if text is not None:
        raise ValueError(f"input '{text.name}' is declared as BYTES, which PyTorch has not")
    by_name = {each.name: each for each in arguments}
    required = [each.name for each in arguments if not each.is_optional]
    names = [each.name for each in declared]
    if set(names) <= set(by_name) and set(required) <= set(names):
        return tuple((by_name[each.name], _accepting(each)) for each in declared)
    if not len(required) <= len(declared) <= len(arguments):
        raise ValueError(
            f"the declared inputs ({', '.join(names)}) are not those of forward "
            f"({', '.join(by_name)})"
        )
    pairs = zip(arguments, declared, strict=False)
    return tuple((argument, _accepting(tensor)) for argument, tensor in pairs)


def _accepting(tensor: TensorMetadata) -> TensorMetadata:
    return msgspec.structs.replace(tensor, accepts=tensor.accepts or accepted(tensor.datatype))
