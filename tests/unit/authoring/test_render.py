"""The process that traces: a file in, manifests out; and how the command line asks it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from salver.artifacts.graph_modules import declared_graphs
from salver.artifacts.recognise import recognise
from salver.cli.main import main
from salver.cli.python_graphs import manifests_of, split_targets
from salver.errors import CommandFailed, UnrecognisedArtifact
from salver.spec.read import read_manifests

TWO = """\
import salver

print("hello from the import")

@salver.step
def plus(x):
    return x + 1

@salver.graph
def first(x):
    return plus(x)

@salver.graph(name="other")
def second(x):
    return salver.model("m")(plus(x))
"""


def written(folder: Path, text: str, name: str = "two.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_s_graphs_are_found_without_running_it(tmp_path: Path) -> None:
    text = "raise SystemExit\n" + TWO
    assert declared_graphs(written(tmp_path, text)) == ("first", "second")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from salver import graph\n@graph\ndef a(x): ...", ("a",)),
        ("from salver import graph as g\n@g(name='b')\ndef a(x): ...", ("a",)),
        ("import salver as s\n@s.graph\ndef a(x): ...", ("a",)),
        ("import other\n@other.graph\ndef a(x): ...", ()),
        ("from .salver import graph\n@graph\ndef a(x): ...", ()),
        ("class A:\n    def predict(self, x): ...", ()),
        ("def broken(:", ()),
    ],
)
def test_what_declares_a_graph(tmp_path: Path, text: str, found: tuple[str, ...]) -> None:
    assert declared_graphs(written(tmp_path, text)) == found


def test_only_python_files_are_looked_into(tmp_path: Path) -> None:
    assert declared_graphs(tmp_path) == ()
    assert declared_graphs(written(tmp_path, TWO, "two.txt")) == ()


def test_targets_are_told_apart(tmp_path: Path) -> None:
    graph = written(tmp_path, TWO)
    model = written(tmp_path, "class A:\n    def predict(self, x): ...", "model.py")
    targets = [str(graph), f"{graph}:second", f"{graph}:Model", str(model), "gbm.skops"]
    assert split_targets(targets) == (targets[:2], targets[2:])


def test_a_file_with_a_graph_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnrecognisedArtifact, match="declares the graph first and no model"):
        recognise(written(tmp_path, TWO))


def test_all_graphs_of_a_file_are_rendered_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    found = manifests_of(str(path))
    assert [each["metadata"]["name"] for each in found] == ["first", "other"]
    assert found[0]["spec"]["steps"] == [{"name": "plus", "python": f"{path}:plus"}]
    (one,) = manifests_of(f"{path}:second", shown="two.py")
    assert one["spec"]["steps"][0]["python"] == "two.py:plus"


def test_the_command_prints_yaml_with_the_path_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, TWO)
    monkeypatch.chdir(tmp_path)
    assert main(["graph", "render", "two.py"]) == 0
    reading = read_manifests(capsys.readouterr().out, "stdout")
    assert reading.problems == ()
    first, other = reading.manifests
    assert (first.name, other.name) == ("first", "other")
    assert first.resource.spec.steps[0].python == "two.py:plus"
    assert main(["graph", "render"]) == 1
    assert capsys.readouterr().err.startswith("salver: graph render: which file?")


def test_a_graph_that_is_imported_belongs_to_the_other_file(tmp_path: Path) -> None:
    written(tmp_path, TWO)
    text = "import salver\nfrom two import first, plus\n@salver.graph\ndef a(x):\n"
    path = written(tmp_path, text + "    return plus(first(x))\n", "mine.py")
    (found,) = manifests_of(str(path))
    assert [each["python"] for each in found["spec"]["steps"]] == [f"{tmp_path}/two.py:plus"] * 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import salver\n1 / 0\n", "two.py, line 2: importing it failed with ZeroDivisionError"),
        ("import salver\ndef broken(:\n", "two.py, line 2: importing it failed with SyntaxError"),
        ("raise SystemExit(3)", "two.py, line 1: importing it failed with SystemExit: 3"),
        ("import os\nos._exit(4)", "ended with exit code 4 and no answer"),
        ("import os\nos.kill(os.getpid(), 9)", "ended with signal 9"),
        ("x = 1", "two.py declares no graph: put @salver.graph above a function at its top"),
        (
            "import salver\n@salver.graph\ndef a(x):\n    return None\n",
            "two.py, line 2: graph a returns nothing",
        ),
        (
            "import salver\n@salver.graph\ndef a(x):\n    return a(x)\n",
            "two.py, line 4: graph a calls itself, which never ends",
        ),
        (
            "import salver\n@salver.graph\ndef a(x):\n    return salver.quorum(3, 'b')(x)\n",
            "two.py, line 4: a quorum of 3 of 1 parts",
        ),
        (
            "import salver\n@salver.graph\ndef a(x):\n    return salver.model('a')(x)\n",
            "two.py, line 2: graph a: spec.steps[0].model: 'a' is this graph itself",
        ),
        (
            "import salver\n@salver.graph\ndef a(x):\n    return x + 1\n",
            "two.py, line 4: calculating with it needs data",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(CommandFailed) as found:
        manifests_of(str(written(tmp_path, text)))
    assert fault in str(found.value)
    assert "\n" not in str(found.value)


def test_a_file_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    path = written(tmp_path, "import time\ntime.sleep(60)")
    with pytest.raises(CommandFailed, match="tracing its graphs takes longer than 1 s"):
        manifests_of(str(path), time_limit_s=1.0)
    with pytest.raises(CommandFailed, match="does not exist"):
        manifests_of(str(tmp_path / "none.py"))


def test_the_process_loads_no_numpy_for_a_graph_that_needs_none(tmp_path: Path) -> None:
    path = written(tmp_path, TWO + "\nimport sys\nassert 'numpy' not in sys.modules\n")
    assert len(manifests_of(str(path))) == 2
    program = (
        "import sys, salver, json; salver.graph; salver.router; salver.average; salver.model;"
        "print(json.dumps('numpy' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) is False


def test_what_salver_exports_is_there_and_nothing_else() -> None:
    import salver

    assert all(callable(getattr(salver, name)) for name in salver.__all__)
    assert set(salver.__all__) <= set(dir(salver))
    with pytest.raises(AttributeError, match="has no attribute 'grpah'"):
        salver.grpah  # noqa: B018
