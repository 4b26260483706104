"""A framework that is not installed: the remedy is a command that works as it is written."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from tests.unit.runtimes.requests import load

from salver.artifacts.frameworks import FRAMEWORKS
from salver.errors import LoadFailed, MissingFramework
from salver.runtimes.registry import runtime_named

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
REMEDY = re.compile(r"needs (\S+), which .*; run: pip install 'salver\[(\w+)\]'\Z")


def safetensors(path: Path) -> Path:
    head = b"{}      "
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    return path


def hugging_face(folder: Path) -> Path:
    folder.mkdir()
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    safetensors(folder / "model.safetensors")
    return folder


def mlflow(folder: Path) -> Path:
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


def saved_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def model_of(runtime: str, folder: Path) -> Path:
    if runtime == "huggingface":
        return hugging_face(folder / "m")
    if runtime == "mlflow":
        return mlflow(folder / "m")
    if runtime == "tensorflow":
        return saved_model(folder / "m")
    if runtime == "openvino":
        written(folder / "m.bin", b"")
        return written(folder / "m.xml", b"<net/>")
    if runtime == "torch":
        (folder / "model.py").write_text("class Net: ...\n")
        return safetensors(folder / "m.safetensors")
    return written(folder / "m", b"    TFL3")


MODULES = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnxruntime",
    "mlflow": "mlflow",
    "torch": "torch",
    "huggingface": "transformers",
    "openvino": "openvino",
    "tensorflow": "tensorflow",
    "tflite": "ai_edge_litert",
    "catboost": "catboost",
}


@pytest.mark.parametrize("runtime", MODULES)
def test_the_remedy_names_an_extra_that_brings_the_framework(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == MODULES[runtime]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, MODULES[runtime], None)
    monkeypatch.delitem(sys.modules, "salver.runtimes.huggingface_import", raising=False)
    fields = {"attribute": "Net"} if runtime == "torch" else {}
    with pytest.raises(MissingFramework) as caught:
        load(model_of(runtime, tmp_path), runtime, **fields)
    found = REMEDY.search(str(caught.value))
    assert found is not None, str(caught.value)
    brought = {re.split(r"[<>=; \[]", each)[0] for each in EXTRAS[found[2]]}
    assert brought & set(FRAMEWORKS[runtime])
    assert runtime_named(runtime).framework in FRAMEWORKS[runtime]


def test_what_the_own_pmml_reader_does_not_know_has_the_remedy_too(tmp_path: Path) -> None:
    document = (
        b'<PMML version="4.4"><DataDictionary/><TextModel functionName="regression">'
        b"<MiningSchema/></TextModel></PMML>"
    )
    with pytest.raises(LoadFailed, match=r"run: pip install 'salver\[pmml\]'"):
        load(written(tmp_path / "m.pmml", document), "pmml", parameters={"engine": "auto"})
    assert [each for each in EXTRAS["pmml"] if each.startswith("pypmml")]
