"""What is shown of graphs over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from tests.asgi import ask
from tests.fakes import FakeCatalog

from salver.graphs.flow import Edge, Flow, Step, Unit
from salver.graphs.picture import Sample
from salver.graphs.shown import ShownGraph, ShownVariant
from salver.server.rest.graphs_page import GraphRoutes
from salver.telemetry.graphs import StepFigures

FLOW = Flow("g", (Step("model", Unit("model"), path="spec"),), (Edge("model"),))


class Board:
    """Implements `GraphBoard`: one graph, whose figures are what the test says."""

    def __init__(self) -> None:
        self.answers = 0
        self.is_counted = True

    def names(self) -> Sequence[tuple[str, str]]:
        return [("shop", "g")]

    def graph(self, namespace: str, name: str) -> ShownGraph | None:
        if (namespace, name) != ("shop", "g"):
            return None
        figures = {"model": StepFigures(self.answers, seconds=0.01 * self.answers)}
        sample = Sample(figures, self.answers) if self.is_counted else None
        variant = ShownVariant("<main>", 100.0, FLOW, sample=sample)
        return ShownGraph("Graph", "shop", "g", True, "http://here/g", (variant,))


class World:
    def __init__(self) -> None:
        self.board, self.now_s = Board(), 0.0
        self.routes = GraphRoutes(self.board, clock=lambda: self.now_s).routes()

    def get(self, path: str) -> httpx.Response:
        return ask(FakeCatalog(), "GET", path, routes=self.routes)


def test_all_graphs_are_listed() -> None:
    world = World()
    world.board.answers = 7
    assert world.get("/salver/v1/graphs").json() == {
        "graphs": [
            {
                "namespace": "shop",
                "name": "g",
                "kind": "Graph",
                "serves": True,
                "url": "http://here/g",
                "variants": [{"name": "<main>", "percent": 100.0, "steps": 1}],
                "requests": 7,
            }
        ]
    }


def test_a_graph_has_its_flows_and_figures() -> None:
    world = World()
    world.board.answers = 7
    found = world.get("/salver/v1/graphs/shop/g").json()
    variant = found["variants"][0]
    assert variant["flow"]["steps"][0]["name"] == "model"
    assert variant["sample"]["steps"]["model"]["answers"] == 7


def test_an_unknown_graph_is_404_with_where_to_look() -> None:
    answer = World().get("/salver/v1/graphs/shop/x")
    assert answer.status_code == 404
    assert answer.json() == {"error": "unknown graph 'shop/x': see /salver/v1/graphs"}


def test_the_page_draws_each_flow_and_escapes_names() -> None:
    answer = World().get("/graphs/shop/g")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert '<section class="card" data-flow="0"><h2>&lt;main&gt;' in answer.text
    assert 'data-box="model"' in answer.text
    assert "{{" not in answer.text


def test_live_figures_are_those_of_the_last_seconds() -> None:
    world = World()

    def model() -> str:
        flow = world.get("/graphs/shop/g/facts").json()["flows"][0]
        return str(flow["boxes"]["model"][0])

    world.board.answers = 1000
    assert model() == "no calls"
    world.now_s, world.board.answers = 2.0, 1100
    assert model().startswith("50/s")
    world.now_s, world.board.answers = 2.1, 1200
    assert model().startswith("50/s"), "a window is no shorter than a second"
    world.now_s = 4.0
    assert model().startswith("50/s")
    world.now_s = 6.0
    assert model() == "no calls"


def test_a_graph_that_is_a_unit_alone_has_no_figures() -> None:
    world = World()
    world.board.is_counted = False
    assert world.get("/graphs/shop/g/facts").json() == {"flows": [{"boxes": {}, "arrows": {}}]}
