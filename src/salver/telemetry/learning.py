"""The metrics of one router that learns: what it chose, and what it was told of that."""

from __future__ import annotations

from salver.telemetry.registry import Counter, Gauge, Registry


class RouterMetrics:
    """The numbers of one router; `router` is NAMESPACE/GRAPH/STEP."""

    def __init__(self, registry: Registry, router: str) -> None:
        self._registry = registry
        self._router = router
        self.duplicates, self.unknowns, self.refused = (
            registry.counter(
                "salver_router_feedback_ignored_total",
                "Rewards not learned from: duplicate (the choice has one), unknown (no such choice "
                "is on record) or refused (no such reward can be, or it could not be kept).",
                router=router,
                reason=reason,
            )
            for reason in ("duplicate", "unknown", "refused")
        )
        self.forgotten: Counter = registry.counter(
            "salver_router_choices_forgotten_total",
            "Choices forgotten without a reward: too old, or too many.",
            router=router,
        )
        self.unlogged: Gauge = registry.gauge(
            "salver_router_choices_unlogged",
            "Choices that could not be written to the log.",
            merge="sum",
            router=router,
        )
        self._arms: dict[str, ArmMetrics] = {}

    def arm(self, name: str) -> ArmMetrics:
        """The numbers of one arm."""
        found = self._arms.get(name)
        if found is None:
            found = self._arms[name] = ArmMetrics(self._registry, self._router, name)
        return found

    def discard(self) -> None:
        """The router is no more."""
        self._registry.discard(router=self._router)


class ArmMetrics:
    """The numbers of one arm, of what came to this gateway."""

    __slots__ = ("choices", "mean", "rewards", "share")

    def __init__(self, registry: Registry, router: str, arm: str) -> None:
        of = {"router": router, "arm": arm}
        self.choices: Counter = registry.counter(
            "salver_router_choices_total", "Requests for which a router chose the arm.", **of
        )
        self.rewards: Counter = registry.counter(
            "salver_router_rewards_total", "Rewards that a router learned from.", **of
        )
        self.mean: Gauge = registry.gauge(
            "salver_router_mean_reward", "The arm's mean reward as believed.", merge="max", **of
        )
        self.share: Gauge = registry.gauge(
            "salver_router_share", "The arm's share of the choices now.", merge="max", **of
        )
