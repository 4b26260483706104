"""What the control loop may ask of a backend: revisions to run, services to expose.

A machine is told what it should run and says what it sees; it decides nothing about
traffic. Calls return at once, work goes on behind them, and changes are announced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

import msgspec

from salver.graphs.flow import GraphDesire
from salver.graphs.plan import Component, ComponentPlan, ServiceDesire, TrafficPlan


class Phase(Enum):
    """How far a revision has come on its machine."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    DOWNLOADING = "Downloading"
    BUILDING = "BuildingEnvironment"
    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"


Report = Callable[[Phase, str], None]
"""Takes how far a revision has come, and a detail for people."""


class RevisionOrder(msgspec.Struct, frozen=True):
    """One revision that is to run: whose it is, and its plan.

    `is_proven`: it has served before, so that it may wait for its first request with no replica.
    `graph`: the graph whose unit it is, if it is one.
    """

    name: str
    namespace: str
    service: str
    number: int
    plan: ComponentPlan
    is_proven: bool = False
    graph: str = ""

    @property
    def component(self) -> Component:
        """Which component of the service it is a revision of."""
        return self.plan.component


class Observation(msgspec.Struct, frozen=True):
    """What a machine sees of one revision. `detail`: progress, or the reason of a failure."""

    phase: Phase
    detail: str = ""
    replicas: int = 0
    wanted_replicas: int = 0
    failed_replicas: int = 0
    notes: tuple[str, ...] = ()


UNSEEN = Observation(Phase.UNKNOWN)


class Machine(Protocol):
    """Runs revisions. Revisions are known by (namespace, name)."""

    def start(self, order: RevisionOrder) -> None:
        """Brings the revision up; does nothing if it is up or on its way."""

    def retire(self, namespace: str, name: str) -> None:
        """Ends the revision once its requests are answered."""

    def observe(self, namespace: str, name: str) -> Observation:
        """What is seen of it now; `UNSEEN` if it was never started."""

    def expose(
        self, desire: ServiceDesire, traffic: Mapping[Component, TrafficPlan], address: str
    ) -> None:
        """Routes the service's requests by this traffic, from the next request on."""

    def withdraw(self, namespace: str, name: str) -> None:
        """The service has no address any more."""

    def expose_graph(self, desire: GraphDesire, units: Mapping[str, str], address: str) -> None:
        """Routes the graph's requests through these flows, from the next request on.

        `units` are the revisions that its units are, all of them ready. What was exposed under
        its name before goes on for the requests that are amid its steps.
        """

    def withdraw_graph(self, namespace: str, name: str) -> None:
        """The graph has no address any more; a service that has taken its name keeps that."""
