"""A `Machine` in memory: revisions are as far as the test says."""

from __future__ import annotations

from collections.abc import Mapping

from salver.control.ports import UNSEEN, Observation, Phase, RevisionOrder
from salver.graphs.flow import GraphDesire
from salver.graphs.plan import Component, ServiceDesire, TrafficPlan


class FakeMachine:
    """Remembers what it was told, in order."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], Observation] = {}
        self.orders: dict[str, RevisionOrder] = {}
        self.exposed: dict[tuple[str, str], Mapping[Component, TrafficPlan]] = {}
        self.graphs: dict[tuple[str, str], tuple[GraphDesire, Mapping[str, str]]] = {}
        self.said: list[str] = []

    def start(self, order: RevisionOrder) -> None:
        key = (order.namespace, order.name)
        if key not in self.seen:
            self.said.append(f"start {order.name}")
            self.seen[key] = Observation(Phase.PENDING)
            self.orders[order.name] = order

    def retire(self, namespace: str, name: str) -> None:
        if self.seen.pop((namespace, name), None) is not None:
            self.said.append(f"retire {name}")

    def observe(self, namespace: str, name: str) -> Observation:
        return self.seen.get((namespace, name), UNSEEN)

    def expose(
        self, desire: ServiceDesire, traffic: Mapping[Component, TrafficPlan], address: str
    ) -> None:
        shown = [
            f"{target.revision}={target.percent}"
            for plan in traffic.values()
            for target in plan.targets
        ]
        self.said.append(f"expose {desire.name} {' '.join(shown)}")
        self.exposed[desire.namespace, desire.name] = traffic

    def withdraw(self, namespace: str, name: str) -> None:
        if self.exposed.pop((namespace, name), None) is not None:
            self.said.append(f"withdraw {name}")

    def expose_graph(self, desire: GraphDesire, units: Mapping[str, str], address: str) -> None:
        shares = " ".join(f"{each.name}={each.percent:g}" for each in desire.variants)
        self.said.append(f"expose {desire.name} {shares} of {','.join(units.values()) or 'none'}")
        self.graphs[desire.namespace, desire.name] = (desire, units)

    def withdraw_graph(self, namespace: str, name: str) -> None:
        if self.graphs.pop((namespace, name), None) is not None:
            self.said.append(f"withdraw {name}")

    def become(self, name: str, phase: Phase, detail: str = "", replicas: int = 1) -> None:
        """The revision of that name is so far now."""
        ready = replicas if phase is Phase.READY else 0
        self.seen["default", name] = Observation(phase, detail, ready, replicas)
