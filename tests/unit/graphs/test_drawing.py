"""Pictures of flows: what is said on them, and how they are drawn."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from salver.graphs.drawing import Glyphs, mermaid, tree
from salver.graphs.flow import (
    ALL_BRANCHES,
    NO_BRANCH,
    OTHERWISE,
    Address,
    Answered,
    Conditions,
    Edge,
    Flow,
    Function,
    Gather,
    Learned,
    Pass,
    Service,
    Step,
    Unit,
    Weights,
)
from salver.graphs.picture import ANSWER, Sample, picture_of, rate_text, seconds_text
from salver.graphs.placing import placed
from salver.graphs.svg import svg
from salver.telemetry.graphs import StepFigures

FRAUD = Flow(
    "fraud",
    (
        Step("scale", Function("py", "scale")),
        Step("large", Function("py", "is_large", "branch"), (Edge("scale"),)),
        Step("pick", Answered(2), (Edge("scale"),), triggers=(Edge("large"),)),
        Step("gbm", Unit("gbm"), (Edge("pick", branch=0),)),
        Step("mlp", Service("default", "mlp"), (Edge("pick", branch=0),)),
        Step("average", Function("py", "average"), (Edge("gbm"), Edge("mlp"))),
        Step("rules", Unit("rules"), (Edge("pick", branch=1),)),
    ),
    (Edge("average"), Edge("rules")),
)
CYCLE = Flow(
    "cycle",
    (
        Step("a", Unit("a"), (Edge(), Edge("b", branch=0)), "any", max_visits=3),
        Step("b", Conditions(("outputs",)), (Edge("a"),)),
        Step("c", Unit("c"), (Edge("b", branch=OTHERWISE),)),
    ),
    (Edge("c", tensor="y"), Edge("c", tensor="z", rename="w")),
)
WIDE = Flow(
    "wide",
    (
        *(Step(f"m{number}", Service("default", f"m{number}")) for number in range(8)),
        Step("all", Gather(tuple("abcdefgh")), tuple(Edge(f"m{number}") for number in range(8))),
    ),
    (Edge("all"),),
)


def buckets(count: int) -> tuple[int, ...]:
    return (0, 0, 0, 0, 0, count, *[0] * 12)


SAMPLE = Sample(
    {
        "scale": StepFigures(1000, seconds=4.0, latency_buckets=buckets(1000)),
        "large": StepFigures(1000, seconds=4.0, latency_buckets=buckets(1000)),
        "pick": StepFigures(choices={0: 600, 1: 390, ALL_BRANCHES: 10, NO_BRANCH: 0}),
        "gbm": StepFigures(610, seconds=2.0, latency_buckets=buckets(610)),
        "mlp": StepFigures(600, {"timeout": 10}, seconds=2.0, latency_buckets=buckets(610)),
        "average": StepFigures(600),
        "rules": StepFigures(400, skipped=600),
    },
    1000,
    10,
)


def test_a_tree_shows_each_step_once_and_what_goes_through_it() -> None:
    lines = ["  ".join(filter(None, row)) for row in tree(picture_of(FRAUD, SAMPLE), Glyphs())]
    assert lines == [
        "request  1,000, 10 failed",
        "└─▶ scale  function  1,000, 3.75 ms, p99 4.98 ms",
        "   ├─▶ large  function is_large (branch)  1,000, 3.75 ms, p99 4.98 ms",
        "   │  └─ trigger ─▶ pick  as it is told  1,000",
        "   │     ├─ branch 0 ─▶ gbm  610, 3.75 ms, p99 4.98 ms",
        "   │     │  └─↩ average  610",
        "   │     ├─ branch 0 ─▶ mlp  service  610, 3.75 ms, p99 4.98 ms, 10 failed",
        "   │     │  └─▶ average  function  600",
        "   │     │     └─▶ answer  600",
        "   │     └─ branch 1 ─▶ rules  400",
        "   │        └─▶ answer  whichever is first  400",
        "   └─↩ pick  1,000",
    ]


def test_a_tree_for_a_plain_terminal_has_plain_strokes() -> None:
    rows = tree(picture_of(CYCLE), Glyphs(is_unicode=False))
    assert [row[0] for row in rows] == [
        "request",
        "`-> a",
        "   `-> b",
        "      |- outputs -^ a",
        "      `- otherwise -> c",
        "         `- y, z as w -> answer",
    ]


def test_an_edge_back_does_not_make_the_tree_endless() -> None:
    names = [row[0].split()[-1] for row in tree(picture_of(CYCLE), Glyphs())]
    assert sorted(names) == ["a", "a", "answer", "b", "c", "request"]


def test_mermaid_has_every_box_and_arrow() -> None:
    text = mermaid(picture_of(FRAUD))
    assert text.startswith("flowchart LR\n")
    assert '    n3{{"pick<br/>as it is told"}}\n' in text
    assert "    n2 -.-> n3\n" in text
    assert '    n3 -->|"branch 0"| n4\n' in text
    assert text.count("-->") + text.count("-.->") == len(picture_of(FRAUD).arrows)


def test_mermaid_escapes_what_people_write() -> None:
    flow = Flow("f", (Step("s", Conditions(('a.#(b=="<x>")',))),), (Edge("s", branch=0),))
    assert '"a.#35;(b==#quot;#lt;x#gt;#quot;)"' in mermaid(picture_of(flow))


@pytest.mark.parametrize("flow", [FRAUD, CYCLE, WIDE])
def test_an_svg_is_well_formed_and_has_all_boxes_and_arrows(flow: Flow) -> None:
    root = ElementTree.fromstring(svg(picture_of(flow, SAMPLE)))
    picture = picture_of(flow)
    boxes = [each.get("data-box") for each in root.iter() if each.get("data-box") is not None]
    arrows = [each for each in root.iter() if each.get("data-arrow") is not None]
    assert sorted(filter(None, boxes)) == sorted(each.key for each in picture.boxes if each.key)
    assert len(arrows) == len(picture.arrows)


def test_an_svg_escapes_what_people_write() -> None:
    flow = Flow("<f>", (Step("s", Address('http://x/?a="<&>"')),), (Edge("s"),))
    root = ElementTree.fromstring(svg(picture_of(flow)))
    assert any('http://x/?a="<&>"' in (each.text or "") for each in root.iter())


@pytest.mark.parametrize("flow", [FRAUD, CYCLE, WIDE])
def test_no_two_boxes_of_a_layer_overlap_and_sources_stand_left_of_targets(flow: Flow) -> None:
    places = placed(picture_of(flow), lambda key: 40.0, 10.0)
    for keys in places.layers:
        middles = [places.middle[key] for key in keys]
        assert all(b - a >= 49.99 for a, b in itertools.pairwise(middles))
        assert min(middles) >= 19.99
    layer = {key: number for number, keys in enumerate(places.layers) for key in keys}
    for arrow, way in places.ways:
        if not arrow.is_back:
            assert [layer[key] for key in way] == list(
                range(layer[arrow.source], layer[arrow.target] + 1)
            )


def test_every_action_says_what_it_does() -> None:
    edge = (Edge(),)
    flow = Flow(
        "f",
        (
            Step("w", Weights((1, 3)), edge),
            Step("l", Learned("thompson", ("left", "right")), edge),
            Step("c", Conditions(("a", "b")), edge),
            Step("p", Pass(merges=True), (Edge("w", branch=1), Edge("l", branch=0)), "outer"),
            Step("q", Pass(), (Edge("c", branch=OTHERWISE), Edge("c", end="inputs")), quorum=1),
            Step("n", Unit("other"), (Edge("p"), Edge("q"))),
        ),
        (Edge("n"),),
    )
    picture = picture_of(flow)
    assert {box.title: box.what for box in picture.boxes if box.what} == {
        "w": "by weight",
        "l": "thompson",
        "c": "first condition that holds",
        "p": "all tensors, whichever come",
        "q": "1 of 2",
        "n": "unit other",
    }
    labels = {(each.source, each.target): each.label for each in picture.arrows}
    assert labels["w", "p"] == "75%"
    assert labels["l", "p"] == "left"


def test_arrows_are_as_wide_as_their_share_of_the_busiest() -> None:
    heats = {(each.source, each.target): each.heat for each in picture_of(FRAUD, SAMPLE).arrows}
    assert heats["", "scale"] == 1.0
    assert heats["pick", "gbm"] == 0.61
    assert heats["average", ANSWER] == 0.6


def test_figures_since_are_rates() -> None:
    later = Sample({"scale": StepFigures(1500, latency_buckets=buckets(1500), seconds=6.0)}, 1500)
    since = later.since(SAMPLE, 10.0)
    assert since.steps["scale"].answers == 500
    assert rate_text(since.requests, since) == "50/s"
    assert rate_text(3, since) == "0.3/s"


def test_a_server_that_began_anew_has_no_negative_figures() -> None:
    since = Sample({"scale": StepFigures(5)}, 5).since(SAMPLE, 1.0)
    assert (since.requests, since.steps["scale"].answers) == (0, 0)


def test_short_times_have_their_unit() -> None:
    texts = [seconds_text(each) for each in (0.0000123, 0.0123, 1.234)]
    assert texts == ["12 us", "12.3 ms", "1.23 s"]
