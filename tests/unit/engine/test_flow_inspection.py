"""What is kept of messages on edges, and for how long."""

from __future__ import annotations

from salver.engine.call import Call
from salver.engine.flow_inspection import MOST_MESSAGE_BYTES, FlowInspection, GraphInspection, Topic
from salver.engine.flow_ports import Failure, Message
from salver.errors import ErrorKind
from salver.graphs.flow import Edge, Flow, Service, Step
from salver.protocol.wire_codes import Codec

FLOW = Flow(
    "chain",
    (Step("a", Service("default", "a")), Step("b", Service("default", "b"), (Edge("a"),))),
    (Edge("b"),),
)

CALL = Call(int(Codec.V2_JSON), 0, b"", arrived_s=0.0, deadline_s=1.0)


def message(text: bytes = b"{}") -> Message:
    return Message(int(Codec.V2_JSON), 0, text, is_request=True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def inspection(**more: int) -> FlowInspection:
    ids = iter(range(1000))
    return FlowInspection(now=Clock(), new_id=lambda: f"new-{next(ids)}", **more)


def topics(found: FlowInspection, name: str = "chain") -> dict[str, Topic]:
    kept = found.topics("default", name)
    assert kept is not None
    return {topic.name: topic for topic in kept}


def bodies(topic: Topic) -> list[bytes]:
    return [bytes(each.body) for kept in topic.kept for each in kept.messages]


def ask(observer: GraphInspection, run_id: str, text: bytes) -> None:
    run = observer.begin(run_id, message(text), CALL)
    run.on_answer(0, (message(text),), message(text + b"a"), 0.1)
    run.on_answer(1, (message(text + b"a"),), message(text + b"ab"), 0.1)
    run.on_end(message(text + b"ab"), 0.2)


def test_each_edge_is_a_topic_with_the_messages_of_a_run() -> None:
    found = inspection()
    ask(found.observer("default", "chain", FLOW), "run", b"x")
    kept = topics(found)
    assert list(kept) == [
        "seldon.default.pipeline.chain.inputs",
        "seldon.default.model.a.inputs",
        "seldon.default.model.a.outputs",
        "seldon.default.model.b.inputs",
        "seldon.default.model.b.outputs",
        "seldon.default.pipeline.chain.outputs",
        "seldon.default.errors.errors",
    ]
    assert [bodies(each) for each in kept.values()] == [
        [b"x"],
        [b"x"],
        [b"xa"],
        [b"xa"],
        [b"xab"],
        [b"xab"],
        [],
    ]
    (first,) = kept["seldon.default.model.b.outputs"].kept
    assert (first.run_id, first.time_s) == ("run", 100.0)


def test_runs_that_are_amid_each_other_are_told_apart() -> None:
    found = inspection()
    observer = found.observer("default", "chain", FLOW)
    one, two = observer.begin("one", message(), CALL), observer.begin("", message(), CALL)
    two.on_answer(0, (), message(b"2"), 0.1)
    one.on_answer(0, (), message(b"1"), 0.1)
    kept = topics(found)["seldon.default.model.a.outputs"].kept
    assert [(each.run_id, bytes(each.messages[0].body)) for each in kept] == [
        ("new-0", b"2"),
        ("one", b"1"),
    ]


def test_only_the_last_ones_are_kept() -> None:
    found = inspection(most_messages=2)
    observer = found.observer("default", "chain", FLOW)
    for text in (b"1", b"2", b"3"):
        ask(observer, "run", text)
    topic = topics(found)["seldon.default.pipeline.chain.inputs"]
    assert (bodies(topic), topic.seen) == ([b"2", b"3"], 3)
    assert found.kept_bytes == 2 * (1 + 1 + 2 + 2 + 3 + 3)


def test_the_oldest_of_all_graphs_go_when_there_are_too_many_bytes() -> None:
    found = inspection(most_bytes=25)
    first = found.observer("default", "one", FLOW)
    second = found.observer("default", "two", FLOW)
    first.begin("", message(b"0" * 20), CALL)
    second.begin("", message(b"1" * 20), CALL)
    assert bodies(topics(found, "one")["seldon.default.pipeline.one.inputs"]) == []
    assert bodies(topics(found, "two")["seldon.default.pipeline.two.inputs"]) == [b"1" * 20]
    assert found.kept_bytes == 20


def test_what_is_too_large_is_noted_and_not_kept() -> None:
    found = inspection()
    large = message(b"0" * (MOST_MESSAGE_BYTES + 1))
    found.observer("default", "chain", FLOW).begin("", large, CALL)
    (kept,) = topics(found)["seldon.default.pipeline.chain.inputs"].kept
    assert (kept.messages, kept.size_bytes) == ((), MOST_MESSAGE_BYTES + 1)
    assert found.kept_bytes == 0


def test_a_view_of_memory_that_changes_is_copied() -> None:
    found = inspection()
    memory = bytearray(b"then")
    run = found.observer("default", "chain", FLOW).begin("", message(), CALL)
    run.on_answer(0, (), Message(1, 0, memoryview(memory), is_request=False), 0.0)
    memory[:] = b"now!"
    assert bodies(topics(found)["seldon.default.model.a.outputs"]) == [b"then"]


def test_failures_name_their_step() -> None:
    found = inspection()
    run = found.observer("default", "chain", FLOW).begin("run", message(), CALL)
    run.on_failure(1, Failure(ErrorKind.MODEL_FAILED, "no"), 0.1)
    run.on_end(Failure(ErrorKind.MODEL_FAILED, "no"), 0.2)
    (kept,) = topics(found)["seldon.default.errors.errors"].kept
    assert (kept.run_id, kept.step, kept.error) == ("run", "b", "no")
    assert not topics(found)["seldon.default.pipeline.chain.outputs"].kept


def test_a_graph_that_is_gone_leaves_nothing() -> None:
    found = inspection()
    ask(found.observer("default", "chain.pipeline", FLOW), "run", b"x")
    assert found.topics("default", "chain") is not None
    found.forget("default", "chain.pipeline")
    assert found.topics("default", "chain") is None
    assert found.kept_bytes == 0


def test_messages_are_published_by_graph_step_and_end() -> None:
    seen: list[tuple[str, str, str, str, str]] = []
    found = FlowInspection(
        now=Clock(),
        new_id=lambda: "id",
        publish=lambda *place: seen.append(place[:5]),
    )
    ask(found.observer("default", "chain.pipeline", FLOW), "run", b"x")
    assert seen[0] == ("default", "chain", "", "inputs", "run")
    assert seen[2] == ("default", "chain", "a", "outputs", "run")
    assert seen[-1] == ("default", "chain", "", "outputs", "run")
