"""Graphs written in Python, served: they answer what they answer without a server."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.documents import ROOT
from tests.e2e.server import Server, command, environment, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MODELS = """
import time
import numpy as np

class Model:
    def predict(self, x: np.ndarray) -> np.ndarray:
        %s
"""
BODIES = {
    "gbm": "return x.sum(axis=1)",
    "mlp": "return x.sum(axis=1) * 3",
    "rules": "return x[:, 0]",
    "odds": "return np.stack([1 - x[:, 0] / 10, x[:, 0] / 10], axis=1)",
    "broken": "raise ValueError('it is broken')",
    "slow": "time.sleep(5); return x.sum(axis=1)",
}
GRAPHS = """
import numpy as np
import salver

@salver.step
def features(x):
    return {"low": x - 1, "high": x + 1}

@salver.step
def is_large(x):
    return bool((x > 5).any())

@salver.step
def kind_of(x):
    return int(x.flat[0]) % 3

@salver.step
def minus(left, right):
    return left - right

@salver.graph
def joined(x):
    f = features(x)
    return f["high"] if is_large(f["low"]) else x

@salver.graph
def everything(x):
    y = joined(joined(x))
    sure = salver.cascade("odds", "odds", threshold=0.7)(y)
    both = salver.weighted(salver.model("gbm")(y), salver.model("mlp")(y), weights=[3, 1])
    most = salver.quorum(2, "gbm", "broken", "rules")(minus(y, x))
    hedged = salver.first_of("broken", "gbm", after_ms=1)(sure)
    if is_large(both):
        return salver.stack(both, most, hedged)
    rest = lambda x: minus(both, salver.model("rules")(x))
    return salver.choose(kind_of(x), "gbm", rest, "mlp")(x)

@salver.graph
def hedge(x):
    return salver.first_of("slow", "gbm", after_ms=20)(x)

@salver.graph(name="half-and-half")
def split(x):
    return salver.router("weights", arms=["gbm", "rules"], weights=[1, 1])(x)
"""


def written(folder: Path) -> list[str]:
    """The targets: the graphs' file, and a file for each model."""
    (folder / "graphs.py").write_text(GRAPHS)
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(MODELS % body)
    return [str(folder / f"{name}.py") for name in ("graphs", *BODIES)]


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"e2e_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(*written(folder), str(ROOT / "examples/fraud.py")) as server:
        for name in ("everything", "hedge", "half-and-half", "fraud", "joined"):
            wait_ready(server, name)
        yield server


def wait_ready(server: Server, name: str) -> None:
    deadline_s = time.monotonic() + 20
    while server.get(f"/v2/models/{name}/ready").status_code != 200:
        assert time.monotonic() < deadline_s, server.log.read_text()
        time.sleep(0.05)


def answer(server: Server, graph: str, rows: Any) -> np.ndarray:
    reply = server.infer(graph, rows)
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


@pytest.mark.parametrize("first", [-4, 0, 1, 2, 3, 6, 7, 8])
def test_a_graph_answers_what_its_python_answers(server: Server, folder: Path, first: int) -> None:
    module = imported(folder / "graphs.py")
    models = {name: imported(folder / f"{name}.py").Model() for name in BODIES}
    rows = [[float(first), 2.0]]
    expected = module.everything.test(np.array(rows), models=models)
    assert answer(server, "everything", rows) == pytest.approx(expected)


def test_the_example_answers_over_both_protocols(server: Server) -> None:
    large = np.log1p([1000, 2]).sum() * 2
    assert answer(server, "fraud", [[1000.0, 2.0]])[0] == pytest.approx(large)
    reply = server.post("/v1/models/fraud:predict", {"instances": [[1.0, 2.0], [2.0, 3.0]]})
    assert reply.json()["predictions"] == pytest.approx(np.log1p([1, 2]).tolist())


def test_a_hedge_does_not_wait_for_the_slow_one(server: Server) -> None:
    started_s = time.monotonic()
    assert answer(server, "hedge", [[1.0, 2.0]]).tolist() == [3.0]
    assert time.monotonic() - started_s < 3


def test_a_router_by_weights_asks_both(server: Server) -> None:
    seen = {answer(server, "half-and-half", [[1.0, 2.0]]).tolist()[0] for _ in range(40)}
    assert seen == {1.0, 3.0}


def test_a_step_that_fails_is_named(server: Server) -> None:
    reply = server.post(
        "/v2/models/everything/infer",
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
    )
    assert reply.status_code >= 400
    assert "features" in reply.json()["error"]


def test_a_model_that_is_missing_is_named_and_the_graph_is_not_ready(tmp_path: Path) -> None:
    targets = written(tmp_path)
    with serving(f"{targets[0]}:split", str(tmp_path / "gbm.py")) as server:
        deadline_s = time.monotonic() + 10
        text = ""
        while "rules" not in text and time.monotonic() < deadline_s:
            text = server.get("/apis/salver.dev/v1/namespaces/default/graphs/half-and-half").text
            time.sleep(0.1)
        assert "rules" in text
        assert server.get("/v2/models/half-and-half/ready").status_code != 200
        assert server.infer("gbm", [[1.0, 2.0]]).status_code == 200


def test_a_graph_that_cannot_be_traced_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import salver\n@salver.step\ndef f(x): return x\n"
        "@salver.graph\ndef bad(x):\n    return f(x) * 2\n"
    )
    done = subprocess.run(
        command("serve", str(path)),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("salver: bad.py, line 6: calculating with it needs data")
    assert done.stderr.count("\n") == 1


def test_what_render_prints_can_be_served(tmp_path: Path) -> None:
    targets = written(tmp_path)
    done = subprocess.run(
        command("graph", "render", targets[0]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment(),
        cwd=tmp_path,
    )
    (tmp_path / "graphs.yaml").write_text(done.stdout)
    with serving("-f", str(tmp_path / "graphs.yaml"), "--state-dir", str(tmp_path / "state"),
                 *targets[1:]) as server:  # fmt: skip
        wait_ready(server, "joined")
        assert answer(server, "joined", [[1.0, 2.0]]).tolist() == [[1.0, 2.0]]
        assert answer(server, "joined", [[8.0, 2.0]]).tolist() == [[9.0, 3.0]]


def test_the_example_runs_without_a_server() -> None:
    program = (
        "import sys; sys.path.insert(0, 'examples'); import fraud, numpy as np;"
        "m = lambda x: x.sum(axis=1); print(fraud.fraud.test(np.ones((1, 2)), models={'rules': m}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[1.38629436]"
