"""MLServer's `model-settings.json`: what it says of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from salver.artifacts.layout import discover
from salver.artifacts.mlserver import RUNTIME, read_settings_model
from salver.errors import ArtifactError

LIGHTGBM = "tree\nversion=v4\n"
SKLEARN: dict[str, Any] = {"implementation": "mlserver_sklearn.SKLearnModel"}


def write(folder: Path, settings: dict[str, Any], **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    path = folder / "model-settings.json"
    path.write_text(json.dumps(settings))
    return path


def test_a_runtimes_model_is_found_by_its_well_known_name(tmp_path: Path) -> None:
    file = write(tmp_path / "iris", SKLEARN, model__joblib="?", notes__txt="?")
    model = read_settings_model(file)
    assert (model.name, model.version, model.runtime) == ("iris", "1", "sklearn")
    assert model.path == (tmp_path / "iris" / "model.joblib").resolve()


def test_the_uri_is_relative_to_the_file(tmp_path: Path) -> None:
    write(tmp_path / "store", {}, some__bst=LIGHTGBM)
    settings = {
        "name": "m",
        "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": "../store/some.bst", "version": "v0.1.0"},
    }
    (target,) = discover(str(write(tmp_path / "m", settings)))
    assert (target.name, target.version, target.runtime) == ("m", "v0.1.0", "lightgbm")
    assert target.path == (tmp_path / "store" / "some.bst").resolve()


def test_content_decides_the_runtime_before_the_settings_do(tmp_path: Path) -> None:
    file = write(tmp_path, {**SKLEARN, "parameters": {"uri": "./a"}}, a=LIGHTGBM)
    assert discover(str(file))[0].runtime == "lightgbm"


def test_a_class_beside_the_file_is_a_plain_one_or_mlservers(tmp_path: Path) -> None:
    code = (
        "from mlserver import MLModel as Base\nimport mlserver_sklearn\n"
        "class Plain:\n    pass\nclass First(Base):\n    pass\nclass Second(First):\n    pass\n"
        "class Third(mlserver_sklearn.SKLearnModel):\n    pass\n"
    )
    for name, runtime in (("Plain", "python"), ("First", RUNTIME), ("Second", RUNTIME)):
        file = write(tmp_path, {"implementation": f"my.{name}"}, my__py=code)
        model = read_settings_model(file)
        assert (model.runtime, model.attribute) == (runtime, name)
    file = write(tmp_path, {"implementation": "my.Third"}, my__py=code)
    assert read_settings_model(file).runtime == RUNTIME


def test_settings_become_options_and_metadata(tmp_path: Path) -> None:
    settings = {
        **SKLEARN,
        "platform": "mine",
        "max_batch_size": "16",
        "max_batch_time": 0.5,
        "parallel_workers": 3,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "parameters": {"extra": {"a": 1}, "content_type": "np"},
    }
    found = read_settings_model(write(tmp_path, settings, model__joblib="?")).overrides
    assert (found.max_batch_rows, found.max_batch_delay_s, found.workers) == (16, 0.5, 3)
    assert (found.platform, found.inputs[0].name, found.inputs[0].content_type) == (
        "mine",
        "x",
        "np",
    )
    assert found.parameters["extra"] == {"a": 1}


def test_a_batch_without_a_time_is_no_batch_as_in_mlserver(tmp_path: Path) -> None:
    file = write(tmp_path, {**SKLEARN, "max_batch_size": 8}, model__joblib="?")
    assert read_settings_model(file).overrides.max_batch_rows == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"implementation": "mlserver_mlflow.MLflowRuntime"}, "is no runtime that Salver has"),
        ({"implementation": "models.M"}, "there is no models.py beside the file"),
        ({"implementation": "here.Missing"}, "here.py has no class Missing; it has Here"),
        ({**SKLEARN, "parameters": {"uri": "gone.joblib"}}, "gone.joblib does not exist"),
        ({**SKLEARN, "inputs": [{"name": "x", "datatype": "F"}]}, "unknown datatype 'F'"),
        ({**SKLEARN, "max_batch_size": -1}, "max_batch_size: must be at least 0"),
        ({**SKLEARN, "parameters": {"environment_tarball": "e.tar.gz"}}, "e.tar.gz does not exist"),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    file = write(tmp_path, settings, model__joblib="?", here__py="class Here:\n    pass\n")
    with pytest.raises(ArtifactError, match=message):
        read_settings_model(file)


def test_a_folder_serves_described_models_and_others_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "a" / "deep", {**SKLEARN, "name": "described"}, model__joblib=LIGHTGBM)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.txt").write_text(LIGHTGBM)
    assert [target.name for target in discover(str(tmp_path))] == ["described", "plain"]


def test_versions_that_are_no_numbers_are_sorted_by_those_in_them(tmp_path: Path) -> None:
    for version in ("v10", "v9", "v9.1"):
        settings = {**SKLEARN, "name": "m", "parameters": {"version": version}}
        write(tmp_path / version, settings, model__joblib=LIGHTGBM)
    assert [target.version for target in discover(str(tmp_path))] == ["v9", "v9.1", "v10"]


def test_two_files_that_claim_one_model_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder, {**SKLEARN, "name": "m"}, model__joblib=LIGHTGBM)
    with pytest.raises(ArtifactError, match="both claim the name 'm'"):
        discover(str(tmp_path))


def test_what_has_no_meaning_is_a_note(tmp_path: Path) -> None:
    file = write(tmp_path, {**SKLEARN, "warm_workers": True}, model__joblib=LIGHTGBM)
    (note,) = discover(str(file))[0].notes
    assert "warm_workers: has no meaning on this backend" in note
