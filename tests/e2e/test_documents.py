"""The commands and programs in the documents, run as written on the server they describe.

Only the addresses differ: a test's server takes free ports.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks, commands
from tests.e2e.pages import Run
from tests.e2e.server import Server, serving
from tests.e2e.test_clients_kserve import kserve_python

__all__ = ["kserve_python"]

pytestmark = pytest.mark.e2e

README = ROOT / "README.md"
CALL_IT = ROOT / "docs/how-to/call-it.md"
CURLS = [line for path in (README, CALL_IT) for line in commands(path) if line.startswith("curl")]
HOW_TO = ROOT / "docs/how-to"
PAGES = [
    "ask-in-seldons-protocol.md",
    "autoscaling.md",
    "compiled-models.md",
    "components.md",
    "inference-graphs.md",
    "many-models.md",
    "pipelines.md",
    "priorities-and-limits.md",
    "python-graphs.md",
    "rollouts.md",
    "routers.md",
    "see-a-graph.md",
    "seldon-deployments.md",
    "serve-manifests.md",
    "shared-memory.md",
    "stream.md",
    "triton-repository.md",
    "tensorflow-serving-clients.md",
    "tune.md",
    "use-kubectl.md",
]
"""How-tos that are run from their first line to their last."""
TRITON = [each.text for each in blocks(CALL_IT, "python") if "tritonclient" in each.text]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(str(ROOT / "examples/iris.skops")) as running:
        yield running


def here(text: str, server: Server) -> str:
    """The text with the default addresses replaced by the server's."""
    text = text.replace("127.0.0.1:8080", server.url.removeprefix("http://"))
    return text.replace("127.0.0.1:8081", server.grpc)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS)
def test_every_curl_line_is_answered(server: Server, line: str) -> None:
    words = [*shlex.split(here(line, server)), "--fail-with-body"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout
    json.loads(done.stdout or "{}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_readme_shows_the_answer_that_comes(server: Server) -> None:
    block = next(each for each in blocks(README, "console") if each.text.startswith("$ curl"))
    line, shown = block.text.splitlines()
    done = subprocess.run(shlex.split(here(line[2:], server)), capture_output=True, timeout=30)
    assert json.loads(done.stdout) == json.loads(shown)


@pytest.mark.parametrize("program", TRITON, ids=["http", "grpc"])
def test_the_tritonclient_programs_print_the_class(server: Server, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(program, server)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[0]\n", done.stderr


def test_the_python_class_shown_answers(tmp_path: Path) -> None:
    path = tmp_path / "my_model.py"
    shown = blocks(ROOT / "docs/how-to/write-a-python-model.md", "python")[0].text
    path.write_text(shown)
    with serving(f"{path}:Iris") as running:
        answer = running.infer("my_model", [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])
        species, _ = answer.json()["outputs"]
        assert species["data"] == ["setosa", "virginica"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES)
def test_the_how_to_does_what_it_says(page: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    try:
        run.read(HOW_TO / page)
    finally:
        run.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.timeout(120)
def test_the_readme_serves_the_manifest_that_is_shipped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    serve, ask = [each for each in blocks(README, "console") if "isvc" in each.text]
    try:
        run.type(serve.text)
        run.type(ask.text)
    finally:
        run.stop()


@pytest.mark.kserve
@pytest.mark.timeout(600)
def test_the_kserve_client_shown_creates_waits_and_deletes(
    tmp_path: Path, kserve_python: Path
) -> None:
    page = HOW_TO / "use-kubectl.md"
    run = Run(tmp_path)
    try:
        run.read(page)
        done = subprocess.run(
            [str(kserve_python), "-c", blocks(page, "python")[0].text],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    finally:
        run.stop()
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("/serving/default/flowers\n")
