"""Graphs walked: joins, branches, failures, hedges, cycles, what is abandoned."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.engine.flows import (
    AskedCall,
    Bench,
    StepsModel,
    inputs_named,
    outputs_of,
    plus,
    service,
    v2_of,
    v2_request,
)

from salver.engine.flow_ports import Failure
from salver.errors import ErrorKind
from salver.graphs.flow import (
    OTHERWISE,
    Answered,
    Conditions,
    Edge,
    Function,
    Gather,
    Pass,
    Step,
    Weights,
)
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.wire_codes import Codec


def test_a_chain_hands_answers_on_as_requests() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    bench.add("b", plus(10))
    graph = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    assert bench.ask(graph, {"instances": [1, 2]}).json == {"predictions": [12, 13]}


def test_v2_outputs_become_inputs_and_keep_the_id() -> None:
    bench = Bench()
    bench.add("a", v2_of(lambda given: {"sum": given["x"]}))
    second = bench.add("b", v2_of(lambda given: {"y": given["x"]}), metadata=inputs_named("x"))
    graph = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    call = bench.ask(graph, {"id": "7", **v2_request(x=[1, 2])}, Codec.V2_JSON)
    assert outputs_of(call.json) == {"y": [1, 2]}
    # The only tensor goes by the name that the model has for it.
    assert second.asked[0]["id"] == "7"
    assert [each["name"] for each in second.asked[0]["inputs"]] == ["x"]


def test_tensors_of_several_steps_are_put_together() -> None:
    bench = Bench()
    bench.add("a", v2_of(lambda given: {"OUT": given["x"]}))
    bench.add("b", v2_of(lambda given: {"OUT": [9]}))
    both = bench.add("both", v2_of(lambda given: {"z": given["left"] + given["right"]}))
    edges = (
        Edge("a", tensor="OUT", rename="left"),
        Edge("b", tensor="OUT", rename="right"),
    )
    graph = bench.graph([service("a"), service("b"), service("both", *edges)], [Edge("both")])
    call = bench.ask(graph, v2_request(x=[1]), Codec.V2_JSON)
    assert outputs_of(call.json) == {"z": [1, 9]}
    assert len(both.asked) == 1


def test_steps_that_do_not_need_each_other_run_at_once() -> None:
    bench = Bench()
    for name in "abc":
        bench.add(name, plus(ord(name)), seconds=1.0)
    steps = [service(name) for name in "abc"]
    gather = Step("all", Gather(("x", "y", "z")), tuple(Edge(name) for name in "abc"))
    graph = bench.graph([*steps, gather], [Edge("all")])
    call = AskedCall(b'{"instances": [0]}')
    graph.submit(call)
    bench.loop.run_until(1.0)
    assert call.json == {
        "x": {"predictions": [97]},
        "y": {"predictions": [98]},
        "z": {"predictions": [99]},
    }


def test_gathering_an_answer_that_is_no_object_fails_and_names_it() -> None:
    bench = Bench()
    bench.add("a", lambda _: ["no object"])  # type: ignore[arg-type,return-value]
    gather = Step("all", Gather(("x",)), (Edge("a"),))
    graph = bench.graph([service("a"), gather], [Edge("all")])
    failure = bench.ask(graph, {"instances": [0]}).failure
    assert failure.kind is ErrorKind.MODEL_FAILED
    assert "step 'all'" in failure.message and "'x' is no JSON object" in failure.message


def conditional(*paths: str) -> list[Step]:
    branches = [service(name, Edge("pick", branch=at)) for at, name in enumerate("ab")]
    return [Step("pick", Conditions(paths)), *branches]


def test_the_first_condition_that_holds_chooses_the_branch() -> None:
    bench = Bench()
    first, second = bench.add("a", plus(1)), bench.add("b", plus(2))
    graph = bench.graph(conditional("kind.x", "kind"), [Edge("a"), Edge("b")])
    assert bench.ask(graph, {"instances": [0], "kind": {"y": 1}}).json == {"predictions": [2]}
    assert (len(first.asked), len(second.asked)) == (0, 1)


@pytest.mark.parametrize("body", [b"", b'{"error":"own"}'])
def test_no_condition_that_holds_is_not_found_in_the_dialects_words(body: bytes) -> None:
    bench = Bench()
    bench.add("a", plus(1))
    bench.add("b", plus(2))
    _, *branches = conditional("nope", "neither")
    steps = [Step("pick", Conditions(("nope", "neither"), body)), *branches]
    graph = bench.graph(steps, [Edge("a"), Edge("b")])
    failure = bench.ask(graph, {"instances": [0]}).failure
    assert failure.kind is ErrorKind.MODEL_NOT_FOUND
    assert (failure.status, failure.body) == ((404, body) if body else (0, b""))
    assert failure.message == "step 'pick': none of the conditions holds for the message"


def test_otherwise_is_a_branch_too() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    steps = [
        service("a"),
        Step("go on", Conditions(("missing",)), (Edge("a"),)),
        service("b", Edge("go on", branch=0)),
    ]
    graph = bench.graph(steps, [Edge("go on", branch=OTHERWISE), Edge("b")])
    assert bench.ask(graph, {"instances": [0]}).json == {"predictions": [1]}


def test_weights_choose_by_chance() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    bench.add("b", plus(2))
    bench.random = iter([0.0, 0.19, 0.21, 0.99])
    steps = [
        Step("pick", Weights((20.0, 80.0))),
        *(service(name, Edge("pick", branch=at)) for at, name in enumerate("ab")),
    ]
    graph = bench.graph(steps, [Edge("a"), Edge("b")])
    answers = [bench.ask(graph, {"instances": [0]}).json["predictions"] for _ in range(4)]
    assert answers == [[1], [1], [2], [2]]


def test_a_function_decides_and_what_it_was_given_goes_on() -> None:
    bench = Bench()
    bench.units["py"] = StepsModel(bench.loop, {"large": lambda rows: rows[0] > 5})
    bench.add("a", plus(1))
    bench.add("b", plus(2))
    steps = [
        Step("large", Function("py", "large", "branch")),
        Step("pick", Answered(2), (Edge(),), triggers=(Edge("large"),)),
        *(service(name, Edge("pick", branch=at)) for at, name in enumerate("ab")),
    ]
    graph = bench.graph(steps, [Edge("a"), Edge("b")])
    assert bench.ask(graph, {"instances": [3]}).json == {"predictions": [4]}
    assert bench.ask(graph, {"instances": [7]}).json == {"predictions": [9]}


@pytest.mark.parametrize("branch", [2, -7])
def test_a_branch_that_is_not_there_is_an_error_that_names_the_step(branch: int) -> None:
    bench = Bench()
    bench.units["py"] = StepsModel(bench.loop, {"route": lambda rows: branch})
    bench.add("a", plus(1))
    steps = [
        Step("route", Function("py", "route", "route")),
        Step("pick", Answered(2), triggers=(Edge("route"),)),
        service("a", Edge("pick", branch=0)),
    ]
    failure = bench.ask(bench.graph(steps, [Edge("a")]), {"instances": [3]}).failure
    assert failure.message == (
        f"step 'pick' (given instances [1]): step 'route' named branch {branch}, of 0 to 1"
    )


def test_functions_of_one_unit_are_asked_as_one() -> None:
    bench = Bench()
    worker = StepsModel(
        bench.loop, {"inc": lambda rows: [r + 1 for r in rows], "sum": lambda *all: [all[0][0]]}
    )
    bench.units["py"] = worker
    steps = [
        Step("one", Function("py", "inc")),
        Step("two", Function("py", "inc"), (Edge("one"),)),
        Step("three", Function("py", "inc"), (Edge("two"),)),
    ]
    graph = bench.graph(steps, [Edge("three")])
    assert bench.ask(graph, {"instances": [1]}).json == {"predictions": [4]}
    assert worker.chains == [["inc", "inc", "inc"]]


def test_a_function_that_two_wait_for_is_not_fused_with_either() -> None:
    bench = Bench()
    inc = lambda rows: [r + 1 for r in rows]  # noqa: E731
    worker = StepsModel(bench.loop, {"inc": inc, "add": lambda a, b: [a[0] + b[0]]})
    bench.units["py"] = worker
    steps = [
        Step("one", Function("py", "inc")),
        Step("two", Function("py", "inc"), (Edge("one"),)),
        Step("add", Function("py", "add"), (Edge("one"), Edge("two"))),
    ]
    graph = bench.graph(steps, [Edge("add")])
    assert bench.ask(graph, {"instances": [1]}).json == {"predictions": [5]}
    assert worker.chains == [["inc"], ["inc"], ["add"]]


BROKEN = Failure(ErrorKind.MODEL_FAILED, "it broke")
OWN_ERROR = Failure(ErrorKind.MODEL_NOT_FOUND, "404", 404, b'{"detail":"Intentional 404 code"}')


def test_a_failure_names_the_step_and_what_it_was_given() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    bench.add("b", failure=BROKEN)
    graph = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    failure = bench.ask(graph, {"instances": [1, 2]}).failure
    assert failure.message == "step 'b' (given instances [2]): it broke"


def test_a_service_s_own_status_and_body_are_passed_on() -> None:
    bench = Bench()
    bench.add("a", failure=OWN_ERROR)
    failure = bench.ask(bench.graph([service("a")], [Edge("a")]), {"instances": [1]}).failure
    assert (failure.status, failure.body) == (404, b'{"detail":"Intentional 404 code"}')


def test_a_tolerated_failure_is_an_answer() -> None:
    bench = Bench()
    bench.add("a", failure=OWN_ERROR)
    bench.add("b", lambda request: {"got": request})
    steps = [service("a", tolerates=True), service("b", Edge("a"))]
    call = bench.ask(bench.graph(steps, [Edge("b")]), {"instances": [1]})
    assert call.json == {"got": {"detail": "Intentional 404 code"}}


def test_a_tolerated_failure_at_the_end_keeps_its_status() -> None:
    bench = Bench()
    bench.add("a", failure=OWN_ERROR)
    graph = bench.graph([service("a", tolerates=True)], [Edge("a")])
    failure = bench.ask(graph, {"instances": [1]}).failure
    assert (failure.status, failure.body) == (404, OWN_ERROR.body)


def test_a_failure_ends_the_request_and_abandons_what_runs_beside_it() -> None:
    bench = Bench()
    bench.add("a", failure=BROKEN)
    slow = bench.add("b", plus(1), seconds=5.0)
    gather = Step("all", Gather(("a", "b")), (Edge("a"), Edge("b")))
    call = bench.ask(bench.graph([service("a"), service("b"), gather], [Edge("all")]), {"i": 1})
    assert call.failure.kind is ErrorKind.MODEL_FAILED
    assert slow.calls[0].is_abandoned and not slow.asked


def test_any_takes_the_first_answer_and_abandons_the_rest() -> None:
    bench = Bench()
    bench.add("quick", plus(1), seconds=1.0)
    slow = bench.add("slow", plus(2), seconds=5.0)
    steps = [
        service("quick"),
        service("slow"),
        Step("first", Pass(), (Edge("slow"), Edge("quick")), "any"),
        service("quick2", Edge("first")),
    ]
    bench.add("quick2", plus(100), seconds=10.0)
    call = bench.ask(bench.graph(steps, [Edge("quick2")]), {"instances": [0]})
    assert call.json == {"predictions": [101]}
    assert slow.calls[0].is_abandoned and not slow.asked


def test_any_goes_on_with_the_others_when_one_fails() -> None:
    bench = Bench()
    bench.add("a", failure=BROKEN)
    bench.add("b", plus(2), seconds=1.0)
    graph = bench.graph([service("a"), service("b")], [Edge("a"), Edge("b")])
    assert bench.ask(graph, {"instances": [0]}).json == {"predictions": [2]}


def test_when_all_of_any_fail_the_first_failure_is_told() -> None:
    bench = Bench()
    bench.add("a", failure=BROKEN)
    bench.add("b", failure=Failure(ErrorKind.UNAVAILABLE, "gone"), seconds=1.0)
    graph = bench.graph([service("a"), service("b")], [Edge("a"), Edge("b")])
    assert bench.ask(graph, {"instances": [0]}).failure.message.endswith("it broke")


@pytest.mark.parametrize(("failing", "is_answered"), [("a", True), ("ab", False)])
def test_a_quorum_goes_without_some(failing: str, is_answered: bool) -> None:
    bench = Bench()
    for at, name in enumerate("abc"):
        failure = BROKEN if name in failing else None
        bench.add(name, plus(at), seconds=1.0, failure=failure)
    worker = StepsModel(bench.loop, {"add": lambda *rows: [sum(each[0] for each in rows)]})
    bench.units["py"] = worker
    sources = tuple(Edge(name) for name in "abc")
    steps = [
        *(service(name) for name in "abc"),
        Step("add", Function("py", "add", "aggregate"), sources, quorum=2),
    ]
    call = bench.ask(bench.graph(steps, [Edge("add")]), {"instances": [0]})
    if is_answered:
        assert call.json == {"predictions": [3]}
    else:
        assert call.failure.message.endswith("it broke")


def test_a_hedge_starts_late_and_only_if_it_is_needed() -> None:
    bench = Bench()
    bench.add("first", plus(1), seconds=1.0)
    hedge = bench.add("second", plus(2), seconds=0.1)
    steps = [service("first"), service("second", delay_s=2.0)]
    call = bench.ask(bench.graph(steps, [Edge("first"), Edge("second")]), {"instances": [0]})
    assert call.json == {"predictions": [1]}
    assert not hedge.calls
    steps = [service("first"), service("second", delay_s=0.5)]
    call = bench.ask(bench.graph(steps, [Edge("first"), Edge("second")]), {"instances": [0]})
    assert call.json == {"predictions": [2]}


def test_an_outer_join_waits_for_its_window_and_no_longer() -> None:
    bench = Bench()
    bench.add("a", plus(1), seconds=1.0)
    bench.add("b", plus(2), seconds=9.0)
    gather = Step("some", Gather(("a", "b")), (Edge("a"), Edge("b")), "outer", window_s=2.0)
    graph = bench.graph([service("a"), service("b"), gather], [Edge("some")])
    call = AskedCall(b'{"instances": [0]}')
    graph.submit(call)
    bench.loop.run_until(2.9)
    assert not call.answers
    bench.loop.run_until(3.0)
    assert call.json == {"a": {"predictions": [1]}}


def absent_or_not(given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {"OUTPUT0" if given["CHOICE"][0] == 0 else "OUTPUT1": given["x"]}


@pytest.mark.parametrize(("choice", "expected"), [(0, [30]), (1, [13])])
def test_a_tensor_that_is_not_there_is_a_branch_not_taken(choice: int, expected: list[int]) -> None:
    bench = Bench()
    bench.add("conditional", v2_of(absent_or_not))
    times = bench.add("mul10", v2_of(lambda given: {"y": [each * 10 for each in given["x"]]}))
    bench.add("add10", v2_of(lambda given: {"y": [each + 10 for each in given["x"]]}))
    steps = [
        service("conditional"),
        service("mul10", Edge("conditional", tensor="OUTPUT0", rename="x")),
        service("add10", Edge("conditional", tensor="OUTPUT1", rename="x")),
    ]
    graph = bench.graph(steps, [Edge("mul10"), Edge("add10")])
    call = bench.ask(graph, v2_request(CHOICE=[choice], x=[3]), Codec.V2_JSON)
    assert outputs_of(call.json) == {"y": expected}
    assert len(times.calls) == (choice == 0)


def test_a_tensor_that_nobody_gives_is_named() -> None:
    bench = Bench()
    bench.add("a", v2_of(lambda given: {"y": [1]}))
    bench.add("b", v2_of(lambda given: {"z": [1]}))
    steps = [service("a"), service("b", Edge("a", tensor="gone"))]
    call = bench.ask(bench.graph(steps, [Edge("b")]), v2_request(x=[3]), Codec.V2_JSON)
    assert "step 'a' has no tensor 'gone' (it has y)" in call.failure.message


def test_a_trigger_holds_a_step_back() -> None:
    bench = Bench()
    bench.add("a", plus(1), seconds=3.0)
    held = bench.add("b", plus(2))
    steps = [service("a"), service("b", triggers=(Edge("a"),))]
    graph = bench.graph(steps, [Edge("b")])
    call = AskedCall(b'{"instances": [5]}')
    graph.submit(call)
    bench.loop.run_until(2.0)
    assert not held.calls
    bench.loop.run_until(4.0)
    # What it is given are its inputs, not its trigger.
    assert call.json == {"predictions": [7]}


def test_a_cycle_goes_round_until_its_exit_is_there() -> None:
    bench = Bench()

    def count(given: dict[str, list[Any]]) -> dict[str, list[Any]]:
        (value,) = given["n"]
        return {"again" if value < 4 else "done": [value + 1]}

    counter = bench.add("count", v2_of(count))
    steps = [
        service(
            "count",
            Edge(tensor="n"),
            Edge("count", tensor="again", rename="n"),
            join="any",
            max_visits=10,
        )
    ]
    graph = bench.graph(steps, [Edge("count", tensor="done")])
    call = bench.ask(graph, v2_request(n=[1]), Codec.V2_JSON)
    assert outputs_of(call.json) == {"done": [5]}
    assert [each["inputs"][0]["data"] for each in counter.asked] == [[1], [2], [3], [4]]


def test_a_step_of_a_cycle_waits_for_its_trigger_on_every_round() -> None:
    bench = Bench()

    def count(given: dict[str, list[Any]]) -> dict[str, list[Any]]:
        (value,) = given["n"]
        return {"n": [value + 1], "again" if value < 4 else "done": [1]}

    counter = bench.add("count", v2_of(count))
    bench.add("back", v2_of(lambda given: {"n": given["n"]}))
    rounds = {"max_visits": 10}
    steps = [
        service("count", Edge(tensor="n"), Edge("back", tensor="n"), join="any", **rounds),
        service(
            "back", Edge("count", tensor="n"), triggers=(Edge("count", tensor="again"),), **rounds
        ),
    ]
    graph = bench.graph(steps, [Edge("count", tensor="done")])
    call = bench.ask(graph, v2_request(n=[1]), Codec.V2_JSON)
    assert outputs_of(call.json) == {"done": [1]}
    assert [each["inputs"][0]["data"] for each in counter.asked] == [[1], [2], [3], [4]]


def test_a_cycle_that_goes_on_too_long_is_stopped_and_said_to_be() -> None:
    bench = Bench()
    bench.add("spin", v2_of(lambda given: {"again": given["n"]}))
    steps = [
        service(
            "spin",
            Edge(tensor="n"),
            Edge("spin", tensor="again", rename="n"),
            join="any",
            max_visits=3,
        )
    ]
    graph = bench.graph(steps, [Edge("spin", tensor="done")])
    call = bench.ask(graph, v2_request(n=[1]), Codec.V2_JSON)
    assert "'spin' has run 3 times" in call.failure.message


def test_a_client_that_leaves_stops_the_work_within_one_step() -> None:
    bench = Bench()
    bench.add("a", plus(1), seconds=1.0)
    after = bench.add("b", plus(2))
    graph = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    call = AskedCall(b'{"instances": [5]}')
    graph.submit(call)
    bench.loop.run_until(0.5)
    call.is_abandoned = True
    bench.loop.run_until(10.0)
    assert not after.calls and not call.answers and not call.failures


def test_a_side_branch_goes_on_after_the_answer_and_its_failure_is_its_own() -> None:
    bench = Bench()
    bench.add("model", plus(1))
    detector = bench.add("detector", failure=BROKEN, seconds=5.0)
    graph = bench.graph([service("model"), service("detector")], [Edge("model")])
    call = AskedCall(b'{"instances": [5]}')
    graph.submit(call)
    bench.loop.run_until(0.0)
    assert call.json == {"predictions": [6]}
    bench.loop.run_until(10.0)
    assert len(detector.calls) == 1 and not detector.calls[0].is_abandoned
    assert not call.failures and graph.in_flight == 0


def test_a_step_s_time_limit_is_its_call_s_deadline() -> None:
    bench = Bench()
    model = bench.add("a", plus(1))
    graph = bench.graph([service("a", timeout_s=2.0)], [Edge("a")])
    bench.ask(graph, {"instances": [5]})
    assert model.calls[0].deadline_s == 2.0
    model.calls[0].limit(100.0)
    assert model.calls[0].deadline_s == 2.0


def test_the_outputs_asked_for_are_the_graph_s_and_not_the_first_step_s() -> None:
    bench = Bench()
    first = bench.add("a", v2_of(lambda given: {"x": given["x"]}))
    bench.add("b", v2_of(lambda given: {"y": [1], "z": [2]}))
    graph = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    request = {**v2_request(x=[3]), "outputs": [{"name": "z"}]}
    assert outputs_of(bench.ask(graph, request, Codec.V2_JSON).json) == {"z": [2]}
    assert "outputs" not in first.asked[0]
    request = {**v2_request(x=[3]), "outputs": [{"name": "w"}]}
    failure = bench.ask(graph, request, Codec.V2_JSON).failure
    assert failure.kind is ErrorKind.INVALID_INPUT and "no output 'w'" in failure.message


def test_an_echo_of_the_request_is_written_as_an_answer() -> None:
    bench = Bench()
    graph = bench.graph([Step("pass", Pass())], [Edge("pass")])
    assert bench.ask(graph, {"instances": [5]}).json == {"predictions": [5]}


def test_a_missing_service_is_named_by_the_step_and_by_readiness() -> None:
    bench = Bench()
    graph = bench.graph([service("gone")], [Edge("gone")])
    assert not graph.is_ready
    assert graph.status.reason == "service 'gone' is not there"
    failure = bench.ask(graph, {"instances": [5]}).failure
    assert failure.kind is ErrorKind.MODEL_NOT_FOUND and "step 'gone'" in failure.message


def test_metadata_of_merged_answers_are_those_of_all_that_are_merged() -> None:
    bench = Bench()
    both = tuple(TensorMetadata(name, "INT32", (-1,)) for name in ("y", "not asked for"))
    for name in ("a", "b"):
        bench.add(name, plus(1), metadata=ModelMetadata("test", both[:1], both))
    inputs = (Edge("a", tensor="y", rename="mid"), Edge("b", tensor="y", rename="out"))
    steps = [service("a"), service("b", Edge("a")), Step("all", Pass(merges=True), inputs=inputs)]
    graph = bench.graph(steps, [Edge("all")])
    assert [each.name for each in graph.metadata.outputs] == ["mid", "out"]


def test_metadata_is_that_of_the_ends() -> None:
    bench = Bench()
    bench.add("a", plus(1), metadata=inputs_named("x"))
    bench.add("b", plus(1))
    graph = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    assert [each.name for each in graph.metadata.inputs] == ["x"]


def test_a_graph_without_output_takes_the_request_and_answers_at_once() -> None:
    bench = Bench()
    model = bench.add("a", v2_of(lambda given: {"y": given["x"]}), seconds=5.0)
    graph = bench.graph([service("a")], [])
    call = AskedCall(json.dumps({"id": "7", **v2_request(x=[1])}).encode(), Codec.V2_JSON)
    graph.submit(call)
    assert call.json == {"id": "7", "outputs": []}
    bench.loop.run_until(10.0)
    assert len(model.asked) == 1


def test_whole_messages_have_their_tensors_renamed_by_the_edge() -> None:
    bench = Bench()
    bench.add("a", v2_of(lambda given: {"p": [1], "q": [2]}))
    last = bench.add("b", v2_of(lambda given: {"z": [0]}))
    edge = Edge("a", renames=(("p", "x"),))
    graph = bench.graph([service("a"), service("b", edge)], [Edge("b")])
    bench.ask(graph, v2_request(x=[1]), Codec.V2_JSON)
    assert [each["name"] for each in last.asked[0]["inputs"]] == ["x", "q"]


def test_a_step_with_a_batch_waits_for_others_or_for_its_window() -> None:
    bench = Bench()
    model = bench.add("a", plus(1))
    graph = bench.graph([service("a", batch_size=2, batch_window_s=3.0)], [Edge("a")])
    calls = [AskedCall(b'{"instances": [%d]}' % number) for number in range(4)]
    graph.submit(calls[0])
    bench.loop.run_until(1.0)
    assert not model.calls
    graph.submit(calls[1])
    assert len(model.calls) == 2
    graph.submit(calls[2])
    graph.submit(calls[3])
    assert len(model.calls) == 4
    bench.loop.run_until(2.0)
    last = AskedCall(b'{"instances": [9]}')
    graph.submit(last)
    # The window of the first batch is over and means nothing to this one.
    bench.loop.run_until(4.9)
    assert len(model.calls) == 4
    bench.loop.run_until(5.0)
    assert last.json == {"predictions": [10]}
    assert [call.json["predictions"] for call in calls] == [[1], [2], [3], [4]]


def test_a_graph_that_hands_messages_on_takes_formats_that_it_can_read() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    bench.add("b", plus(2))
    chain = bench.graph([service("a"), service("b", Edge("a"))], [Edge("b")])
    failure = bench.ask(chain, {"instances": [1]}, codec=Codec.TFS_GRPC).failure
    assert failure.kind is ErrorKind.UNSUPPORTED
    assert "ask it in one of these" in failure.message


def test_a_graph_that_only_chooses_takes_any_format() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    bench.add("b", plus(2))
    bench.random = iter([0.9])
    steps = [
        Step("pick", Weights((20.0, 80.0))),
        *(service(name, Edge("pick", branch=at)) for at, name in enumerate("ab")),
    ]
    graph = bench.graph(steps, [Edge("a"), Edge("b")])
    assert bench.ask(graph, {"instances": [1]}, codec=Codec.TFS_GRPC).json == {"predictions": [3]}
