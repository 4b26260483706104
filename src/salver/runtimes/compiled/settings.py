"""What a model's parameters say about compiling it.

Owns the names `compile`, `compile_check`, `compile_budget_s` and `sample`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec

from salver.errors import LoadFailed
from salver.inference.compilation import Tier
from salver.runtimes.ports import ModelSource

Mode = Literal["auto", "exact", "fast", "off"]
AUTO_BUDGET_S = 2.0
ASKED_BUDGET_S = 20.0
TOLERANCES: Mapping[Tier, float] = {"exact": 1e-12, "fast": 1e-5}
"""The largest difference relative to the answer's size; labels must be equal in both."""


class CompileSettings(msgspec.Struct, frozen=True):
    """`check_fraction` of the live requests are answered by the framework too and compared.

    `budget_s` bounds the time that compiling may add to the load: what it leaves no time for is
    skipped and named in the report. `sample` is a file of the user's rows.
    """

    mode: Mode = "auto"
    budget_s: float = AUTO_BUDGET_S
    check_fraction: float = 0.0
    sample: Path | None = None

    @property
    def tiers(self) -> tuple[Tier, ...]:
        return ("exact", "fast") if self.mode == "fast" else ("exact",)


def settings_of(source: ModelSource) -> CompileSettings:
    """Raises `LoadFailed` for a value that means nothing."""
    given = _given(source)
    mode = _mode(source, given.get("compile", source.compile))
    budget_s = AUTO_BUDGET_S if mode == "auto" else ASKED_BUDGET_S
    sample = given.get("sample")
    return CompileSettings(
        mode=mode,
        budget_s=_number(source, "compile_budget_s", budget_s, 3600.0),
        check_fraction=_number(source, "compile_check", 0.0, 1.0),
        sample=Path(str(sample)) if sample else None,
    )


def _given(source: ModelSource) -> Mapping[str, Any]:
    """The model's parameters; MLServer's settings have those that are not its own in `extra`."""
    extra = source.parameters.get("extra")
    return {**extra, **source.parameters} if isinstance(extra, dict) else source.parameters


def _mode(source: ModelSource, value: Any) -> Mode:
    if isinstance(value, bool):  # YAML reads a bare `off` as false
        return "auto" if value else "off"
    if value not in get_args(Mode):
        raise LoadFailed(
            f"model '{source.name}': compile is {value!r}; give auto, exact, fast or off"
        )
    return cast(Mode, value)


def _number(source: ModelSource, name: str, default: float, highest: float) -> float:
    value = _given(source).get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= highest:
        raise LoadFailed(
            f"model '{source.name}': {name} is {value!r}; give a number from 0 to {highest:g}"
        )
    return number
