"""What a service's requests go through: splits, shadows, logs, the transformer. Composition only.

Each part is a `ServedModel` around others. What a service does not have costs nothing: with
one revision and nothing around it, callers get the revision's own queue.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from salver.backends.local.model import LocalModel
from salver.backends.processes.service import ProcessService
from salver.backends.remote.model import RemoteModel
from salver.engine.chain import ExplainedService, TransformedService
from salver.engine.directory import ServiceEntry
from salver.engine.forwarding import SplitForwarder
from salver.engine.ports import Forwarder, ServedModel
from salver.engine.queue import Clock
from salver.engine.traffic import Target, TrafficSplit
from salver.graphs.plan import Component, ComponentDesire, LogPolicy, ServiceDesire, TrafficPlan

Revisions = Mapping[str, ServedModel]
"""The models of the revisions that run, by name."""
Logged = Callable[[ServedModel, LogPolicy, ServiceDesire, Component], ServedModel]
Shadowed = Callable[[ServedModel, ServedModel, float, str], ServedModel]
"""Takes primary, shadow, the fraction that is copied, and the service's name."""


_FOREIGN = (ProcessService, RemoteModel)
"""What answers any path, being a server of its own."""


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
        forwards = self._forwards(desire, traffic, revisions)
        first: Component = "transformer" if "transformer" in parts else "predictor"
        predictor = entry = parts["predictor"]
        if "transformer" in parts:
            transformer = parts["transformer"]
            entry = TransformedService(transformer, predictor, clock=self._clock)
            entry = self._with_log(desire, "transformer", entry)
        tagged = self._tagged(desire, traffic, revisions)
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
            tagged=tagged,
            forward=forwards.get(first),
            forwards={f"{desire.name}-{name}": each for name, each in forwards.items()}
            | {host: each for host, each in tagged.items() if isinstance(each, _FOREIGN)},
            is_opaque=_is_opaque(traffic[first], revisions),
            also_called=_names_in_repositories(revisions.values()),
        )

    def _forwards(
        self,
        desire: ServiceDesire,
        traffic: Mapping[Component, TrafficPlan],
        revisions: Revisions,
    ) -> dict[Component, Forwarder]:
        """What answers any path, by component."""
        found: dict[Component, Forwarder] = {}
        for component in desire.components:
            kind = component.plan.component
            models = [
                revisions[each.revision]
                for each in traffic[kind].targets
                if each.revision in revisions
            ]
            foreign: dict[ServedModel, Forwarder] = {
                each: each for each in models if isinstance(each, _FOREIGN)
            }
            if not foreign:
                continue
            model = self._split(desire.name, component, traffic[kind], revisions)
            if isinstance(model, TrafficSplit):
                found[kind] = SplitForwarder(model, foreign)
            else:
                found[kind] = foreign[model]
        return found

    def _tagged(
        self,
        desire: ServiceDesire,
        traffic: Mapping[Component, TrafficPlan],
        revisions: Revisions,
    ) -> dict[str, ServedModel]:
        """Tags as hosts, in the two forms that KServe's domain templates give them."""
        found: dict[str, ServedModel] = {}
        for component, plan in traffic.items():
            for each in plan.targets:
                if each.tag and each.revision in revisions:
                    name = f"{each.tag}-{desire.name}-{component}"
                    for joint in "-.":
                        host = f"{name}{joint}{desire.namespace}.{self._domain}"
                        found[host] = revisions[each.revision]
        return found

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


def _names_in_repositories(models: Iterable[ServedModel]) -> frozenset[str]:
    """What Triton's clients call the models: as their folders in the repository are called."""
    orders = [each.order for each in models if isinstance(each, LocalModel)]
    return frozenset(
        Path(order.path).name
        for order in orders
        if order is not None and order.runtime in ("triton", "tritonserver")
    )


def _is_opaque(traffic: TrafficPlan, revisions: Revisions) -> bool:
    """Whether all that answers speaks a protocol of its own."""
    models = [revisions[each.revision] for each in traffic.targets if each.revision in revisions]
    remotes = [each.remote if isinstance(each, ProcessService) else each for each in models]
    return all(
        isinstance(each, RemoteModel) and each.options.protocol == "http" for each in remotes
    )
