"""What was learnt when a model was compiled at load: which engine answers, and why.

Imports no NumPy: the gateway reads the report and never touches an engine. All numbers are
finite, as the report travels as JSON.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Tier = Literal["exact", "fast"]
NATIVE = "native"
"""The framework's own prediction, always a candidate."""


class EngineReport(msgspec.Struct, frozen=True):
    """One engine that was tried.

    `accepts` lists the kinds of input it may answer (`FP64`, `FP32`, `INT64`, `columns`);
    empty: it was refused or is absent, and `reason` says why. `difference` is the largest one
    seen on the probe set, relative to the answer's size; `None` where answers differ in more than
    size (labels, shapes, missing values). `declines` says what it leaves to the framework.
    """

    name: str
    tier: Tier
    accepts: tuple[str, ...] = ()
    reason: str = ""
    difference: float | None = 0.0
    declines: str = ""
    build_s: float = 0.0


class EngineChoice(msgspec.Struct, frozen=True):
    """Who answers a batch of `rows` rows, and what both took for it when the model was loaded."""

    rows: int
    engine: str
    native_us: float
    engine_us: float

    @property
    def speed_up(self) -> float:
        return self.native_us / self.engine_us if self.engine_us > 0 else 1.0


class CompileReport(msgspec.Struct, frozen=True):
    """`note` says in a sentence what came of it; `skipped` what the budget left out.

    `is_pending`: the model is served by its framework and compiled meanwhile. `is_reused`: the
    verdict of a former load was taken, and only the engines it chose were built.
    """

    mode: str
    note: str
    engines: tuple[EngineReport, ...] = ()
    choices: tuple[EngineChoice, ...] = ()
    probe_rows: int = 0
    took_s: float = 0.0
    skipped: tuple[str, ...] = ()
    is_pending: bool = False
    is_reused: bool = False

    @property
    def is_compiled(self) -> bool:
        return any(each.engine != NATIVE for each in self.choices)


class CompileCounts(msgspec.Struct):
    """What the engines of one worker have done since its model was loaded."""

    answered: int = 0
    declined: int = 0
    failed: int = 0
    checked: int = 0
    mismatched: int = 0
    withdrawn: list[str] = []
