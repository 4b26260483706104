"""Feedback on a graph: who hears of it, what routers learn, when it is acknowledged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.flows import AskedCall, Bench, JsonModel, plus, service

from salver.engine.executor import GraphModel
from salver.engine.flow_feedback import on_path
from salver.engine.flow_ports import Bindings, Choosing, Message
from salver.errors import ErrorKind, Unavailable
from salver.graphs.flow import Edge, Flow, Learned, SeldonNode, Step
from salver.protocol.bundle import StepReply, pack, unpack_call
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import Codec

LEAVES = (SeldonNode("left", hears_feedback=True), SeldonNode("right", hears_feedback=True))
TREE = SeldonNode("top", children=(SeldonNode("router", router="router", children=LEAVES),))


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ({"router": 0}, ["top", "router", "left"]),
        ({"router": 1}, ["top", "router", "right"]),
        ({"router": -1}, ["top", "router", "left", "right"]),
        ({"router": -2}, ["top", "router"]),
        ({"router": 7}, ["top", "router"]),
        ({}, ["top", "router", "left", "right"]),
    ],
)
def test_the_path_is_what_the_routing_says(routing: dict[str, int], expected: list[str]) -> None:
    assert [node.name for node in on_path(TREE, routing)] == expected
    assert list(on_path(None, routing)) == []


class Taught:
    """A router that learns; its disk is as quick as told."""

    def __init__(self, problem: str | None = "") -> None:
        self.rewards: list[tuple[str, float, int | None]] = []
        self.contexts: list[Message | None] = []
        self._problem = problem

    def choose(self, choosing: Choosing) -> int:
        return 1

    def reward(
        self, run_id: str, reward: float, *, arm: int | None = None, context: Message | None = None
    ) -> None:
        if reward < 0:
            raise Unavailable("the disk is full")
        self.rewards.append((run_id, reward, arm))
        self.contexts.append(context)

    def when_durable(self, done: Callable[[str], object]) -> None:
        if self._problem is not None:
            done(self._problem)


class Hearing(JsonModel):
    """A steps worker whose components hear of feedback."""

    heard: list[tuple[str, str, int | None]]
    reported: list[tuple[str, str]]

    def _answer(self, call: Any) -> None:
        head, _ = unpack_call(call.body)
        (invocation,) = head.calls
        self.heard.append((invocation.step, invocation.method, head.routing))
        meta = {invocation.step: {"metrics": [{"key": "heard", "value": 1}]}}
        call.deliver(pack(StepReply(seconds=[0.0], meta=meta), []), 0)


def learning_graph(bench: Bench, router: Taught) -> GraphModel:
    bench.add("left", plus(1))
    bench.add("right", plus(2))
    hearing = Hearing(bench.loop)
    hearing.heard, hearing.reported = [], []
    bench.units["py"] = hearing
    leaves = tuple(SeldonNode(each, "py", each, hears_feedback=True) for each in ("left", "right"))
    steps = (
        Step("router", Learned("thompson", ("left", "right"))),
        service("left", Edge("router", branch=0)),
        service("right", Edge("router", branch=1)),
    )
    tree = SeldonNode("router", router="router", children=leaves)
    flow = Flow("g", steps, (Edge("left"), Edge("right")), tree=tree)
    bindings = Bindings(
        bench.units,
        bench._find,
        choosers={"router": router},
        reported=lambda name, metrics: hearing.reported.append((name, metrics[0]["key"])),
    )
    return GraphModel(
        "g",
        "1",
        flow,
        bindings,
        clock=bench.loop.clock,
        scheduler=bench.loop,
        random_number=lambda: 0.5,
        new_id=lambda: "new",
    )


def give(bench: Bench, graph: GraphModel, reward: float = 1.0) -> AskedCall:
    feedback = {
        "request": {"data": {"ndarray": [[1.0]]}},
        "response": {"meta": {"puid": "p1", "routing": {"router": 1}}},
        "reward": reward,
    }
    tag = marked(int(Codec.SELDON_JSON), Operation.FEEDBACK)
    call = AskedCall(json.dumps(feedback).encode(), tag=tag)
    graph.submit(call)
    bench.loop.run_until(bench.loop.now_s + 1.0)
    return call


def test_a_reward_teaches_the_router_and_reaches_the_nodes_on_the_path() -> None:
    bench, router = Bench(), Taught()
    graph = learning_graph(bench, router)
    assert give(bench, graph).json["meta"]["puid"] == "p1"
    assert router.rewards == [("p1", 1.0, 1)]
    context = router.contexts[0]
    assert context is not None and json.loads(bytes(context.body)) == {"data": {"ndarray": [[1.0]]}}
    hearing = bench.units["py"]
    assert isinstance(hearing, Hearing) and hearing.heard == [("right", "send_feedback", None)]
    assert hearing.reported == [("right", "heard")]


def test_feedback_is_not_acknowledged_before_it_is_on_disk() -> None:
    bench, router = Bench(), Taught(problem=None)
    graph = learning_graph(bench, router)
    call = give(bench, graph)
    assert not call.answers and not call.failures
    bench.loop.run_until(31.0)
    assert call.failure.kind is ErrorKind.DEADLINE_EXCEEDED


def test_feedback_that_cannot_be_kept_is_refused() -> None:
    bench = Bench()
    call = give(bench, learning_graph(bench, Taught(problem="the disk is full: free some space")))
    assert call.failure.kind is ErrorKind.UNAVAILABLE and "disk is full" in call.failure.message
    bench = Bench()
    call = give(bench, learning_graph(bench, Taught()), reward=-1.0)
    assert call.failure.kind is ErrorKind.UNAVAILABLE


def test_feedback_in_another_protocol_is_unsupported() -> None:
    bench = Bench()
    graph = learning_graph(bench, Taught())
    call = AskedCall(b"{}", tag=marked(int(Codec.V2_JSON), Operation.FEEDBACK))
    graph.submit(call)
    assert call.failure.kind is ErrorKind.UNSUPPORTED


def test_a_learned_choice_tells_the_id_that_rewards_name() -> None:
    bench = Bench()
    graph = learning_graph(bench, Taught())
    call = bench.ask(graph, {"instances": [1]})
    assert call.json == {"predictions": [3]}
    assert call.added == {b"x-request-id": b"new"}
