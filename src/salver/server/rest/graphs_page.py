"""Graphs for people and programs: lists, plans with figures, and a page with live figures.

`/salver/v1/graphs` and `/salver/v1/graphs/NS/NAME` are JSON; `/graphs/NS/NAME` is the page. Asks
a board what there is, draws nothing itself: that is `graphs/svg.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.errors import ModelNotFound
from salver.graphs.outline import outline_of
from salver.graphs.picture import Picture, Sample
from salver.graphs.shown import ShownGraph, ShownVariant
from salver.graphs.svg import STYLE, svg
from salver.server.rest.answers import json_answer
from salver.server.rest.pages import page

_NOTHING_YET = Sample(seconds=1.0)
_LEAST_WINDOW_S = 1.0
"""Figures of a second are those of at least so long."""


class GraphBoard(Protocol):
    """What graphs there are, and what they have done."""

    def names(self) -> Sequence[tuple[str, str]]:
        """Namespaces and names of all graphs."""

    def graph(self, namespace: str, name: str) -> ShownGraph | None: ...


class _Window:
    """The figures of the last second or so of one flow, whoever asks, and how often."""

    def __init__(self, sample: Sample, now_s: float) -> None:
        self._before, self._then_s = sample, now_s
        self._shown = sample.since(sample, _LEAST_WINDOW_S)

    def moved(self, sample: Sample, now_s: float) -> Sample:
        passed_s = now_s - self._then_s
        if passed_s >= _LEAST_WINDOW_S:
            self._shown = sample.since(self._before, passed_s)
            self._before, self._then_s = sample, now_s
        return self._shown


class GraphRoutes:
    """The routes over one board."""

    def __init__(self, board: GraphBoard, *, clock: Callable[[], float]) -> None:
        self._board = board
        self._clock = clock
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def routes(self) -> list[Route]:
        """One route per path."""
        return [
            Route("/salver/v1/graphs", self.list),
            Route("/salver/v1/graphs/{namespace}/{name}", self.show),
            Route("/graphs/{namespace}/{name}", self.page),
            Route("/graphs/{namespace}/{name}/facts", self.facts),
        ]

    async def list(self, request: Request) -> Response:
        """All graphs: what they are called, and whether they serve."""
        graphs = [self._board.graph(*each) for each in sorted(self._board.names())]
        return json_answer({"graphs": [_summary(each) for each in graphs if each is not None]})

    async def show(self, request: Request) -> Response:
        """One graph: its flows, and the figures of their steps since the start."""
        return json_answer(self._found(request))

    async def page(self, request: Request) -> Response:
        """The page: every flow as a picture, its figures kept up to date."""
        graph = self._found(request)
        flows = "".join(_section(number, each) for number, each in enumerate(graph.variants))
        content = {
            "title": escape(graph.label),
            "summary": _head(graph),
            "flows": flows,
            "graph-style": STYLE,
        }
        return page("graph.html", content, {})

    async def facts(self, request: Request) -> Response:
        """The texts of the page's pictures, as of the last seconds."""
        graph, now_s = self._found(request), self._clock()
        shown: list[dict[str, Any]] = []
        for each in graph.variants:
            if each.sample is None:
                shown.append({"boxes": {}, "arrows": {}})
                continue
            key = (graph.namespace, graph.name, each.name)
            window = self._windows.get(key)
            if window is None:
                self._forget_gone()
                window = self._windows[key] = _Window(each.sample, now_s)
            picture = outline_of(each.flow, window.moved(each.sample, now_s))
            shown.append(_texts(picture))
        return json_answer({"flows": shown})

    def _forget_gone(self) -> None:
        known = set(self._board.names())
        for key in [key for key in self._windows if key[:2] not in known]:
            del self._windows[key]

    def _found(self, request: Request) -> ShownGraph:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        graph = self._board.graph(namespace, name)
        if graph is None:
            raise ModelNotFound(f"unknown graph '{namespace}/{name}': see /salver/v1/graphs")
        return graph


def _summary(graph: ShownGraph) -> dict[str, Any]:
    return {
        "namespace": graph.namespace,
        "name": graph.name,
        "kind": graph.kind,
        "serves": graph.serves,
        "url": graph.url,
        "variants": [
            {"name": each.name, "percent": each.percent, "steps": len(each.flow.steps)}
            for each in graph.variants
        ],
        "requests": sum(
            each.sample.requests
            for each in graph.variants
            if each.sample is not None and not each.is_shadow
        ),
    }


def _head(graph: ShownGraph) -> str:
    tone, text = ("good", "serving") if graph.serves else ("warn", "not serving")
    return (
        f'<h1>{escape(graph.name)}</h1><span class="pill {tone}">{text}</span>'
        f'<span class="soft">{escape(graph.kind)} in {escape(graph.namespace)}</span>'
        f'<code class="where">{escape(graph.url)}</code>'
    )


def _section(number: int, variant: ShownVariant) -> str:
    share = "shadow of" if variant.is_shadow else "gets"
    title = f"{escape(variant.name)} <small>{share} {variant.percent:g}%</small>"
    drawing = svg(outline_of(variant.flow, _NOTHING_YET), is_page=True, tip=f"tip{number}")
    return f'<section class="card" data-flow="{number}"><h2>{title}</h2>{drawing}</section>'


def _texts(picture: Picture) -> dict[str, Any]:
    return {
        "boxes": {box.key: [box.facts, box.is_failing] for box in picture.boxes},
        "arrows": {each.key: [each.facts, round(each.heat, 3)] for each in picture.arrows},
    }
