"""The arguments of the PyTorch runtime: what may be set for a model, checked.

Pure: a mapping in, a value out. An unknown name is refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from salver.errors import LoadFailed

_DEVICE = re.compile(r"auto|cpu|mps|cuda(?::\d{1,3})?\Z")
_MODES = ("default", "reduce-overhead", "max-autotune")
_FOREIGN = frozenset({"settings_file", "extra"})
"""What else a model's settings file puts among the arguments."""


class TorchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's arguments."""

    device: str = "auto"
    """`auto` (CUDA if there is some, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`."""
    compile: bool | str = False
    """`torch.compile` the module: true, or its mode (default, reduce-overhead, max-autotune)."""
    arguments: dict[str, Any] = {}
    """What the class of a state dict is made with."""
    weights: str = ""
    """The file of weights beside a Python file, where there are several."""
    code: str = ""
    """The Python file of the class beside weights, where there are several."""
    batchable: bool | None = None
    """Whether rows of several requests may be predicted together; None: found out at load."""

    @property
    def compile_mode(self) -> str:
        """Empty where nothing is to be compiled."""
        return self.compile if isinstance(self.compile, str) else "default" if self.compile else ""


def torch_settings(name: str, parameters: Mapping[str, Any]) -> TorchSettings:
    """Raises `LoadFailed` naming the argument that is unknown or has a value it cannot have."""
    extra = parameters.get("extra")
    given = {key: value for key, value in parameters.items() if key not in _FOREIGN}
    given |= extra if isinstance(extra, Mapping) else {}
    known = TorchSettings.__struct_fields__
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"use {', '.join(known)}"
        raise LoadFailed(f"model '{name}': the torch runtime has no argument '{unknown}'; {hint}")
    try:
        settings = msgspec.convert(given, TorchSettings)
    except msgspec.ValidationError as error:
        raise LoadFailed(f"model '{name}': an argument of the torch runtime: {error}") from error
    if not _DEVICE.match(settings.device):
        raise LoadFailed(
            f"model '{name}': device '{settings.device}' is none; use auto, cpu, cuda, cuda:N, mps"
        )
    if isinstance(settings.compile, str) and settings.compile not in _MODES:
        raise LoadFailed(
            f"model '{name}': compile '{settings.compile}' is no mode; use true, false, "
            + ", ".join(_MODES)
        )
    return settings
