"""The arguments of the ONNX runtime, checked: execution providers, optimisation, threads.

Pure: a mapping in, a value out. Other arguments (those of compiling, of a settings file) are not
its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from salver.errors import LoadFailed

LEVELS = MappingProxyType(
    {
        "disable": "ORT_DISABLE_ALL",
        "basic": "ORT_ENABLE_BASIC",
        "extended": "ORT_ENABLE_EXTENDED",
        "layout": "ORT_ENABLE_LAYOUT",
        "all": "ORT_ENABLE_ALL",
    }
)
_SUFFIX = "ExecutionProvider"
_CPU = "CPU" + _SUFFIX


class OnnxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One model's arguments."""

    providers: list[Any] | str = _CPU
    """In order of preference: names, or `{name: options}`; `CUDA` is `CUDAExecutionProvider`."""
    graph_optimization_level: str = "all"
    """`disable`, `basic`, `extended`, `layout` or `all`."""
    intra_op_threads: int | None = None
    """Within an operator; the model's `threads` unless given here."""
    inter_op_threads: int = 1
    """Operators side by side."""

    def chosen(self, name: str, available: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
        """The providers with their options. Raises `LoadFailed` for one that is not there."""
        given = self.providers.split(",") if isinstance(self.providers, str) else self.providers
        found = [_provider(name, each) for each in given]
        missing = next((each for each, _ in found if each not in available), None)
        if missing is not None or not found:
            raise LoadFailed(
                f"model '{name}': the installed ONNX Runtime has no provider "
                f"'{missing or ''}' (it has {', '.join(available)}); choose among these, or "
                "install the onnxruntime package that brings it"
            )
        return found


def onnx_settings(name: str, parameters: Mapping[str, Any]) -> OnnxSettings:
    """Raises `LoadFailed` naming the argument that has a value it cannot have."""
    known = OnnxSettings.__struct_fields__
    try:
        settings = msgspec.convert(
            {key: value for key, value in parameters.items() if key in known},
            OnnxSettings,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise LoadFailed(f"model '{name}': an argument of the onnx runtime: {error}") from error
    if settings.graph_optimization_level not in LEVELS:
        raise LoadFailed(
            f"model '{name}': graph_optimization_level is '{settings.graph_optimization_level}'; "
            f"use {', '.join(LEVELS)}"
        )
    for each in (settings.intra_op_threads, settings.inter_op_threads):
        if each is not None and not 1 <= each <= 1024:
            raise LoadFailed(f"model '{name}': {each} threads are none; give 1 to 1024")
    return settings


def _provider(model: str, given: Any) -> tuple[str, dict[str, str]]:
    options: Any = {}
    if isinstance(given, Mapping) and len(given) == 1:
        ((given, options),) = given.items()
    elif isinstance(given, list | tuple) and len(given) == 2:
        given, options = given
    if not isinstance(given, str) or not isinstance(options, Mapping | None):
        raise LoadFailed(
            f"model '{model}': the provider {given!r} is none; give a name, or a name with options "
            "as {name: {option: value}}"
        )
    name = given.strip()
    name = name if name.endswith(_SUFFIX) else name + _SUFFIX
    return name, {str(key): _written(value) for key, value in (options or {}).items()}


def _written(value: Any) -> str:
    """ONNX Runtime takes options as texts, truths as 0 and 1."""
    return str(int(value)) if isinstance(value, bool) else str(value)
