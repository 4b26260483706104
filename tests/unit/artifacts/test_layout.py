"""Targets become models: files, classes, model folders, versions, folders of models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from salver.artifacts.layout import discover, read_target
from salver.errors import ArtifactError, UnrecognisedArtifact

LIGHTGBM = b"tree\nversion=v4\n"
ONE_CLASS = "class Iris:\n    def predict(self, x): ...\n"


def put(path: Path, content: bytes | str = LIGHTGBM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def listed(target: Path, name: str = "") -> list[tuple[str, str, str]]:
    return [(each.name, each.version, each.path.name) for each in discover(str(target), name)]


def test_a_file_is_named_by_its_stem(tmp_path: Path) -> None:
    (model,) = discover(str(put(tmp_path / "churn.v2.txt")))
    assert (model.name, model.version, model.runtime) == ("churn.v2", "1", "lightgbm")
    assert model.path.is_absolute()
    assert listed(put(tmp_path / "iris.joblib.gz")) == [("iris", "1", "iris.joblib.gz")]


def test_a_name_renames_the_one_model(tmp_path: Path) -> None:
    assert listed(put(tmp_path / "m.txt"), "churn") == [("churn", "1", "m.txt")]
    assert listed(put(tmp_path / "only" / "m.txt").parent, "churn") == [("churn", "1", "m.txt")]


def test_a_class_is_named_behind_the_colon(tmp_path: Path) -> None:
    path = put(tmp_path / "my_model.py", ONE_CLASS)
    (model,) = discover(f"{path}:Iris")
    assert (model.name, model.runtime, model.attribute) == ("my_model", "python", "Iris")
    assert discover(str(path)) == [model]


def test_a_relative_target_is_found_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "m.txt")
    monkeypatch.chdir(tmp_path)
    assert discover("m.txt")[0].path == tmp_path / "m.txt"
    put(tmp_path / "model.txt")
    (tmp_path / "m.txt").unlink()
    assert discover(".")[0].name == tmp_path.name


def test_a_folder_with_a_file_called_model_is_that_model(tmp_path: Path) -> None:
    put(tmp_path / "iris" / "model.txt")
    put(tmp_path / "iris" / "model-settings.json", "{}")
    assert listed(tmp_path / "iris") == [("iris", "1", "model.txt")]


def test_numbered_folders_are_versions_lowest_first(tmp_path: Path) -> None:
    for version in ("10", "2", "1"):
        put(tmp_path / "iris" / version / "model.txt")
    assert [each[:2] for each in listed(tmp_path / "iris")] == [
        ("iris", "1"),
        ("iris", "2"),
        ("iris", "10"),
    ]


def test_a_folder_of_models_has_one_per_entry(tmp_path: Path) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "b" / "clf.txt")
    put(tmp_path / "c" / "1" / "x.txt")
    put(tmp_path / "c" / "2" / "y.txt")
    put(tmp_path / ".hidden" / "model.txt")
    put(tmp_path / ".hidden.txt")
    put(tmp_path / "notes.txt", "nothing")
    put(tmp_path / "train.py", "x = 1")
    put(tmp_path / "data" / "rows.csv", "1,2")
    assert listed(tmp_path) == [
        ("a", "1", "a.txt"),
        ("b", "1", "clf.txt"),
        ("c", "1", "x.txt"),
        ("c", "2", "y.txt"),
    ]


def test_one_file_in_a_folder_of_models_keeps_its_own_name(tmp_path: Path) -> None:
    put(tmp_path / "models" / "churn.txt")
    assert listed(tmp_path / "models") == [("churn", "1", "churn.txt")]


def test_a_runtime_overrules_what_is_recognised(tmp_path: Path) -> None:
    path = put(tmp_path / "strange.bin", "who knows")
    assert discover(str(path), runtime="sklearn")[0].runtime == "sklearn"
    assert discover(str(put(tmp_path / "m.txt")), runtime="xgboost")[0].runtime == "xgboost"
    with pytest.raises(UnrecognisedArtifact):
        discover(str(path))


@pytest.mark.parametrize(
    ("files", "target", "fact"),
    [
        ((), "gone.joblib", "does not exist"),
        ((), "gone.py:Iris", "gone.py does not exist"),
        ((), "", "it is empty"),
        (("rows.csv",), "", "it has rows.csv"),
        (("a.txt", "a/model.txt"), "", "both claim the name 'a'"),
        (("m/a.txt", "m/b.txt", "x.txt"), "", "holds 2 model files"),
        (("1/a.txt", "1/b.txt"), "", "must hold exactly one model file"),
        (("1/a.txt", "2/rows.csv"), "", "must hold exactly one model file"),
        (("1/a.txt", "01/a.txt"), "", "both claim the name"),
        (("my model.txt",), "my model.txt", "'my model'"),
        (("-m.txt",), "-m.txt", "cannot be a model's name"),
    ],
)
def test_a_target_that_is_no_model_is_refused_with_the_fact(
    tmp_path: Path, files: tuple[str, ...], target: str, fact: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for file in files:
        put(folder / file)
    with pytest.raises(ArtifactError) as caught:
        discover(str(folder / target))
    assert fact in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_name_cannot_name_two_models(tmp_path: Path) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "b.txt")
    with pytest.raises(ArtifactError, match="cannot name the 2 models"):
        discover(str(tmp_path), "churn")


def test_a_broken_model_among_models_is_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "b.joblib", "broken")
    with pytest.raises(UnrecognisedArtifact, match=r"b\.joblib"):
        discover(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "m.txt")
    path.chmod(0)
    with pytest.raises(ArtifactError, match="Permission denied"):
        discover(str(path))


def test_files_are_not_opened_unless_asked_to_be_read(tmp_path: Path) -> None:
    put(tmp_path / "good.txt")
    put(tmp_path / "versions" / "2" / "model.pkl", "no pickle at all")
    put(tmp_path / "README.md", "no model")
    found = discover(str(tmp_path), reads=False)
    assert [(each.name, each.version, each.runtime) for each in found] == [
        ("good", "1", ""),
        ("versions", "2", ""),
    ]
    assert read_target(found[0]).runtime == "lightgbm"
    with pytest.raises(UnrecognisedArtifact, match=r"model\.pkl"):
        read_target(found[1])


def refusals(target: Path) -> dict[tuple[str, str], str]:
    found = discover(str(target), lists_refused=True)
    return {(each.name, each.version): each.refusal for each in found}


def test_a_broken_model_is_listed_among_models_where_that_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "b.joblib", "no pickle")
    put(tmp_path / "two" / "x.onnx")
    put(tmp_path / "two" / "y.onnx")
    put(tmp_path / "trees" / "1" / "m.txt")
    put(tmp_path / "trees" / "2" / "m.onnx", "no ONNX")
    put(tmp_path / "trees" / "3" / "readme.txt")
    put(tmp_path / "bert" / "1" / "model.onnx")
    put(tmp_path / "bert" / "config.pbtxt", "garbage {")
    found = refusals(tmp_path)
    assert [key for key, refusal in found.items() if not refusal] == [("a", "1"), ("trees", "1")]
    assert "b.joblib is no model that Salver knows" in found["b", "1"]
    assert "holds 2 model files (x.onnx, y.onnx)" in found["two", "1"]
    assert "m.onnx is no model" in found["trees", "2"]
    assert "must hold exactly one model file" in found["trees", "3"]
    assert "config.pbtxt:1: ends before" in found["bert", "1"]
    assert all("\n" not in each for each in found.values())
    with pytest.raises(ArtifactError):
        discover(str(tmp_path))


def test_a_settings_file_that_is_wrong_leaves_the_others_be(tmp_path: Path) -> None:
    put(tmp_path / "a" / "model.txt")
    put(tmp_path / "a" / "model-settings.json", '{"name": "anna"}')
    put(tmp_path / "b" / "model-settings.json", "{")
    put(tmp_path / "c" / "model.onnx", "no ONNX")
    settings = '{"name": "carl", "parameters": {"uri": "./model.onnx", "version": "v3"}}'
    put(tmp_path / "c" / "model-settings.json", settings)
    found = refusals(tmp_path)
    assert found["anna", "1"] == ""
    assert "model-settings.json" in found["b", "1"]
    assert "model.onnx is no model" in found["carl", "v3"]


def test_a_target_itself_is_refused_however_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UnrecognisedArtifact):
        discover(str(put(tmp_path / "b.joblib", "no pickle")), lists_refused=True)
    with pytest.raises(ArtifactError, match="ends before"):
        put(tmp_path / "bert" / "config.pbtxt", "garbage {")
        discover(str(tmp_path / "bert"), lists_refused=True)
