"""What a model's workers say of their engines, as the gateway knows it.

Owns when workers are asked, which is off the request path: now and then, and only if the model
has answered since.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec

from salver.backends.local.replica import LocalReplica
from salver.backends.local.worker_messages import WorkerFacts
from salver.engine.engine_metrics import EngineMetrics
from salver.inference.compilation import CompileCounts, CompileReport
from salver.telemetry.metrics import ModelMetrics

logger = logging.getLogger("salver.supervisor")
_ASK_S = 2.0
_COUNTED = ("answered", "declined", "failed", "checked", "mismatched")


class EngineFacts:
    """The engines of one version of a model."""

    def __init__(self, label: str, metrics: ModelMetrics) -> None:
        self._label = label
        self._metrics = metrics
        self._engine_metrics: EngineMetrics | None = None
        self._by_worker: dict[int, CompileCounts] = {}
        self._total = CompileCounts()
        self._asked_s = 0.0
        self._asked_batches = 0.0
        self._told: tuple[tuple[int, str], ...] | None = None
        self.report: CompileReport | None = None

    @property
    def _shown(self) -> EngineMetrics:
        """Made when there is something to show: most models have no engines."""
        if self._engine_metrics is None:
            self._engine_metrics = EngineMetrics(*self._metrics.place)
        return self._engine_metrics

    @property
    def counts(self) -> CompileCounts | None:
        """Of all workers there have been; None for a model that no engine answers for."""
        return self._total if self.report is not None else None

    def loaded(self, report: CompileReport | None) -> None:
        """A worker has loaded the model."""
        if report is None:
            self.report = None
        elif not report.is_pending:
            self._describe(report)
        elif self.report is None:
            self.report = report

    def note(self, worker: int, facts: WorkerFacts) -> None:
        """A worker tells."""
        before = self._by_worker.get(worker, CompileCounts())
        self._by_worker[worker] = facts.counts
        self._shown.count(facts.counts, before)
        changes = {
            each: getattr(self._total, each)
            + max(0, getattr(facts.counts, each) - getattr(before, each))
            for each in _COUNTED
        }
        new = [each for each in facts.counts.withdrawn if each not in self._total.withdrawn]
        withdrawn = [*self._total.withdrawn, *new]
        self._total = msgspec.structs.replace(self._total, **changes, withdrawn=withdrawn)
        if self.report is None or self.report != facts.compiled:
            self._describe(facts.compiled)

    def forget(self, worker: int) -> None:
        """The worker has gone; what it did is counted."""
        self._by_worker.pop(worker, None)

    def ask(self, replicas: Callable[[], Iterable[LocalReplica]], now_s: float) -> None:
        """Asks the workers, if it is time and there is something to be told."""
        report = self.report
        if report is None or not report.is_compiled or now_s - self._asked_s < _ASK_S:
            return
        self._asked_s = now_s
        if self._metrics.batches.value != self._asked_batches:
            self._asked_batches = self._metrics.batches.value
            for replica in replicas():
                replica.ask()

    def _describe(self, report: CompileReport) -> None:
        self.report = report
        self._shown.describe(report)
        choices = tuple((each.rows, each.engine) for each in report.choices)
        if choices != self._told:
            self._told = choices
            is_worth = report.is_compiled or any(each.accepts for each in report.engines)
            logger.log(
                logging.INFO if is_worth else logging.DEBUG, "%s: %s", self._label, report.note
            )
