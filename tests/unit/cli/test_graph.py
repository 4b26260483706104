"""`salver graph show`: from a file, and from a server."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from tests.documents import ROOT
from tests.unit.cli.conftest import Run

from salver.cli.graph import rendered
from salver.cli.terminal import Style
from salver.graphs.flow import Edge, Flow, Step, Unit
from salver.graphs.picture import Sample
from salver.graphs.shown import ShownGraph, ShownVariant
from salver.telemetry.graphs import StepFigures

MANIFEST = """\
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: both}
spec:
  nodes:
    root:
      routerType: Ensemble
      steps:
      - {serviceName: iris, name: one}
      - {serviceName: wine, name: two}
"""
FLOW = Flow("g", (Step("model", Unit("model")),), (Edge("model"),))


def graph(answers: int = 0, failed: int = 0) -> ShownGraph:
    errors = {"timeout": failed} if failed else {}
    sample = Sample({"model": StepFigures(answers, errors)}, answers + failed, failed)
    variant = ShownVariant("main", 100.0, FLOW, sample=sample)
    return ShownGraph("Graph", "default", "g", True, "http://here/g", (variant,))


def test_a_file_is_drawn_without_a_server(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text(MANIFEST)
    done = run("graph", "show", "--file", str(file))
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "default/both  InferenceGraph"
    assert "service iris" in done.out and "service wine" in done.out


def test_a_file_in_python_is_drawn_too(run: Run) -> None:
    done = run("graph", "show", "--file", str(ROOT / "examples/fraud.py"))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "default/fraud  Graph"
    assert lines[4].split()[1:] == ["is_amount_large", "function"]


def test_a_file_can_be_drawn_as_mermaid_and_svg(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text(MANIFEST)
    assert run("graph", "show", "--file", str(file), "-o", "mermaid").out.startswith("flowchart LR")
    assert run("graph", "show", "--file", str(file), "-o", "svg").out.startswith("<svg ")


def test_a_file_without_a_graph_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n")
    done = run("graph", "show", "--file", str(file))
    assert (done.code, done.err) == (1, f"salver: {file} declares no graph\n")


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("plain.py", "plain.py declares no graph: put @salver.graph above a function at its top\n"),
        ("syntax.py", "syntax.py, line 3: importing it failed with SyntaxError: expected ':'\n"),
        ("two.py:b", "two.py has no graph 'b'; it has first\n"),
        ("absent.py", "absent.py does not exist (looked in "),
    ],
)
def test_a_file_in_python_that_has_no_such_graph_is_said_as_one(
    run: Run, tmp_path: Path, target: str, fault: str
) -> None:
    (tmp_path / "plain.py").write_text("import salver\n")
    graph = "import salver\n@salver.graph\ndef {}(x){}\n    return salver.model('a')(x)\n"
    (tmp_path / "syntax.py").write_text(graph.format("bad", ""))
    (tmp_path / "two.py").write_text(graph.format("first", ":"))
    done = run("graph", "show", "--file", str(tmp_path / target))
    assert done.code == 1
    assert fault in done.err
    assert done.err.count("\n") == 1


def test_what_is_asked_wrong_is_said(run: Run) -> None:
    assert run("graph", "show").err == "salver: graph show: which graph? give its name, or --file\n"
    assert run("graph", "show", "g", "-o", "png").err == (
        "salver: -o png: is no format; give one of text, mermaid, svg, json\n"
    )


def test_a_graph_that_is_not_there_is_said(run: Run) -> None:
    done = run("graph", "show", "g", "-n", "shop")
    assert done.code == 1
    assert done.err.startswith("salver: there is no graph 'shop/g' that can be drawn; ")


def test_a_graph_is_shown_with_its_figures() -> None:
    assert rendered(graph(1200), "text", Style()) == [
        "default/g  Graph  serving  http://here/g",
        "",
        "request         1,200",
        "└─▶ model       1,200",
        "   └─▶ answer   1,200",
        "",
    ]


def test_what_fails_is_painted() -> None:
    lines = rendered(graph(10, failed=2), "text", Style(is_coloured=True))
    assert lines[2].startswith("\x1b[31m") and "2 failed" in lines[2]


def test_watched_figures_are_rates() -> None:
    lines = rendered(graph(1500), "text", Style(), graph(1000), 10.0)
    assert lines[2].split() == ["request", "50/s"]


def test_json_can_be_read_back() -> None:
    text = "\n".join(rendered(graph(5), "json", Style()))
    assert msgspec.json.decode(text, type=ShownGraph) == graph(5)
    assert io.StringIO(text).readline() == "{\n"
