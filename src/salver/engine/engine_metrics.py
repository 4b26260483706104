"""The metrics of a compiled model: which engine answers what, and what the engines have done."""

from __future__ import annotations

from salver.inference.compilation import NATIVE, CompileCounts, CompileReport
from salver.telemetry.registry import Counter, Gauge, Registry

_COUNTERS = {
    "answered": ("salver_compiled_answers_total", "Predictions that a compiled engine made."),
    "declined": (
        "salver_compiled_declined_total",
        "Predictions that an engine left to the framework.",
    ),
    "failed": ("salver_compiled_failures_total", "Predictions in which an engine failed."),
    "checked": (
        "salver_compiled_checks_total",
        "Predictions of engines that were compared with the framework's.",
    ),
    "mismatched": (
        "salver_compiled_mismatches_total",
        "Predictions of engines that differed from the framework's.",
    ),
}


class EngineMetrics:
    """Of one version of one model. All that comes is from workers, now and then."""

    def __init__(self, registry: Registry, of: dict[str, str]) -> None:
        self._registry = registry
        self._of = of
        self._engines: set[str] = set()
        self._counters: dict[str, Counter] = {
            field: registry.counter(name, help, **of) for field, (name, help) in _COUNTERS.items()
        }
        self._withdrawn: Gauge = registry.gauge(
            "salver_compiled_withdrawn", "Engines that workers have withdrawn.", merge="sum", **of
        )

    def describe(self, report: CompileReport) -> None:
        """Shows the choices and verdicts of a report in place of the last one's."""
        for former in self._engines:
            self._registry.discard(**self._of, engine=former)
        self._engines = {each.name for each in report.engines} | {NATIVE}
        gauge = self._registry.gauge
        for choice in report.choices:
            gauge(
                "salver_compiled_speedup_ratio",
                "How much quicker the engine is that answers batches of so many rows.",
                merge="max",
                **self._of,
                engine=choice.engine,
                rows=str(choice.rows),
            ).value = choice.speed_up
        for engine in report.engines:
            gauge(
                "salver_compiled_accepted",
                "1 if the engine agrees with the framework, 0 if it was refused.",
                merge="min",
                **self._of,
                engine=engine.name,
                tier=engine.tier,
            ).value = int(bool(engine.accepts))
            if engine.difference is not None:
                gauge(
                    "salver_compiled_difference_ratio",
                    "The largest relative difference seen when the engine was probed.",
                    merge="max",
                    **self._of,
                    engine=engine.name,
                ).value = engine.difference

    def count(self, now: CompileCounts, before: CompileCounts) -> None:
        """Adds what one worker has done since it was last asked."""
        for field, counter in self._counters.items():
            counter.value += max(0, getattr(now, field) - getattr(before, field))
        self._withdrawn.value += max(0, len(now.withdrawn) - len(before.withdrawn))
