"""Corrupt, truncated and hostile folders are refused with the reason, and nothing of them runs."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.frameworks.huggingface.conftest import torch
from tests.unit.runtimes.requests import load

from salver.errors import LoadFailed

Change = Callable[[Path], object]


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def copied(zoo: Any, tmp_path: Path, name: str, change: Change) -> Path:
    folder = Path(shutil.copytree(zoo.folder / name, tmp_path / "m"))
    change(folder)
    return folder


def refused(path: Path, message: str, **fields: Any) -> str:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(path, "huggingface", **fields)
    said = str(caught.value)
    assert said.isprintable()
    return said


def wrote(name: str, content: bytes | str) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str, size: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def said(name: str, **fields: Any) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut("model.safetensors", 0), "SafetensorError"),
        (cut("model.safetensors", 2000), "SafetensorError.*save the model again"),
        (cut("model.safetensors", -10), "SafetensorError.*incomplete"),
        (wrote("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}"), "header too large"),
        (wrote("config.json", "[" * 200_000), r"config\.json cannot be read.*save"),
        (wrote("tokenizer.json", '{"a":' * 200_000), "could not load.*RecursionError"),
        (wrote("tokenizer.json", b"\x1b]0;\xff\x07" * 90), r"no UTF-8 at byte 4: \\x1b"),
        (wrote("tokenizer_config.json", "["), "JSONDecodeError"),
        (wrote("adapter_config.json", '{"base_model_name_or_path": "/etc"}'), "merge both"),
        (said("config.json", vocab_size=10**12), "could not load"),
        (said("config.json", model_type="nope_net"), "nope_net.*does not recognize"),
        (said("config.json", num_hidden_layers="x"), "num_hidden_layers"),
        (said("config.json", transformers_weights="/etc/passwd"), "neither a safetensors"),
    ],
)
def test_damaged_folders_are_refused(
    zoo: Any, tmp_path: Path, change: Change, message: str
) -> None:
    refused(copied(zoo, tmp_path, "texts", change), message)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("evil.bin", "names 'evil.bin' for weights, which is no safetensors"),
        ("../../../etc/passwd", "which is no safetensors file of its folder"),
        ("../x.safetensors", "which is no safetensors file of its folder"),
        ("gone.safetensors", "which is not in .*copy the whole folder"),
    ],
)
def test_an_index_leads_to_safetensors_beside_it_alone(
    zoo: Any, tmp_path: Path, target: str, message: str
) -> None:
    def change(folder: Path) -> None:
        names = dict.fromkeys(zoo.models["texts"].state_dict(), target)
        (folder / "model.safetensors").rename(folder / "x.safetensors")
        shutil.copy(folder / "x.safetensors", folder.parent)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
        torch.save({"x": Trap(tmp_path / "ran")}, folder / "evil.bin")

    refused(copied(zoo, tmp_path, "texts", change), message)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["[", "{}", '{"weight_map": []}'])
def test_an_index_that_is_none_is_refused(zoo: Any, tmp_path: Path, content: str) -> None:
    change = wrote("model.safetensors.index.json", content)
    refused(copied(zoo, tmp_path, "texts", change), "index.json (cannot be read|lacks weight_map)")


def test_pickled_weights_that_are_allowed_may_hold_tensors_only(zoo: Any, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save({"x": Trap(tmp_path / "ran")}, folder / "pytorch_model.bin")

    folder = copied(zoo, tmp_path, "texts", change)
    refused(folder, "may run code when it is read; save the model as safetensors")
    refused(folder, "Weights only load failed", parameters={"allow_pickled_weights": True})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "file", "fields", "message"),
    [
        (
            "texts",
            "config.json",
            {
                "model_type": "own",
                "auto_map": {
                    "AutoConfig": "someone/there--own.Own",
                    "AutoModelForSequenceClassification": "someone/there--own.Own",
                },
            },
            "trust_remote_code",
        ),
        (
            "images",
            "preprocessor_config.json",
            {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}},
            "contains custom code.*trust_remote_code",
        ),
    ],
)
def test_a_folder_that_needs_code_is_refused(
    zoo: Any, tmp_path: Path, name: str, file: str, fields: dict[str, Any], message: str
) -> None:
    def change(folder: Path) -> None:
        said(file, **fields)(folder)
        (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")

    refused(copied(zoo, tmp_path, name, change), message)
    assert not (tmp_path / "ran").exists()


def test_code_that_is_not_needed_does_not_run(zoo: Any, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        said("config.json", auto_map={"AutoModelForCausalLM": "own.Own"})(folder)
        said("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})(folder)
        (folder / "custom_generate").mkdir()
        for place in ("own.py", "custom_generate/generate.py"):
            (folder / place).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")

    assert load(copied(zoo, tmp_path, "writes", change), "huggingface").metadata.inputs
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"path": "../..", "type": "x.Transformer"}], "names a folder outside"),
        ([{"path": "", "type": "x.Evil"}], "has a Evil, which"),
        ([3], "lists no modules"),
    ],
)
def test_modules_of_sentence_transformers_are_known_and_within(
    zoo: Any, tmp_path: Path, modules: list[Any], message: str
) -> None:
    change = wrote("modules.json", json.dumps(modules))
    refused(copied(zoo, tmp_path, "sentences", change), message)
