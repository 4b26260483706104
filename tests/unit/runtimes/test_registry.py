"""Runtimes are found by entry points, and nothing of a framework is imported to find them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from salver.errors import LoadFailed, MissingFramework, UnrecognisedArtifact
from salver.runtimes import loading
from salver.runtimes.ports import ModelSource
from salver.runtimes.registry import BUILT_IN, runtime_named, runtime_names

FRAMEWORKS = ("sklearn", "xgboost", "lightgbm", "onnxruntime", "pandas", "scipy", "joblib")


def test_the_built_in_runtimes_are_all_there() -> None:
    assert {"lightgbm", "onnx", "python", "sklearn", "xgboost"} <= set(runtime_names())
    for name in runtime_names():
        assert runtime_named(name).name == name


def test_the_list_of_built_in_runtimes_is_that_of_the_package() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert tomllib.loads(text)["project"]["entry-points"]["salver.runtimes"] == dict(BUILT_IN)


def test_an_unknown_runtime_names_the_nearest() -> None:
    with pytest.raises(UnrecognisedArtifact, match=r"no runtime 'sklern'.*did you mean 'sklearn'"):
        runtime_named("sklern")


def test_making_every_runtime_imports_no_framework() -> None:
    code = (
        "import sys; from salver.runtimes.registry import *;"
        "[runtime_named(n) for n in runtime_names()];"
        f"print([m for m in {FRAMEWORKS!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_missing_framework_names_the_extra_to_install(tmp_path: Path) -> None:
    source = ModelSource(name="churn", path=tmp_path / "churn.bst", runtime="xgboost")
    with pytest.raises(
        MissingFramework,
        match=r"'churn' \(churn.bst\) needs no_such_framework, which is not installed; "
        r"run: pip install 'salver\[xgboost\]'",
    ):
        loading.framework_module(source, "no_such_framework", "xgboost")


@pytest.mark.parametrize("name", ["sklearn", "xgboost", "lightgbm", "onnx", "python"])
def test_a_file_that_is_gone_fails_the_load(tmp_path: Path, name: str) -> None:
    gone = tmp_path / "gone.bin"
    with pytest.raises(LoadFailed, match="gone"):
        runtime_named(name).load(ModelSource(name="gone", path=gone, runtime=name, attribute="M"))
