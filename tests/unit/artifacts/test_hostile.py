"""Files made to hurt whoever reads them: told what they are, within bounds, by nobody's code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from salver.artifacts.graph_modules import declared_graphs
from salver.artifacts.layout import discover
from salver.artifacts.recognise import recognise
from salver.artifacts.recorded import Recorded, recorded_in
from salver.artifacts.requirement_files import requirements_beside
from salver.errors import ArtifactError, UnrecognisedArtifact


def refused(path: Path) -> str:
    with pytest.raises(UnrecognisedArtifact) as caught:
        recognise(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def skops(path: Path, schema: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", schema)
    return path


@pytest.mark.parametrize("schema", [b"[" * 200_000, b'{"a":' * 100_000, b"[1]", b'"x"', b"\xff"])
def test_a_description_that_is_none_is_no_skops(tmp_path: Path, schema: bytes) -> None:
    path = skops(tmp_path / "m.skops", schema)
    assert "or damaged" in refused(path)
    assert recorded_in(path).scikit_learn == ""


def patched(path: Path, offset: int, value: int) -> Path:
    """A whole archive with a byte of its directory changed."""
    data = bytearray(skops(path, b'{"x": 1}').read_bytes())
    data[data.index(b"PK\x01\x02") + offset] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(6, 200, id="of a newer format"),
        pytest.param(8, 1, id="encrypted"),
        pytest.param(10, 99, id="packed in an unknown way"),
    ],
)
def test_archives_that_cannot_be_read_are_refused(tmp_path: Path, offset: int, value: int) -> None:
    path = patched(tmp_path / "m.skops", offset, value)
    assert "or damaged" in refused(path)
    assert recorded_in(path).scikit_learn == ""


def test_a_large_description_is_not_read_here(tmp_path: Path) -> None:
    path = skops(tmp_path / "m.skops", b'{"a": "' + bytes(9 << 20))
    assert recognise(path).runtime == "sklearn"


@pytest.mark.parametrize("text", [b"-" * 100_000 + b"1", b"x" + b".a" * 100_000, bytes(17 << 20)])
def test_python_that_is_too_much_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "m.py"
    path.write_bytes(text)
    assert "nested too deep" in refused(path) or "16 MiB" in refused(path)
    assert declared_graphs(path) == ()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.py"):
        os.mkfifo(tmp_path / name)
        assert "is no regular file" in refused(tmp_path / name)
        assert recorded_in(tmp_path / name) == Recorded()
        with pytest.raises(ArtifactError, match="neither file nor folder but a pipe"):
            discover(str(tmp_path / name))


def test_a_configuration_without_end_makes_no_hugging_face_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    (tmp_path / "model.safetensors").touch()
    refused(tmp_path)


def test_weights_are_not_searched_for_versions(tmp_path: Path) -> None:
    """They may have gigabytes; only pickles record the versions that are looked for."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08\x3a\x00 sklearn.tree _sklearn_version\x8c\x051.2.3")
    assert recorded_in(path) == Recorded()


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("conda.yaml", BOMB + "dependencies: [pip: [*i]]\n", "aliases stand for more"),
        ("conda.yaml", "[" * 100_000, "nested deeper"),
        ("conda.yaml", '!!python/object/apply:os.system ["true"]', "is not allowed"),
        ("conda.yaml", "dependencies: 3\n", "dependencies is int and no list"),
        ("conda.yaml", "dependencies: [pip: numpy]\n", "pip is str and no list"),
        ("conda.yaml", "dependencies: [[numpy]]\n", "holds a list; give texts"),
        ("MLmodel", BOMB + "flavors: *i\n", "aliases stand for more"),
        ("MLmodel", "[1]", "holds no mapping"),
        ("MLmodel", "\x00", "is not valid YAML"),
        ("requirements.txt", "-r ../../etc/passwd\n", "not in its folder"),
        ("requirements.txt", "-r requirements.txt\n", "not in its folder"),
        ("requirements.txt", "numpy\n" * 20_001, "more than 20000 lines"),
    ],
)
def test_lists_of_packages_are_read_within_bounds(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ArtifactError, match=message) as caught:
        requirements_beside(tmp_path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("env", ["{virtualenv: ../../etc/passwd}", '"a\\0b"', "[1]", "{conda: 3}"])
def test_an_environment_outside_of_the_model_is_not_read(tmp_path: Path, env: Any) -> None:
    (tmp_path / "MLmodel").write_text(f"flavors: {{python_function: {{env: {env}}}}}\n")
    assert requirements_beside(tmp_path) is None
