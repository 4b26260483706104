"""Corrupt, truncated and hostile MLflow folders are refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import serving
from tests.unit.runtimes.requests import load

from salver.errors import LoadFailed

pytestmark = pytest.mark.frameworks

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def copied(saved: Path, tmp_path: Path, old: str, new: str) -> Path:
    folder = Path(shutil.copytree(saved / "flowers", tmp_path / "m"))
    text = (folder / "MLmodel").read_text()
    assert old in text
    (folder / "MLmodel").write_text(text.replace(old, new, 1))
    return folder


def refused(folder: Path, message: str) -> None:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(folder, "mlflow")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB + "flavors: *i\n", "aliases stand for more"),
        (BOMB + "flavors: {python_function: {loader_module: *i}}\n", "aliases stand for more"),
        ("[" * 100_000, "line 1, column 65: is nested deeper"),
        ("!!python/object/apply:os.system ['touch ran']", "is not allowed|python/object"),
        ("[1]", "no mapping flavors"),
        ("flavors: [1]", "no mapping flavors"),
        (
            "flavors: {sklearn: {}, onnx: {}}",
            r"no flavour python_function, .*\(it has sklearn, onn",
        ),
        ("flavors: {python_function: 3}", "no mapping python_function"),
        ("flavors: {python_function: {loader_module: 3}}", "names no loader_module"),
        (b"\x1b]0;\xff\x07", r"no UTF-8 at byte 4: \\x1b\]0;"),
    ],
)
def test_a_description_that_is_none_is_refused(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copied(saved, tmp_path, "", "")
    (folder / "MLmodel").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(folder, message)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("loader_module: mlflow.sklearn", "loader_module: mlflow.oracle", "flavour mlflow.oracle"),
        ("loader_module: mlflow.sklearn", "loader_module: antigravity_", "'antigravity_'"),
        ("loader_module: mlflow.sklearn", "loader_module: json", "_load_pyfunc"),
        ("model_path: ", "model_path: nowhere-", "nowhere-.*|No such file"),
    ],
)
def test_a_flavour_or_file_that_is_not_there_is_named(
    saved: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    refused(copied(saved, tmp_path, old, new), message)


def test_a_hostile_folder_harms_no_other(saved: Path, tmp_path: Path) -> None:
    """The gateway reads an MLmodel too, for its packages: within bounds, and it says why not."""
    folder = copied(saved, tmp_path / "models", "", "")
    (folder / "MLmodel").write_text(BOMB + "flavors: *i\n")
    shutil.copytree(saved / "flowers", tmp_path / "models" / "flowers")
    with serving(str(tmp_path / "models"), start_timeout_s=120) as server:
        index = {each["name"]: each for each in server.post("/v2/repository/index").json()}
        assert index["flowers"]["state"] == "READY"
        assert "aliases stand for more" in index["m"]["reason"]
        answer = server.post("/v2/repository/models/m/load")
        assert answer.status_code == 400
        assert "aliases stand for more" in answer.json()["error"]
