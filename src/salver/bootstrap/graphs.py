"""Wires graphs: what their flows are made with, what is counted of them, and who may look."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import Route

from salver.backends.local.graph_wiring import GraphTools, Logged, Shadowed
from salver.backends.remote.poster import HttpPoster
from salver.bootstrap.routers import RouterParts
from salver.control.graph_reconciler import GraphReconciler
from salver.control.resources import ObjectRef
from salver.engine.directory import ModelDirectory
from salver.engine.flow_feeds import FlowFeeds
from salver.engine.flow_inspection import FlowInspection
from salver.engine.flow_observing import CountingObserver, step_names
from salver.engine.flow_ports import FlowObserver
from salver.engine.graph_forwarder import GraphForwarder
from salver.engine.ports import Forwarder, ServedModel
from salver.engine.seldon_route import RoutedSplit
from salver.errors import ModelNotFound, RequestError
from salver.graphs.flow import GraphDesire, Service, Step, Unit, Variant
from salver.graphs.picture import Sample
from salver.graphs.shown import ShownGraph, shown_graph
from salver.inference.metadata import ModelMetadata
from salver.server.rest.feedback import FeedbackRoutes
from salver.server.rest.graphs import EdgeRoutes
from salver.server.rest.graphs_page import GraphRoutes
from salver.settings import ServeSettings
from salver.spec.kinds import KSERVE, MLOPS, RESOURCE_TYPES, SELDON
from salver.telemetry.graphs import FlowMetrics
from salver.telemetry.registry import Registry
from salver.telemetry.reported import Report, ReportedMetrics

if TYPE_CHECKING:
    from salver.telemetry.otlp import SpanSink

Metadata = ModelMetadata | None
PIPELINES = (MLOPS, "pipelines")


class FlowBoard:
    """Keeps the metrics of all flows; implements the pages' `GraphBoard`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._metrics: dict[tuple[str, str], dict[str, FlowMetrics]] = {}
        self._loop: GraphReconciler | None = None
        self._address_of: Callable[[GraphDesire], str] = lambda desire: ""

    def attach(self, loop: GraphReconciler, address_of: Callable[[GraphDesire], str]) -> None:
        """Says where graphs are to be looked up; until then there are none."""
        self._loop, self._address_of = loop, address_of

    def observer(self, desire: GraphDesire, variant: Variant) -> FlowObserver:
        """Counts what happens in a flow; what was counted of its steps before goes on."""
        key, graph = (desire.namespace, desire.name), f"{desire.namespace}/{desire.name}"
        flows = self._metrics.setdefault(key, {})
        steps = step_names(variant.flow)
        former = flows.get(variant.name)
        for name in set(former.names if former else ()) - {each.name for each in steps}:
            self._registry.discard(graph=graph, variant=variant.name, step=name)
        metrics = FlowMetrics(self._registry, graph, variant.name, steps)
        flows[variant.name] = metrics
        wanted = {each.name for each in (*desire.variants, desire.shadow) if each is not None}
        for name in [name for name in flows if name not in wanted]:
            del flows[name]
            self._registry.discard(graph=graph, variant=name)
        return CountingObserver(metrics)

    def forget(self, namespace: str, name: str) -> None:
        """The graph is gone, and its numbers with it."""
        if self._metrics.pop((namespace, name), None) is not None:
            self._registry.discard(graph=f"{namespace}/{name}")

    def names(self) -> Sequence[tuple[str, str]]:
        """See `GraphBoard`."""
        if self._loop is None:
            return ()
        return [(ref.namespace, place) for ref, place in self._loop.known()]

    def graph(self, namespace: str, name: str) -> ShownGraph | None:
        """See `GraphBoard`."""
        found = self._loop.desire_of(namespace, name) if self._loop is not None else None
        if found is None or self._loop is None:
            return None
        ref, desire = found
        flows = self._metrics.get((namespace, name), {})
        samples = {
            variant: Sample(metrics.figures(), int(metrics.requests.value), metrics.failed)
            for variant, metrics in flows.items()
        }
        serves = self._loop.serves(ref)
        return shown_graph(desire, kind_of(ref), self._address_of(desire), samples, serves=serves)


def kind_of(ref: ObjectRef) -> str:
    """What people call the type of a graph."""
    types = {(each.group, each.plural): each.kind for each in RESOURCE_TYPES}
    return types[ref.group, ref.plural]


def graph_address(base_url: str) -> Callable[[GraphDesire], str]:
    """Where callers reach a graph, as its dialect has it."""

    def address_of(desire: GraphDesire) -> str:
        place = f"{desire.namespace}/{desire.name}"
        if desire.resource[0] == SELDON and desire.default_protocol == "seldon":
            return f"{base_url}/seldon/{place}/api/v1.0/predictions"
        return f"{base_url}/serving/{place}"

    return address_of


def answers_here(directory: ModelDirectory) -> Callable[[str, str], bool]:
    """Whether a service can be asked by a graph: it is exposed, at zero or not."""

    def answers(namespace: str, name: str) -> bool:
        try:
            directory.asked(namespace, name)
        except ModelNotFound:
            return False
        return True

    return answers


