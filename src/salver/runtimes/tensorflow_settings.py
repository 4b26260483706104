"""The arguments of the TensorFlow and TFLite runtimes: what may be set for a model, checked.

Pure: a mapping in, a value out. An unknown name is refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from salver.errors import LoadFailed

_DEVICE = re.compile(r"auto|cpu|gpu(?::\d{1,3})?")
_FOREIGN = frozenset({"settings_file", "extra"})
"""What else a model's settings file puts among the arguments."""


class SignedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set for any model with signatures; all there is for TFLite."""

    signature: str = ""
    """The signature for requests that name none; empty: `serving_default`, or the only one."""
    batchable: bool | None = None
    """Whether rows of several requests may be predicted together; None: found out at load."""
    labels: tuple[str, ...] = ()
    """The names of the classes, for each output that has so many values a row."""


class TensorflowSettings(SignedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One TensorFlow model's arguments."""

    device: str = "auto"
    """`auto` (a GPU if TensorFlow sees one), `cpu`, `gpu` or `gpu:N`."""
    tags: tuple[str, ...] = ()
    """The tags of the graph to load; empty: `serve`, or those of the only graph."""


Settings = TypeVar("Settings", bound=SignedSettings)


def settings_of(
    kind: type[Settings], runtime: str, name: str, parameters: Mapping[str, Any]
) -> Settings:
    """Raises `LoadFailed` naming the argument that is unknown or has a value it cannot have."""
    extra = parameters.get("extra")
    given = {key: value for key, value in parameters.items() if key not in _FOREIGN}
    given |= extra if isinstance(extra, Mapping) else {}
    known = kind.__struct_fields__
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"use {', '.join(known)}"
        raise LoadFailed(
            f"model '{name}': the {runtime} runtime has no argument '{unknown}'; {hint}"
        )
    try:
        settings = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        reason = f"an argument of the {runtime} runtime: {error}"
        raise LoadFailed(f"model '{name}': {reason}") from error
    device = getattr(settings, "device", "auto")
    if not _DEVICE.fullmatch(device):
        raise LoadFailed(f"model '{name}': device '{device}' is none; use auto, cpu, gpu or gpu:N")
    return settings
