"""Compiles a loaded model: the way in for runtimes.

Whatever goes wrong here, the model is served by its framework and the report says why: compiling
never fails a load, but for settings that mean nothing and a sample that cannot be read.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable

import numpy as np

from salver.errors import LoadFailed
from salver.runtimes.compiled.compilation import Compilation
from salver.runtimes.compiled.measuring import Clock
from salver.runtimes.compiled.model import Assembly, CompiledModel
from salver.runtimes.compiled.pace import Pace
from salver.runtimes.compiled.ports import Subject
from salver.runtimes.compiled.rebuilding import rebuilt
from salver.runtimes.compiled.settings import CompileSettings, settings_of
from salver.runtimes.compiled.verdict_keys import verdict_key
from salver.runtimes.compiled.verdicts import (
    ENDED_WORKERS,
    MOST_BEGUN,
    KeptVerdict,
    Turn,
    VerdictFolder,
)
from salver.runtimes.ports import LoadedModel, ModelSource

logger = logging.getLogger("salver.compiled")
_TRIES = 3
"""How often a model is compiled anew whose last verdict had to leave something out."""
_WAIT_S = 0.05


def compiled(
    native: LoadedModel,
    source: ModelSource,
    subject: Callable[[LoadedModel], Subject | None],
    *,
    clock: Clock = time.perf_counter,
) -> LoadedModel:
    """The model with faster engines before it, or as it is where there is none.

    `subject` says how compilers are to see it; None for a model that has no form to compile. With
    `auto` and `source.compiles_later`, the model is compiled when its `compile_on` is called.
    """
    settings = settings_of(source)
    if settings.mode == "off":
        return native
    try:
        seen = subject(native)
        if seen is None:
            return native
        work = CompileWork(seen, source, settings)
        if source.compiles_later and settings.mode == "auto" and settings.sample is None:
            return CompiledModel(source.name, native, Assembly.pending(settings.mode), work.attempt)
        return CompiledModel(source.name, native, work.finished(Pace(clock)))
    except (LoadFailed, MemoryError):
        raise
    except Exception as error:
        logger.warning("model '%s' is not compiled: %r", source.name, error)
        return native


class CompileWork:
    """One model to be compiled, from the verdict of a former load if there is one."""

    def __init__(self, subject: Subject, source: ModelSource, settings: CompileSettings) -> None:
        self._subject = subject
        self._source = source
        self._settings = settings
        self._verdicts = VerdictFolder(source.verdicts) if source.verdicts is not None else None
        self._key = ""
        self._deadline_s = 0.0

    def finished(self, pace: Pace) -> Assembly:
        """Compiles; waits if another process is compiling the same model."""
        while (assembly := self._attempt(pace)) is None:
            time.sleep(_WAIT_S)
        return assembly

    def attempt(self, meanwhile: Callable[[], object]) -> Assembly | None:
        """Compiles in pieces. None: another process is at it. Whatever fails, the framework
        answers and the report says why."""
        try:
            return self._attempt(Pace(meanwhile=meanwhile))
        except (Exception, MemoryError) as error:
            logger.warning("model '%s' is not compiled: %r", self._source.name, error)
            return Assembly.native_only(self._settings.mode, f"compiling failed: {error!r}"[:300])

    def _attempt(self, pace: Pace) -> Assembly | None:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if self._verdicts is None:
                return self._anew(pace)[0]
            self._key = self._key or verdict_key(self._source, self._settings, pace.pause)
            self._deadline_s = self._deadline_s or pace() + 2 * self._settings.budget_s + 1.0
            return self._by_verdict(self._verdicts, pace)

    def _by_verdict(self, verdicts: VerdictFolder, pace: Pace) -> Assembly | None:
        """Nobody compiles a model while another does: each would take the other for slow."""
        kept = verdicts.read(self._key)
        if kept is not None and (not kept.report.skipped or kept.tries >= _TRIES):
            assembly = rebuilt(self._subject, self._settings, kept, pace)
            if assembly is not None:
                return assembly
            logger.warning(
                "model '%s': what was known of its engines holds no more; it is compiled again",
                self._source.name,
            )
        with verdicts.turn(self._key) as turn:
            if turn is None and pace() < self._deadline_s:
                return None
            return self._in_turn(verdicts, turn, kept, pace)

    def _in_turn(
        self, verdicts: VerdictFolder, turn: Turn | None, kept: KeptVerdict | None, pace: Pace
    ) -> Assembly:
        if turn is not None and turn.begin() >= MOST_BEGUN:
            # Whoever began was ended by it, as by an engine that ran out of memory.
            verdicts.write(self._key, KeptVerdict.refused(self._settings.mode, ENDED_WORKERS))
            return Assembly.native_only(self._settings.mode, ENDED_WORKERS)
        assembly, found = self._anew(pace)
        tries = kept.tries + 1 if kept is not None else 1
        verdicts.write(self._key, found.with_tries(tries))
        return assembly

    def _anew(self, pace: Pace) -> tuple[Assembly, KeptVerdict]:
        return Compilation(self._subject, self._settings, pace).assembly()
