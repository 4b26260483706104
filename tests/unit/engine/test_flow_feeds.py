"""Data of graphs that other graphs take: joined by request, beside the request path."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes import FakeModel

import salver.engine.flow_feeds as flow_feeds
from salver.engine.flow_feeds import FlowFeeds
from salver.engine.flow_ports import Message
from salver.errors import ErrorKind, ModelNotFound
from salver.graphs.flow import Edge, Feed, FeedJoin, GraphDesire
from salver.protocol.wire_codes import Codec


class Turns:
    """An event loop's turns, made one by one; a virtual clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: list[Callable[[], object]] = []
        self.later: list[tuple[float, Callable[[], object]]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self.later.append((self.now + delay, callback))

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for each in soon:
            each()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [each for at, each in self.later if at <= self.now]
        self.later = [(at, each) for at, each in self.later if at > self.now]
        for each in due:
            each()


class Bus:
    """Feeds into one graph, `taker`, and what it was asked."""

    def __init__(self, *feeds: Feed, join: FeedJoin | None = None) -> None:
        self.turns = Turns()
        self.taker = FakeModel("taker")
        self.taker.answer = lambda call: None
        self.dropped: list[tuple[str, str]] = []
        self.feeds = FlowFeeds(
            self._find,
            clock=lambda: self.turns.now,
            scheduler=self.turns,
            on_dropped=lambda *name: self.dropped.append(name),
            timeout_s=10.0,
        )
        self.feeds.connect(
            GraphDesire(
                ("", "pipelines"),
                "default",
                "taker",
                (),
                feeds=feeds,
                feeds_join=join or FeedJoin(),
            )
        )

    def _find(self, namespace: str, name: str) -> Any:
        if (namespace, name) != ("default", "taker"):
            raise ModelNotFound(name)
        return self.taker

    def put(self, graph: str, run_id: str, step: str = "", end: str = "outputs", **t: int) -> None:
        tensors = [
            {"name": name, "shape": [1], "datatype": "INT32", "data": [value]}
            for name, value in t.items()
        ]
        body = json.dumps({"outputs": tensors}).encode()
        message = Message(int(Codec.V2_JSON), 0, body, is_request=False)
        self.feeds.publish("default", graph, step, end, run_id, message)
        self.turns.turn()

    @property
    def asked(self) -> list[tuple[str, dict[str, int]]]:
        return [
            (
                call.header(b"x-request-id").decode(),
                {each["name"]: each["data"][0] for each in json.loads(call.body)["inputs"]},
            )
            for call in self.taker.calls
        ]


def feed(graph: str, is_trigger: bool = False, **edge: Any) -> Feed:
    return Feed("default", graph, Edge(**edge), is_trigger)


def test_an_answer_becomes_a_request_in_a_later_turn() -> None:
    bus = Bus(feed("one", renames=(("OUTPUT0", "INPUT0"),)))
    body = b'{"outputs":[{"name":"OUTPUT0","shape":[1],"datatype":"INT32","data":[7]}]}'
    message = Message(int(Codec.V2_JSON), 0, body, is_request=False)
    bus.feeds.publish("default", "one", "", "outputs", "run", message)
    assert bus.asked == []
    bus.turns.turn()
    assert bus.asked == [("run", {"INPUT0": 7})]


def test_only_the_edge_that_was_named_is_taken() -> None:
    bus = Bus(feed("one", source="a", end="outputs", tensor="X", rename="Y"))
    bus.put("one", "1", X=1)
    bus.put("two", "1", "a", X=1)
    bus.put("one", "1", "a", "inputs", X=1)
    bus.put("one", "1", "a", Z=1)
    assert bus.asked == []
    bus.put("one", "2", "a", X=5, Z=1)
    assert bus.asked == [("2", {"Y": 5})]


def test_an_inner_join_waits_for_all_that_comes_of_one_request() -> None:
    bus = Bus(feed("one", tensor="A"), feed("two", tensor="B"))
    bus.put("one", "1", A=1)
    bus.put("two", "2", B=20)
    assert bus.asked == []
    bus.put("two", "1", B=10)
    assert bus.asked == [("1", {"A": 1, "B": 10})]


def test_an_any_join_takes_a_request_once() -> None:
    bus = Bus(feed("one"), feed("two"), join=FeedJoin("any"))
    bus.put("two", "1", B=1)
    bus.put("one", "1", A=1)
    assert bus.asked == [("1", {"B": 1})]


def test_an_outer_join_takes_what_has_come_when_its_window_is_over() -> None:
    bus = Bus(feed("one"), feed("two"), join=FeedJoin("outer", window_s=0.5))
    bus.put("one", "1", A=1)
    bus.turns.pass_time(0.4)
    assert bus.asked == []
    bus.turns.pass_time(0.2)
    assert bus.asked == [("1", {"A": 1})]


def test_a_trigger_must_be_there_and_is_not_given() -> None:
    bus = Bus(feed("one"), feed("two", is_trigger=True))
    bus.put("one", "1", A=1)
    assert bus.asked == []
    bus.put("two", "1", B=1)
    assert bus.asked == [("1", {"A": 1})]


def test_no_more_are_asked_at_once_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_feeds, "MOST_AT_WORK", 2)
    bus = Bus(feed("one"))
    for number in range(4):
        bus.put("one", str(number), A=number)
    assert [run for run, _ in bus.asked] == ["0", "1"]
    bus.taker.calls[0].deliver(b"", 0)
    bus.taker.calls[1].fail(ErrorKind.MODEL_FAILED, "no")
    bus.turns.turn()
    assert [run for run, _ in bus.asked] == ["0", "1", "2", "3"]
    assert bus.dropped == []


def test_what_is_too_much_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_feeds, "MOST_WAITING", 2)
    bus = Bus(feed("one"), feed("two"))
    for number in range(3):
        bus.put("one", str(number), A=number)
    assert bus.dropped == [("default", "taker")]
    bus.put("two", "0", B=1)
    assert bus.asked == []
    bus.put("two", "2", B=1)
    assert [run for run, _ in bus.asked] == ["2"]


def test_a_graph_that_is_gone_takes_nothing() -> None:
    bus = Bus(feed("one"))
    bus.feeds.disconnect("default", "taker")
    bus.put("one", "1", A=1)
    assert bus.asked == []
    assert bus.turns.soon == []
