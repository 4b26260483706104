"""Corrupt, truncated and hostile files of OpenVINO are refused with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.unit.runtimes.requests import load

from salver.errors import LoadFailed


def saved(zoo: Any, tmp_path: Path, pattern: str, replacement: str, weights: int = -1) -> Path:
    """The model with its text changed, and so many bytes of its weights."""
    text = (zoo.folder / "flowers.xml").read_text()
    data = (zoo.folder / "flowers.bin").read_bytes()
    changed = re.sub(pattern, replacement, text)
    assert changed != text or weights >= 0, "the file has nothing to change"
    (tmp_path / "m.xml").write_text(changed)
    (tmp_path / "m.bin").write_bytes(data[: weights if weights >= 0 else len(data)])
    return tmp_path / "m.xml"


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ('type="MatMul"', 'type="NoSuch"', "NoSuch"),
        ('version="opset1"', 'version="opset99"', "unsupported opset: opset99"),
        ('version="1[0-9]"', 'version="99"', "Unable to read the model"),
        ('offset="0"', 'offset="999999999"', "weights in bin file"),
        ('offset="0"', 'offset="-8"', '"offset" = "-8"'),
        ('offset="0"', 'offset="18446744073709551600"', "could not load"),
        ('size="48"', 'size="4800000000"', "weights in bin file"),
        ('shape="4, ?3"', 'shape="400000000,30000000"', "shape size are inconsistent"),
        ('from-layer="[0-9]+"', 'from-layer="77"', "could not load"),
        ("<dim>4</dim>", "<dim>-77</dim>", "-77"),
        ("(?s).*", "", "it is no XML; save it again"),
        ("(?s).*", "<net>" + "<a>" * 100_000, "Unable to read the model"),
    ],
)
def test_damaged_models_are_refused(
    zoo: Any, tmp_path: Path, pattern: str, replacement: str, message: str
) -> None:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(saved(zoo, tmp_path, pattern, replacement), "openvino")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 10, 47])
def test_weights_that_are_cut_off_are_refused(zoo: Any, tmp_path: Path, size: int) -> None:
    with pytest.raises(LoadFailed, match="weights in bin file"):
        load(saved(zoo, tmp_path, "", "", size), "openvino")


def test_entities_stand_for_nothing(zoo: Any, tmp_path: Path) -> None:
    """Neither another file's text nor a text that grows tenfold with each line."""
    lines = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {after} "{f"&{before};" * 10}">'
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    head = f'<!DOCTYPE net [{lines}<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    path = saved(zoo, tmp_path, r"(<net name=)", head.replace("\\", "") + r"\1")
    path.write_text(path.read_text().replace('names="scores"', 'names="s&i;&x;"'))
    (output,) = load(path, "openvino").metadata.outputs
    assert output.name == "s&i;&x;"


@pytest.mark.parametrize("name", ["m.xml", "m.onnx", "m.dat"])
@pytest.mark.parametrize("place", ["{}/secret", "../secret"])
def test_weights_outside_of_the_folder_are_refused_whatever_the_file_is_called(
    tmp_path: Path, name: str, place: str
) -> None:
    (tmp_path / "secret").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    weights = TensorProto(name="w", data_type=1, dims=[4, 3], data_location=1)
    for key, value in (("location", place.format(tmp_path)), ("length", "48")):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    path = tmp_path / "inner" / name
    path.parent.mkdir()
    path.with_suffix(".bin").touch()
    onnx.save(helper.make_model(graph, ir_version=9), path)
    with pytest.raises(LoadFailed, match=r"it is no XML|outside of the model's folder"):
        load(path, "openvino")
