"""The spans of a graph's steps: which there are, below which, from when to when."""

from __future__ import annotations

import itertools
import json

from tests.unit.engine.flows import AskedCall, Bench, StepsModel, plus, service

from salver.engine.chain import SubCall
from salver.engine.executor import GraphModel
from salver.engine.flow_observing import CountingObserver, observing, step_names
from salver.engine.flow_ports import Failure, Message
from salver.engine.flow_tracing import SpanTools, TracingObserver
from salver.errors import ErrorKind
from salver.graphs.flow import (
    Address,
    Edge,
    Flow,
    Function,
    Gather,
    Step,
    Weights,
)
from salver.protocol.wire_codes import Codec
from salver.telemetry.graphs import FlowMetrics
from salver.telemetry.otlp import SpanRecord
from salver.telemetry.registry import Registry
from salver.telemetry.trace import TraceContext, parse_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROOT = TraceContext(TRACE, "b7ad6b7169203331", is_sampled=True)
WALL_S = 1_700_000_000
MS = 1_000_000


class TracedCall(AskedCall):
    """A caller's call whose trace is recorded."""

    __slots__ = ()

    @property
    def span(self) -> TraceContext:
        return ROOT


class Traced:
    """A bench whose graphs make spans."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.spans: list[SpanRecord] = []
        self._numbers = itertools.count(1)

    def tools(self) -> SpanTools:
        clock = self.bench.loop.clock
        return SpanTools(
            self.spans.append,
            lambda bits: next(self._numbers),
            lambda: WALL_S * 1000 * MS + round(clock() * 1000) * MS,
        )

    def graph(self, *steps: Step, name: str = "g", output: str = "") -> GraphModel:
        flow = Flow(name, steps, (Edge(output or steps[-1].name),))
        self.bench.observer = TracingObserver(f"ns/{name}", "main", flow, self.tools())
        return self.bench.of(flow)

    def ask(self, graph: GraphModel, call: AskedCall) -> AskedCall:
        graph.submit(call)
        self.bench.loop.run_until(self.bench.loop.now_s + 100.0)
        return call

    def named(self) -> dict[str, SpanRecord]:
        return {each.name: each for each in self.spans}

    def times(self) -> dict[str, tuple[int, int]]:
        """From when to when, in milliseconds since the start."""
        began = WALL_S * 1000
        return {
            each.name: (each.start_ns // MS - began, each.end_ns // MS - began)
            for each in self.spans
        }


def traced_call(**headers: str) -> TracedCall:
    return TracedCall(json.dumps({"instances": [1]}).encode(), headers=headers)


def test_each_step_is_a_span_with_its_times_and_its_sizes() -> None:
    traced = Traced()
    traced.bench.add("a", plus(1), seconds=0.1)
    traced.bench.add("b", plus(1), seconds=0.2)
    call = traced.ask(traced.graph(service("a"), service("b", Edge("a"))), traced_call())
    assert call.json == {"predictions": [3]}
    assert traced.times() == {"step a": (0, 100), "step b": (100, 300)}
    first, second = traced.spans
    assert first.context.trace_id == second.context.trace_id == TRACE
    assert first.parent_span_id == second.parent_span_id == ROOT.span_id
    assert first.context.span_id != second.context.span_id
    assert first.attributes == {
        "salver.graph": "ns/g",
        "salver.graph.variant": "main",
        "salver.step": "a",
        "salver.step.kind": "service",
        "salver.step.target": "ns/a",
        "salver.step.bytes_in": len(b'{"instances": [1]}'),
        "salver.step.bytes_out": len(b'{"predictions": [2]}'),
    }
    assert all(each.is_internal and not each.error for each in traced.spans)


def test_a_request_that_is_not_traced_has_no_spans() -> None:
    traced = Traced()
    traced.bench.add("a", plus(1))
    graph = traced.graph(service("a"))
    assert traced.ask(graph, AskedCall(b'{"instances": [1]}')).json == {"predictions": [2]}
    assert traced.spans == []


def test_a_request_that_is_not_traced_is_watched_by_the_others_alone() -> None:
    traced = Traced()
    flow = Flow("g", (service("a"),), (Edge("a"),))
    counting = CountingObserver(FlowMetrics(Registry(), "ns/g", "main", step_names(flow)))
    both = observing([counting, TracingObserver("ns/g", "main", flow, traced.tools())])
    graph = traced.bench.of(flow)
    call = AskedCall(b"{}")
    request = Message(int(Codec.V1_JSON), 0, b"{}", is_request=True)
    assert both is not None
    assert both.begin("", request, call) is counting
    assert both.begin("", request, traced_call()) not in (None, counting, both)
    assert graph.in_flight == 0


def test_what_a_step_asks_is_below_the_step() -> None:
    traced = Traced()
    traced.bench.add("inner-model", plus(1), seconds=0.1)
    inner = traced.graph(Step("deep", service("inner-model").action), name="inner")
    traced.bench.models["inner"] = inner
    call = traced.ask(traced.graph(service("inner"), name="outer"), traced_call())
    assert call.json == {"predictions": [2]}
    spans = traced.named()
    assert spans["step inner"].parent_span_id == ROOT.span_id
    assert spans["step deep"].parent_span_id == spans["step inner"].context.span_id
    assert spans["step deep"].attributes["salver.graph"] == "ns/inner"
    assert traced.times() == {"step deep": (0, 100), "step inner": (0, 100)}


def test_a_step_s_headers_name_its_span() -> None:
    traced = Traced()
    model = traced.bench.add("a", plus(1))
    asked = traced_call(traceparent=f"00-{TRACE}-{'1' * 16}-01", other="x")
    traced.ask(traced.graph(service("a")), asked)
    (call,) = model.calls
    # The call is over, and its span with it: another one would be made now.
    (span,) = traced.spans
    assert call.header(b"other") == b"x"
    assert span.parent_span_id == ROOT.span_id


def test_the_header_of_a_step_that_is_under_way_is_its_span_s() -> None:
    traced = Traced()
    seen: list[bytes] = []
    model = traced.bench.add("a", plus(1))

    class Looking:
        name, version, is_ready = "a", "1", True
        metadata, status = model.metadata, model.status

        def submit(self, call: SubCall) -> None:
            seen.append(call.header(b"traceparent"))
            seen.extend(value for name, value in call.headers() if name == b"traceparent")
            model.submit(call)

    traced.bench.models["a"] = Looking()  # type: ignore[assignment]
    traced.ask(traced.graph(service("a")), traced_call())
    (span,) = traced.spans
    contexts = [parse_traceparent(each.decode()) for each in seen]
    assert contexts == [span.context, span.context]


def test_a_failure_is_the_span_s_error() -> None:
    traced = Traced()
    failure = Failure(ErrorKind.UNAVAILABLE, "it is down", 503, b"down")
    traced.bench.add("a", failure=failure, seconds=0.1)
    traced.ask(traced.graph(service("a")), traced_call())
    (span,) = traced.spans
    assert span.error == "it is down"
    assert span.attributes["error.type"] == "unavailable"
    assert span.attributes["http.response.status_code"] == 503
    assert traced.times() == {"step a": (0, 100)}


def test_a_choice_says_which_branch_and_where_it_leads() -> None:
    traced = Traced()
    for name in "ab":
        traced.bench.add(name, plus(1))
    steps = (
        Step("pick", Weights((0, 100))),
        service("a", Edge("pick", branch=0)),
        service("b", Edge("pick", branch=1)),
    )
    flow = Flow("g", steps, (Edge("a"), Edge("b")))
    traced.bench.observer = TracingObserver("ns/g", "main", flow, traced.tools())
    traced.ask(traced.bench.of(flow), traced_call())
    assert list(traced.named()) == ["step pick", "step b"]
    attributes = traced.named()["step pick"].attributes
    assert (attributes["salver.step.branch"], attributes["salver.step.chosen"]) == (1, "b")
    assert attributes["salver.step.kind"] == "weights"


def test_functions_asked_as_one_are_spans_one_after_the_other() -> None:
    traced = Traced()
    functions = {"one": lambda rows: [row + 1 for row in rows], "two": lambda rows: rows}
    traced.bench.units["steps"] = StepsModel(traced.bench.loop, functions)
    steps = (
        Step("one", Function("steps", "one")),
        Step("two", Function("steps", "two"), (Edge("one"),)),
    )
    call = traced.ask(traced.graph(*steps), traced_call())
    assert call.json == {"predictions": [2]}
    assert traced.times() == {"step one": (-2, -1), "step two": (-1, 0)}
    first, second = traced.spans
    assert "salver.step.bytes_in" in first.attributes
    assert "salver.step.bytes_in" not in second.attributes
    assert second.attributes["salver.step.target"] == "two of steps"


def test_a_step_that_asks_nobody_takes_no_time() -> None:
    traced = Traced()
    traced.bench.add("a", plus(1), seconds=0.1)
    steps = (service("a"), Step("all", Gather(("a",)), (Edge("a"),)))
    traced.ask(traced.graph(*steps), traced_call())
    assert traced.times() == {"step a": (0, 100), "step all": (100, 100)}


def test_what_nobody_waits_for_any_more_ends_with_the_request() -> None:
    traced = Traced()
    traced.bench.add("slow", plus(1), seconds=5.0)
    inner = traced.graph(service("slow"), name="inner")
    traced.bench.models["inner"] = inner
    traced.bench.add("fast", plus(1), seconds=0.1)
    flow = Flow("g", (service("inner"), service("fast")), (Edge("inner"), Edge("fast")))
    traced.bench.observer = TracingObserver("ns/g", "main", flow, traced.tools())
    call = traced.ask(traced.bench.of(flow), traced_call())
    assert call.json == {"predictions": [2]}
    spans = traced.named()
    assert spans["step inner"].attributes["salver.step.abandoned"] is True
    assert traced.times()["step inner"] == (0, 100)
    assert traced.times()["step fast"] == (0, 100)


def test_an_address_is_named_without_what_may_be_secret() -> None:
    url = "https://me:secret@example.com/predict?key=secret"
    flow = Flow("g", (Step("a", Address(url)),), (Edge("a"),))
    observer = TracingObserver("ns/g", "main", flow, Traced().tools())
    assert observer.attributes[0]["salver.step.target"] == "https://example.com/predict"
