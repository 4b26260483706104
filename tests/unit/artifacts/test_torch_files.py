"""PyTorch's formats by their first bytes and zip directories, without PyTorch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from salver.artifacts.torch_files import torch_format
from salver.inference.torch_archives import LEGACY_HEAD


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("m/data.pkl", "m/constants.pkl", "m/code/a.py", "m/version"), "torchscript"),
        (("m/data.pkl", "m/data/0", "m/version", "m/byteorder"), "state_dict"),
        (("m/archive_format", "m/models/model.json", "m/data/weights/weight_0"), "export"),
        (("serialized_exported_program.json", "version"), "export"),
        (("MAR-INF/MANIFEST.json", "model.pt", "handler.py"), "mar"),
        (("schema.json", "0.npy"), ""),
        (("a/b/data.pkl",), ""),
        ((), ""),
    ],
)
def test_a_zip_is_told_by_its_entries(tmp_path: Path, names: tuple[str, ...], wanted: str) -> None:
    assert torch_format(zipped(tmp_path / "m.pt", *names)) == wanted


def test_weights_that_are_no_zip_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(LEGACY_HEAD + b"rest")
    assert torch_format(path) == "state_dict"
    header = json.dumps({"w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert torch_format(path) == "state_dict"
    path.write_bytes((1 << 40).to_bytes(8, "little") + header)
    assert torch_format(path) == ""


def test_what_is_none_of_them_or_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x04}.")
    (tmp_path / "empty").write_bytes(b"")
    whole = zipped(tmp_path / "m.pt", "m/data.pkl").read_bytes()
    (tmp_path / "short").write_bytes(whole[:40])
    for name in ("pickle", "empty", "short", "absent", "."):
        assert torch_format(tmp_path / name) == ""


def test_an_unpacked_archive_is_a_folder_with_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "MAR-INF").mkdir()
    assert torch_format(tmp_path) == ""
    (tmp_path / "MAR-INF/MANIFEST.json").write_text("{}")
    assert torch_format(tmp_path) == "mar"
