"""The arguments of the OpenVINO runtime, checked. Pure: a mapping in, a value out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from salver.errors import LoadFailed

_HINTS = ("latency", "throughput")
_PRECISIONS = ("f32", "f16", "bf16", "auto")


class OpenvinoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One model's arguments."""

    device: str = "CPU"
    """As OpenVINO names it: CPU, GPU, GPU.1, AUTO, ..."""
    hint: str = "latency"
    """What it is compiled for: latency, or throughput."""
    precision: str = "f32"
    """What it calculates in; `auto` lets OpenVINO choose less on machines that are quicker so."""
    config: dict[str, Any] = {}
    """Further properties of the device, by OpenVINO's names; they win."""


def openvino_settings(name: str, parameters: Mapping[str, Any]) -> OpenvinoSettings:
    """Raises `LoadFailed` naming the argument that has a value it cannot have."""
    known = OpenvinoSettings.__struct_fields__
    try:
        settings = msgspec.convert(
            {key: value for key, value in parameters.items() if key in known}, OpenvinoSettings
        )
    except msgspec.ValidationError as error:
        raise LoadFailed(f"model '{name}': an argument of the openvino runtime: {error}") from error
    if settings.hint not in _HINTS or settings.precision not in _PRECISIONS:
        raise LoadFailed(
            f"model '{name}': hint is '{settings.hint}', precision '{settings.precision}'; use "
            f"{' or '.join(_HINTS)}, and one of {', '.join(_PRECISIONS)}"
        )
    return settings


def compile_config(settings: OpenvinoSettings, threads: int) -> dict[str, Any]:
    """The properties that a model is compiled with."""
    config: dict[str, Any] = {"PERFORMANCE_HINT": settings.hint.upper()}
    if settings.precision != "auto":
        config["INFERENCE_PRECISION_HINT"] = settings.precision
    if settings.device == "CPU":
        config["INFERENCE_NUM_THREADS"] = threads
        # A replica asks one question at a time: more streams would wait for nothing.
        config["PERFORMANCE_HINT_NUM_REQUESTS"] = 1
    return config | settings.config