def misfits(
    model_of: Callable[[str, str], ServedModel | None], directory: ModelDirectory
) -> Callable[[GraphDesire, Mapping[str, str]], str]:
    """What of a graph's edges cannot work, by what its models say; `model_of` is the machine's."""

    def metadata_of(desire: GraphDesire, revisions: Mapping[str, str], step: Step) -> Metadata:
        action = step.action
        model: ServedModel | None = None
        try:
            if isinstance(action, Unit) and action.unit in revisions:
                model = model_of(desire.namespace, revisions[action.unit])
            elif isinstance(action, Service):
                model = directory.asked(action.namespace, action.name)
            return None if model is None else model.metadata
        except RequestError:
            return None

    def misfit(desire: GraphDesire, revisions: Mapping[str, str]) -> str:
        from salver.graphs.edge_types import mismatches

        shadow = (desire.shadow,) if desire.shadow is not None else ()
        found = [
            str(each)
            for variant in (*desire.variants, *shadow)
            for each in mismatches(variant.flow, partial(metadata_of, desire, revisions))
        ]
        return "; ".join(dict.fromkeys(found))

    return misfit


class GraphParts:
    """What flows are made with on this machine, and who is told of them. Made in a running loop."""

    def __init__(
        self,
        directory: ModelDirectory,
        settings: ServeSettings,
        registry: Registry,
        *,
        routers: RouterParts,
        spans: SpanSink | None = None,
    ) -> None:
        """`spans` takes those of steps."""
        self._spans = spans
        self.routers = routers
        self._directory = directory
        self._settings = settings
        self.board = FlowBoard(registry)
        self._reported = ReportedMetrics(registry)
        self._registry = registry
        self._feeds = FlowFeeds(
            directory.asked,
            clock=time.monotonic,
            scheduler=asyncio.get_running_loop(),
            on_dropped=self._count_dropped,
            timeout_s=settings.request_timeout,
        )
        self.inspection = FlowInspection(now=time.time, new_id=_new_id, publish=self._feeds.publish)
        self._poster = HttpPoster(time.monotonic, registry)

    def routes(self, authorise: Callable[[Request], None]) -> list[Route]:
        """What is shown of graphs; `authorise` raises `Refusal`."""
        settings = self._settings
        feedback = FeedbackRoutes(
            self.routers.routers,
            max_body_size=settings.max_body_size,
            admin_key=settings.admin_key,
        )
        return [
            *feedback.routes(),
            *EdgeRoutes(self.inspection, authorise).routes(),
            *GraphRoutes(self.board, clock=time.monotonic).routes(),
        ]

    def tools(self, *, logged: Logged, shadowed: Shadowed) -> GraphTools:
        """For the wiring of graphs."""
        return GraphTools(
            clock=time.monotonic,
            scheduler=asyncio.get_running_loop(),
            random_number=random.random,
            new_id=_new_id,
            find=self._find,
            domain=self._settings.domain,
            logged=logged,
            shadowed=shadowed,
            routed=partial(RoutedSplit, random_number=random.random),
            observers=self._observers,
            reports=self._report,
            choosers=self.routers.choosers,
            forwards=self._forwarder,
            connect=self._connect,
            forget=self._forget,
            poster=lambda desire: self._poster.knowing(desire.headers),
        )

    def start(self) -> None:
        """Looks after the routers from now on."""
        self.routers.routers.start()

    async def close(self) -> None:
        """Ends posts; all that was learned is on disk."""
        await self._poster.close()
        await self.routers.close()

    def _find(self, desire: GraphDesire) -> Callable[[str, str], ServedModel]:
        is_pipeline = desire.resource == PIPELINES
        return self._directory.asked_as_by_callers if is_pipeline else self._directory.asked

    def _observers(self, desire: GraphDesire, variant: Variant) -> list[FlowObserver]:
        found = [self.board.observer(desire, variant)]
        if desire.resource == PIPELINES and variant is not desire.shadow:
            # What went over a pipeline's edges may be looked at.
            found.append(self.inspection.observer(desire.namespace, desire.name, variant.flow))
        if self._spans is not None:
            found.append(_tracing(desire, variant, self._spans))
        return found

    def _report(self, desire: GraphDesire, variant: Variant) -> Report:
        flows = (*desire.variants, *((desire.shadow,) if desire.shadow is not None else ()))
        predictors = [each.name for each in flows]
        return self._reported.report(desire.namespace, desire.name, variant.name, predictors)

    def _forwarder(self, model: ServedModel, desire: GraphDesire) -> Forwarder | None:
        """KServe's graphs are asked at their own address, whatever the path."""
        if desire.resource != (KSERVE, "inferencegraphs"):
            return None
        return GraphForwarder(
            model,
            clock=time.monotonic,
            timeout_s=self._settings.request_timeout,
            max_body_bytes=self._settings.max_body_size,
        )

    def _count_dropped(self, namespace: str, name: str) -> None:
        self._registry.counter(
            "salver_graph_feeds_dropped_total",
            "Messages of other graphs that a graph had no room for.",
            graph=f"{namespace}/{name}",
        ).value += 1

    def _connect(self, desire: GraphDesire) -> None:
        self._feeds.connect(desire)
        self.routers.connect(desire)

    def _forget(self, namespace: str, name: str) -> None:
        self.board.forget(namespace, name)
        self._reported.forget(namespace, name)
        self.inspection.forget(namespace, name)
        self.routers.forget(namespace, name)
        self._feeds.disconnect(namespace, name)


def _tracing(desire: GraphDesire, variant: Variant, spans: SpanSink) -> FlowObserver:
    from salver.engine.flow_tracing import SpanTools, TracingObserver

    tools = SpanTools(spans.record, random.getrandbits, time.time_ns)
    return TracingObserver(f"{desire.namespace}/{desire.name}", variant.name, variant.flow, tools)


def _new_id() -> str:
    return str(uuid.uuid4())
