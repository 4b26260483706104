"""A loaded model with faster engines before it.

Owns who answers a request: by the kind of its input and its rows. Whatever goes wrong in an
engine, the framework answers; an engine that fails, or that a live check finds wrong, is not
asked again.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping

import msgspec

from salver.inference.compilation import NATIVE, CompileCounts, CompileReport
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse
from salver.runtimes.compiled.agreement import Disagreement, difference_of
from salver.runtimes.compiled.choosing import ChoiceTable
from salver.runtimes.compiled.engines import Engine
from salver.runtimes.compiled.entry import kind_of
from salver.runtimes.compiled.ports import Declined
from salver.runtimes.ports import LoadedModel

logger = logging.getLogger("salver.compiled")


class LiveCheck(msgspec.Struct, frozen=True):
    """Every `stride`-th compiled answer is compared with the framework's; 0: none."""

    stride: int
    tolerances: Mapping[str, float]
    typical: Mapping[str, Array]

    @classmethod
    def stride_of(cls, fraction: float) -> int:
        return max(1, round(1 / fraction)) if fraction > 0 else 0


class Assembly(msgspec.Struct, frozen=True):
    """What answers beside the framework. `engines` are by kind of input and name, `tables` by
    kind."""

    engines: Mapping[str, Mapping[str, Engine]]
    tables: Mapping[str, ChoiceTable]
    report: CompileReport
    check: LiveCheck

    @classmethod
    def of_report(cls, report: CompileReport) -> Assembly:
        """No engine."""
        return cls({}, {}, report, LiveCheck(0, {}, {}))

    @classmethod
    def native_only(cls, mode: str, reason: str) -> Assembly:
        return cls.of_report(CompileReport(mode, f"the framework answers: {reason}"))

    @classmethod
    def pending(cls, mode: str) -> Assembly:
        report = CompileReport(mode, "the framework answers while engines are built and tried")
        return cls.of_report(msgspec.structs.replace(report, is_pending=True))


Attempt = Callable[[Callable[[], object]], Assembly | None]
"""Compiles, calling what it is given between two pieces of work; None: another process does."""


class CompiledModel:
    """Answers as its framework does, sooner."""

    def __init__(
        self, name: str, native: LoadedModel, assembly: Assembly, attempt: Attempt | None = None
    ) -> None:
        self._name = name
        self._native = native
        self._native_predict = native.predict
        self._attempt = attempt
        self.counts = CompileCounts()
        self._adopt(assembly)

    def _adopt(self, assembly: Assembly) -> None:
        self._tables = {
            kind: (
                table.bounds,
                len(table.bounds) - 1,
                [
                    assembly.engines[kind].get(each) if each != NATIVE else None
                    for each in table.engines
                ],
            )
            for kind, table in assembly.tables.items()
        }
        self._check = assembly.check
        self._until_check = assembly.check.stride
        self.compile_report = assembly.report

    def compile_on(self, meanwhile: Callable[[], object]) -> bool:
        """See `CompilesLater`."""
        assembly = self._attempt(meanwhile) if self._attempt is not None else None
        if assembly is not None:
            self._adopt(assembly)
            self._attempt = None
        return self._attempt is None

    @property
    def metadata(self) -> ModelMetadata:
        return self._native.metadata

    def predict(self, request: InferRequest) -> InferResponse:
        table = self._tables.get(kind_of(request) or "")
        if table is None:
            return self._native_predict(request)
        bounds, last, engines = table
        shape = request.inputs[0].data.shape
        index = bisect_left(bounds, shape[0]) if shape else 0
        engine = engines[index if index < last else last]
        if engine is None:
            return self._native_predict(request)
        try:
            response = engine.predict(request)
        except Declined:
            self.counts.declined += 1
            return self._native_predict(request)
        except MemoryError:
            raise
        except Exception as error:
            return self._after_failure(engine, request, error)
        self.counts.answered += 1
        if self._until_check:
            self._until_check -= 1
            if not self._until_check:
                return self._checked(engine, request, response)
        return response

    def unload(self) -> None:
        self._native.unload()

    def _after_failure(
        self, engine: Engine, request: InferRequest, error: Exception
    ) -> InferResponse:
        """If the framework takes the request, the engine was wrong to fail, and is withdrawn."""
        response = self._native_predict(request)
        self.counts.failed += 1
        self._withdraw(engine, f"it raised {type(error).__name__}: {error}")
        return response

    def _checked(
        self, engine: Engine, request: InferRequest, response: InferResponse
    ) -> InferResponse:
        self._until_check = self._check.stride
        expected = self._native_predict(request)
        self.counts.checked += 1
        found = difference_of(expected, response, self._check.typical)
        if isinstance(found, float) and found <= self._check.tolerances.get(engine.name, 0.0):
            return response
        self.counts.mismatched += 1
        told = found.reason if isinstance(found, Disagreement) else f"it differs by {found:.3g}"
        self._withdraw(engine, f"a live request was answered otherwise by the framework: {told}")
        return expected

    def _withdraw(self, engine: Engine, reason: str) -> None:
        for _, _, engines in self._tables.values():
            for index, each in enumerate(engines):
                if each is not None and each.name == engine.name:
                    engines[index] = None
        self.counts.withdrawn.append(engine.name)
        logger.error(
            "model '%s': the engine %s is withdrawn, the framework answers: %s",
            self._name,
            engine.name,
            reason,
        )
