"""Keeps the number of replicas of each revision at what the autoscalers say.

A shell around `autoscaling.py` and `hpa.py`: samples what revisions show, asks every
`TICK_S`, and passes the answer on. Time comes in; the loop that calls is the machine's.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import Protocol

from salver.control import autoscaling, hpa
from salver.control.metrics_window import MetricsWindow, RateMeter
from salver.graphs.plan import ScalingPolicy

logger = logging.getLogger("salver.autoscaler")

SAMPLE_S = 0.2
"""How often concurrency is looked at; what is shorter is met by chance, as often as it lasts."""
_MISSED = 0.01
"""The concurrency of requests that came and went between two looks. Next to nothing, but not
nothing: a revision that gets a short request now and then is in use, and does not go to zero."""
REST_LOOK_S = 1.0
"""How often it is of what is at zero, and begins by itself when a request comes."""


class ScaledRevision(Protocol):
    """What can be scaled, as the autoscaler sees it."""

    @property
    def concurrency(self) -> int:
        """Requests that wait or are worked on now."""

    @property
    def requests(self) -> float:
        """Requests that ever came."""

    @property
    def ready_replicas(self) -> int: ...

    @property
    def wanted_replicas(self) -> int: ...

    def utilization_percent(self, metric: str) -> float | None:
        """Mean CPU or memory of a replica, of what it may take; None if not known yet."""

    def scale(self, replicas: int) -> None: ...


class _Watched:
    """One revision and what is remembered of it."""

    def __init__(
        self, label: str, policy: ScalingPolicy, revision: ScaledRevision, now_s: float
    ) -> None:
        self.label = label
        self.policy = policy
        self.revision = revision
        self.is_reachable = True
        self.reason = ""
        self._window = MetricsWindow(policy)
        self._rate = RateMeter(now_s, revision.requests)
        self._requests = revision.requests
        self._kpa = autoscaling.initial_state(policy, revision.ready_replicas, now_s)
        self._hpa = hpa.HpaState()

    @property
    def follows_resources(self) -> bool:
        return self.policy.metric in ("cpu", "memory")

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nobody asks."""
        return self.revision.wanted_replicas == 0 and self.revision.concurrency == 0

    def sample(self, now_s: float) -> None:
        revision = self.revision
        if self.policy.metric == "concurrency":
            before, self._requests = self._requests, revision.requests
            missed = _MISSED if self._requests > before else 0.0
            self._window.record(now_s, revision.concurrency or missed)
        elif self.policy.metric == "rps":
            # With every look: a second without a value would count as one without a request.
            self._window.record(now_s, self._rate.rate(now_s, revision.requests))

    def desired(self, now_s: float) -> int:
        """The number of replicas there should be now."""
        revision, policy = self.revision, self.policy
        if self.follows_resources:
            seen = hpa.ResourceSnapshot(
                replicas=revision.wanted_replicas,
                ready=revision.ready_replicas,
                utilization_percent=revision.utilization_percent(policy.metric),
            )
            by_resource = hpa.decide(policy, self._hpa, seen, now_s)
            self._hpa, self.reason = by_resource.state, by_resource.reason
            return by_resource.desired
        stable, panic = self._window.averages(now_s)
        snapshot = autoscaling.MetricSnapshot(
            ready=revision.ready_replicas,
            stable=stable,
            panic=panic,
            is_reachable=self.is_reachable,
        )
        decision = autoscaling.decide(policy, self._kpa, snapshot, now_s)
        self._kpa, self.reason = decision.state, decision.reason
        return decision.desired


class Autoscaler:
    """All revisions that are scaled by their load."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._resting: dict[str, _Watched] = {}
        """Those that are at zero: there may be thousands, and a few are looked at each time."""

    def watch(
        self, label: str, policy: ScalingPolicy, revision: ScaledRevision, now_s: float
    ) -> None:
        """Scales the revision from now on."""
        self._watched[label] = _Watched(label, policy, revision, now_s)

    def unwatch(self, label: str) -> None:
        """Leaves the revision alone."""
        self._watched.pop(label, None)
        self._resting.pop(label, None)

    def set_reachable(self, label: str, is_reachable: bool) -> None:
        """Whether traffic or a tag leads to the revision; without, it may go to zero."""
        found = self._watched.get(label) or self._resting.get(label)
        if found is not None:
            found.is_reachable = is_reachable

    def reason(self, label: str) -> str:
        """Why the revision has the replicas it has."""
        found = self._watched.get(label) or self._resting.get(label)
        return found.reason if found is not None else ""

    def sample(self, now_s: float) -> None:
        """To be called every `SAMPLE_S`."""
        self._wake_some()
        for watched in self._watched.values():
            watched.sample(now_s)

    def _wake_some(self) -> None:
        """Looks at a share of those at rest, so that each has its turn every `REST_LOOK_S`."""
        share = -(-len(self._resting) // max(1, round(REST_LOOK_S / SAMPLE_S)))
        for label, watched in list(islice(self._resting.items(), share)):
            # To the end of the queue, or among those that are watched again.
            del self._resting[label]
            (self._resting if watched.is_idle else self._watched)[label] = watched

    def tick(self, now_s: float) -> None:
        """To be called every `autoscaling.TICK_S`: scales what should change."""
        for watched in list(self._watched.values()):
            before = watched.revision.wanted_replicas
            desired = watched.desired(now_s)
            if desired == 0 and watched.is_idle:
                self._resting[watched.label] = self._watched.pop(watched.label)
            elif desired != before:
                logger.info(
                    "%s: %d -> %d replicas: %s", watched.label, before, desired, watched.reason
                )
                watched.revision.scale(desired)
