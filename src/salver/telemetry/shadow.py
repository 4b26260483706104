"""The metrics of a shadow: how often its answers are those of the model beside it, how fast."""

from __future__ import annotations

from salver.telemetry.metrics import DURATION_BOUNDS_S
from salver.telemetry.registry import Counter, Histogram, Registry


class ShadowMetrics:
    """The numbers of one shadow, `shadow` being the version or revision that shadows `model`.

    Every copy ends as one of match, mismatch, uncompared or error, unless the caller left before
    the model answered: then there is nothing to compare with.
    """

    __slots__ = ("copies", "dropped", "errors", "lead", "matches", "mismatches", "uncompared")

    def __init__(self, registry: Registry, model: str, shadow: str) -> None:
        of = {"model": model, "shadow": shadow}
        self.copies: Counter = registry.counter(
            "salver_shadow_requests_total", "Copies of requests sent to a shadow.", **of
        )
        self.dropped: Counter = registry.counter(
            "salver_shadow_dropped_total",
            "Requests not copied: too many copies under way, or the shadow not ready.",
            **of,
        )
        self.matches, self.mismatches, self.uncompared, self.errors = (
            registry.counter(
                "salver_shadow_results_total",
                "Answers of a shadow: match, mismatch, uncompared (they differ, and are too long "
                "to be taken apart), or error where the model had none.",
                **of,
                result=result,
            )
            for result in ("match", "mismatch", "uncompared", "error")
        )
        self.lead: dict[str, Histogram] = {
            faster: registry.histogram(
                "salver_shadow_lead_seconds",
                "Seconds between the answers of model and shadow, by which was faster.",
                DURATION_BOUNDS_S,
                **of,
                faster=faster,
            )
            for faster in ("model", "shadow")
        }

    def observe_durations(self, model_s: float, shadow_s: float) -> None:
        """Both have answered the same request, after so many seconds each."""
        faster = "shadow" if shadow_s < model_s else "model"
        self.lead[faster].observe(abs(shadow_s - model_s))
