"""The architecture's rules hold, and the check that guards them would notice if not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GATEWAY = (
    "salver.bootstrap",
    "salver.cli.main",
    "salver.cli.banner",
    "salver.server.rest.app",
    "salver.server.http.listener",
    "salver.server.grpc.listener",
    "salver.server.apis.routes",
    "salver.backends.state.sqlite",
    "salver.engine.queue",
    "salver.backends.local.catalog",
    "salver.telemetry.metrics",
)
FRAMEWORKS = {
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "joblib",
    "skops",
    "xgboost",
    "lightgbm",
    "onnxruntime",
    "opentelemetry",
}


def loaded_by(*modules: str) -> set[str]:
    """The top-level modules in a new interpreter that has imported these."""
    program = f"import sys, json, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def lint_imports(tree: Path) -> "subprocess.CompletedProcess[str]":
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source to plant something in."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_importing_salver_loads_nothing_else() -> None:
    assert "salver" in loaded_by("salver")
    assert loaded_by("salver") & {*FRAMEWORKS, "msgspec", "uvloop", "starlette"} == set()


def test_the_command_line_is_read_before_anything_heavy_loads() -> None:
    loaded = loaded_by("salver.cli.main")
    assert loaded & {*FRAMEWORKS, "asyncio", "msgspec", "uvloop", "starlette"} == set()


def test_the_gateway_loads_neither_numpy_nor_a_framework() -> None:
    assert loaded_by(*GATEWAY) & FRAMEWORKS == set()


def test_the_tree_keeps_its_contracts(tree: Path) -> None:
    done = lint_imports(tree)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("engine/queue.py", "import salver.server.http.listener", "layers BROKEN"),
        ("protocol/frame.py", "import salver.runtimes.registry", "layers BROKEN"),
        ("server/http/head.py", "import numpy", "no NumPy, not even through another module BROKEN"),
        ("protocol/v1_json.py", "def late():\n    import sklearn", "runtimes alone BROKEN"),
        ("runtimes/onnx.py", "import salver.runtimes.sklearn", "does not know another BROKEN"),
    ],
)
def test_a_planted_import_is_noticed(tree: Path, module: str, planted: str, contract: str) -> None:
    path = tree / "src" / "salver" / module
    path.write_text(path.read_text() + "\n" + planted + "\n")
    done = lint_imports(tree)
    assert done.returncode == 1
    assert contract in done.stdout
