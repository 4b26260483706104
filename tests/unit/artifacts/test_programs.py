"""Programs are told by their names and by what must be in them; nothing of them is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from salver.artifacts.layout import discover
from salver.artifacts.recognise import recognise
from salver.errors import UnrecognisedArtifact


def jar(path: Path, manifest: str | None = "Manifest-Version: 1.0\r\nMain-Class: Iris\r\n") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Iris.class", b"\xca\xfe\xba\xbe")
        if manifest is not None:
            archive.writestr("META-INF/MANIFEST.MF", manifest)
    return path


def test_a_jar_with_a_main_class_is_a_program(tmp_path: Path) -> None:
    found = recognise(jar(tmp_path / "iris.jar"))
    assert (found.runtime, found.detail) == ("program", "Java program Iris")


@pytest.mark.parametrize("manifest", [None, "Manifest-Version: 1.0\r\n"])
def test_a_jar_without_one_is_a_library(tmp_path: Path, manifest: str | None) -> None:
    with pytest.raises(UnrecognisedArtifact, match=r"has no Main-Class.* a library and no model"):
        recognise(jar(tmp_path / "lib.jar", manifest))


def test_a_jar_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = jar(tmp_path / "iris.jar")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnrecognisedArtifact, match="is no jar that can be read"):
        recognise(path)


@pytest.mark.parametrize(
    "text",
    [
        "predict <- function(x) x",
        "library(stats)\npredict = function(x) {\n}",
        "predict <- \\(x) x",
    ],
)
def test_an_r_file_with_predict_is_a_program(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.R").write_text(text)
    assert recognise(tmp_path / "m.R").runtime == "program"


def test_an_r_file_without_predict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.R").write_text("model <- lm(y ~ x)\nx <- predict(model)\n")
    with pytest.raises(UnrecognisedArtifact, match="defines no function predict; add one"):
        recognise(tmp_path / "train.R")


def test_a_folder_with_settings_is_one_program_whatever_else_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "churn"
    folder.mkdir()
    (folder / "salver-program.json").write_text("{}")
    (folder / "weights.json").write_text("{}")
    for target in (folder, tmp_path, folder / "salver-program.json"):
        (found,) = discover(str(target))
        assert found.runtime == "program"
    assert [each.name for each in discover(str(tmp_path))] == ["churn"]


def test_a_folder_of_programs_leaves_out_what_is_none(tmp_path: Path) -> None:
    jar(tmp_path / "iris.jar")
    jar(tmp_path / "lib.jar", None)
    (tmp_path / "train.R").write_text("x <- 1")
    (tmp_path / "cars.R").write_text("predict <- function(x) x")
    assert [each.name for each in discover(str(tmp_path))] == ["cars", "iris"]
