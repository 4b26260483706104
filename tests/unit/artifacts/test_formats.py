"""Networks, XML models and model folders are told by what is in them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from salver.artifacts.layout import discover
from salver.artifacts.recognise import recognise
from salver.errors import UnrecognisedArtifact


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "{}")
    return path


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


@pytest.mark.parametrize(
    ("content", "runtime"),
    [
        (b"\x1c\x00\x00\x00TFL3" + bytes(40), "tflite"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "tensorflow"),
        (b"CBM1" + bytes(40), "catboost"),
        (b'{"features_info":{},"oblivious_trees":[]}', "catboost"),
        (b'<?xml version="1.0"?>\n<PMML version="4.4">', "pmml"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><!-- made --><p:PMML xmlns:p="x">', "pmml"),
        (b'<?xml version="1.0"?>\n<net name="m" version="11">', "openvino"),
    ],
)
def test_a_format_is_told_by_its_first_bytes(tmp_path: Path, content: bytes, runtime: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    assert recognise(path).runtime == runtime


@pytest.mark.parametrize(
    ("names", "runtime"),
    [
        (("config.json", "metadata.json", "model.weights.h5"), "tensorflow"),
        (("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), "torch"),
        (("m/archive_format", "m/models/model.json"), "torch"),
        (("MAR-INF/MANIFEST.json", "model.pt"), "torch"),
    ],
)
def test_an_archive_is_told_by_its_entries(
    tmp_path: Path, names: tuple[str, ...], runtime: str
) -> None:
    assert recognise(archive(tmp_path / "thing", *names)).runtime == runtime


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnrecognisedArtifact, match="zip archive of no known kind"):
        recognise(archive(tmp_path / "thing", "a.txt"))


def test_xml_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pom.xml").write_text("<project></project>")
    with pytest.raises(UnrecognisedArtifact, match="text that begins with '<project>"):
        recognise(tmp_path / "pom.xml")


@pytest.mark.parametrize(
    ("files", "runtime"),
    [
        ({"MLmodel": "flavors: {}"}, "mlflow"),
        ({"saved_model__pb": ""}, "tensorflow"),
        ({"config__json": json.dumps({"model_type": "bert"}), "m__safetensors": ""}, "huggingface"),
        ({"modules__json": "[]", "config_sentence_transformers__json": "{}"}, "huggingface"),
    ],
)
def test_a_folder_can_be_a_model(tmp_path: Path, files: dict[str, str], runtime: str) -> None:
    path = folder(tmp_path / "net", **files)
    (model,) = discover(str(path))
    assert (model.name, model.version, model.runtime, model.path) == ("net", "1", runtime, path)


def test_a_config_without_an_architecture_is_nobodys(tmp_path: Path) -> None:
    path = folder(tmp_path / "net", config__json="{}", m__safetensors="")
    with pytest.raises(UnrecognisedArtifact, match="folder of no kind"):
        recognise(path)


def test_versions_of_a_model_can_be_folders(tmp_path: Path) -> None:
    for version in ("1", "3"):
        folder(tmp_path / "half_plus_two" / version, saved_model__pb="")
    found = discover(str(tmp_path / "half_plus_two"))
    assert [(each.name, each.version, each.path.name) for each in found] == [
        ("half_plus_two", "1", "1"),
        ("half_plus_two", "3", "3"),
    ]


def test_a_folder_of_models_may_hold_folders_that_are_models(tmp_path: Path) -> None:
    folder(tmp_path / "a", MLmodel="flavors: {}")
    folder(tmp_path / "b", saved_model__pb="")
    assert [(each.name, each.runtime) for each in discover(str(tmp_path))] == [
        ("a", "mlflow"),
        ("b", "tensorflow"),
    ]


def test_folders_that_are_models_are_named_without_being_read(tmp_path: Path) -> None:
    folder(tmp_path / "a", MLmodel="flavors: {}")
    (model,) = discover(str(tmp_path), reads=False)
    assert (model.name, model.runtime) == ("a", "")
