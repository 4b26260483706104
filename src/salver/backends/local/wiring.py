"""What a service's requests go through: splits, shadows, logs, the transformer. Composition only.

Each part is a `ServedModel` around others. What a service does not have costs nothing: with
one revision and nothing around it, callers get the revision's own queue.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from salver.engine.chain import ExplainedService, TransformedService
from salver.engine.directory import ServiceEntry
from salver.engine.ports import ServedModel
from salver.engine.queue import Clock
from salver.engine.traffic import Target, TrafficSplit
from salver.graph.plan import Component, ComponentDesire, LogPolicy, ServiceDesire, TrafficPlan

Revisions = Mapping[str, ServedModel]
"""The models of the revisions that run, by name."""
Logged = Callable[[ServedModel, LogPolicy, ServiceDesire, Component], ServedModel]
Shadowed = Callable[[ServedModel, ServedModel, float, str], ServedModel]
"""Takes primary, shadow, the fraction that is copied, and the service's name."""


class Wiring:
    """Makes entries of services."""

    def __init__(self, *, clock: Clock, logged: Logged, shadowed: Shadowed, domain: str) -> None:
        self._clock = clock
        self._logged = logged
        self._shadowed = shadowed
        self._domain = domain

    def entry(
        self,
        desire: ServiceDesire,
        traffic: Mapping[Component, TrafficPlan],
        revisions: Revisions,
    ) -> ServiceEntry:
        """The service as callers meet it."""
        parts = {
            component.plan.component: self._component(
                desire, component, traffic[component.plan.component], revisions
            )
            for component in desire.components
        }
        predictor = entry = parts["predictor"]
        if "transformer" in parts:
            transformer = parts["transformer"]
            entry = TransformedService(transformer, predictor, clock=self._clock)
            entry = self._with_log(desire, "transformer", entry)
        explainer = parts.get("explainer")
        if explainer is not None:
            explainer = ExplainedService(explainer, clock=self._clock)
        return ServiceEntry(
            desire.namespace,
            desire.name,
            entry,
            explainer=explainer,
            components={f"{desire.name}-{name}": model for name, model in parts.items()},
            hosts=(
                f"{desire.name}-{desire.namespace}.{self._domain}",
                f"{desire.name}.{desire.namespace}.{self._domain}",
            ),
        )

    def _component(
        self,
        desire: ServiceDesire,
        component: ComponentDesire,
        traffic: TrafficPlan,
        revisions: Revisions,
    ) -> ServedModel:
        model = self._split(desire.name, component, traffic, revisions)
        if traffic.shadow and traffic.shadow in revisions:
            fraction = traffic.shadow_percent / 100
            model = self._shadowed(model, revisions[traffic.shadow], fraction, desire.name)
        if component.plan.component == "transformer":
            return model
        return self._with_log(desire, component.plan.component, model)

    def _with_log(self, desire: ServiceDesire, name: Component, model: ServedModel) -> ServedModel:
        component = desire.component(name)
        if component is None or component.plan.logging is None:
            return model
        return self._logged(model, component.plan.logging, desire, name)

    def _split(
        self,
        name: str,
        component: ComponentDesire,
        traffic: TrafficPlan,
        revisions: Revisions,
    ) -> ServedModel:
        targets = [each for each in traffic.targets if each.revision in revisions]
        if len(targets) == 1 and not targets[0].tag:
            return revisions[targets[0].revision]
        return TrafficSplit(
            name,
            [
                Target(each.revision, each.percent, revisions[each.revision], each.tag)
                for each in targets
            ],
            random_number=random.random,
            sticky=component.sticky,
        )
