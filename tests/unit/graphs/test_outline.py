"""Pictures as people think of graphs."""

from __future__ import annotations

from salver.graphs.drawing import Glyphs, tree
from salver.graphs.flow import (
    NO_BRANCH,
    Answered,
    Conditions,
    Edge,
    Flow,
    Function,
    Learned,
    Pass,
    Service,
    Step,
    Unit,
)
from salver.graphs.outline import outline_of
from salver.graphs.picture import Sample
from salver.telemetry.graphs import StepFigures

PYTHON = Flow(
    "fraud",
    (
        Step("features", Function("py", "features")),
        Step("large", Function("py", "large"), (Edge("features"),)),
        Step("large.truth", Function("py", "salver.is_true", "branch"), (Edge("large"),)),
        Step("large.then", Answered(2), (Edge(),), triggers=(Edge("large.truth"),), title="large"),
        Step("gbm", Unit("gbm"), (Edge("features"),), triggers=(Edge("large.then", branch=1),)),
        Step("rules", Unit("rules"), (Edge("features"),), triggers=(Edge("large.then", branch=0),)),
    ),
    (Edge("gbm"), Edge("rules")),
    "any",
)
SELDON = Flow(
    "deployment",
    (
        Step("by-size", Function("py", "by-size", "route")),
        Step("choice", Answered(2), (Edge(),), triggers=(Edge("by-size"),), title="by-size"),
        Step("small", Unit("small"), (Edge("choice", branch=0),)),
        Step("large", Unit("large"), (Edge("choice", branch=1),)),
        Step(
            "end",
            Pass(),
            (Edge("small"), Edge("large"), Edge("choice", branch=NO_BRANCH)),
            "outer",
            title="by-size",
        ),
    ),
    (Edge("end"),),
)


def lines(flow: Flow, sample: Sample | None = None) -> list[str]:
    rows = tree(outline_of(flow, sample), Glyphs())
    return ["  ".join(filter(None, row)) for row in rows]


def test_a_question_in_python_is_one_box_with_the_answers_as_branches() -> None:
    assert lines(PYTHON) == [
        "request",
        "└─▶ features  function",
        "   └─▶ large  function",
        "      ├─ true ─▶ gbm",
        "      │  └─▶ answer",
        "      └─ false ─▶ rules",
        "         └─▶ answer  whichever is first",
    ]


def test_a_router_is_one_box_and_its_end_is_none() -> None:
    assert lines(SELDON) == [
        "request",
        "└─▶ by-size  route",
        "   ├─ branch 0 ─▶ small",
        "   │  └─▶ answer",
        "   ├─ branch 1 ─▶ large",
        "   │  └─▶ answer  whichever come",
        "   └─ none ─▶ answer",
    ]


def test_the_figures_of_a_decision_are_those_of_its_function() -> None:
    sample = Sample({"by-size": StepFigures(7), "choice": StepFigures(choices={0: 6, 1: 1})}, 7)
    assert "└─▶ by-size  route  7" in lines(SELDON, sample)
    failing = Sample({"by-size": StepFigures(7), "choice": StepFigures(errors={"internal": 2})}, 7)
    box = next(each for each in outline_of(SELDON, failing).boxes if each.key == "choice")
    assert box.is_failing and box.facts == "2, 2 failed"


def test_what_a_choice_was_given_too_is_drawn_through_it() -> None:
    flow = Flow(
        "shop",
        (
            Step("pick", Learned("thompson", ("old", "new"))),
            Step("a", Service("default", "a"), triggers=(Edge("pick", branch=0),)),
            Step("b", Service("default", "b"), triggers=(Edge("pick", branch=1),)),
        ),
        (Edge("a"), Edge("b")),
        "any",
    )
    arrows = {(each.source, each.target): each for each in outline_of(flow).arrows}
    assert set(arrows) == {
        ("", "pick"),
        ("pick", "a"),
        ("pick", "b"),
        ("a", ":answer"),
        ("b", ":answer"),
    }
    assert not arrows["pick", "a"].is_trigger


def test_a_gate_on_something_else_stays_a_trigger() -> None:
    flow = Flow(
        "pets",
        (
            Step("animal", Service("default", "animal")),
            Step("if", Conditions(("a",)), (Edge("animal"),)),
            Step("dog", Service("default", "dog"), triggers=(Edge("if", branch=0),)),
        ),
        (Edge("dog"),),
    )
    arrows = {(each.source, each.target): each for each in outline_of(flow).arrows}
    assert arrows["if", "dog"].is_trigger
    assert ("", "dog") in arrows


def test_a_function_that_others_need_too_keeps_its_box() -> None:
    flow = Flow(
        "f",
        (
            Step("route", Function("py", "route", "branch")),
            Step("choice", Answered(2), triggers=(Edge("route"),)),
            Step("a", Unit("a"), (Edge("choice", branch=0),)),
            Step("b", Unit("b"), (Edge("route"),)),
        ),
        (Edge("a"), Edge("b")),
    )
    assert {box.key for box in outline_of(flow).boxes} == {
        "",
        "route",
        "choice",
        "a",
        "b",
        ":answer",
    }
