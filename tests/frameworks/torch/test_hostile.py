"""Corrupt, truncated and hostile files are refused with the reason, and nothing of them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tests.frameworks.torch.test_formats import save_mar
from tests.unit.runtimes.requests import load

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest, tensor_from_array


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def refused(path: Path, message: str, **fields: Any) -> str:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(path, "torch", **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The zip with entries changed; None leaves an entry out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(entry.filename, data)
    return target


def test_a_state_dict_that_would_run_a_command_does_not(zoo: Any, tmp_path: Path) -> None:
    shutil.copy(zoo.folder / "model.py", tmp_path)
    for legacy in (True, False):
        torch.save(
            {"layers.0.weight": Trap(tmp_path / "ran")},
            tmp_path / "trap.pth",
            _use_new_zipfile_serialization=legacy,
        )
        refused(tmp_path / "trap.pth", "pickle of more than tensors", attribute="Mlp")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused_with_the_remedy(zoo: Any, tmp_path: Path) -> None:
    shutil.copy(zoo.folder / "model.py", tmp_path)
    torch.save(zoo.models["mlp"], tmp_path / "whole.pt")
    refused(tmp_path / "whole.pt", r"save model.state_dict\(\) instead", attribute="Mlp")


@pytest.mark.parametrize("name", ["mlp.pt", "mlp.pt2", "mlp.pth"])
def test_truncated_files_are_refused(zoo: Any, tmp_path: Path, name: str) -> None:
    shutil.copy(zoo.folder / "model.py", tmp_path)
    whole = (zoo.folder / name).read_bytes()
    for size in (0, 2, 40, len(whole) // 2, len(whole) - 10):
        (tmp_path / name).write_bytes(whole[:size])
        refused(tmp_path / name, "is empty|zip archive, cut short|begins with", attribute="Mlp")


@pytest.mark.parametrize("name", ["mlp.pt", "mlp.pt2", "mlp.pth"])
def test_corrupt_files_are_refused_or_calculate(zoo: Any, tmp_path: Path, name: str) -> None:
    """Whatever bytes are turned over: a reason, or a model, never another error."""
    shutil.copy(zoo.folder / "model.py", tmp_path)
    whole = bytearray((zoo.folder / name).read_bytes())
    refusals = 0
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        (tmp_path / name).write_bytes(broken)
        try:
            load(tmp_path / name, "torch", attribute="Mlp")
        except LoadFailed:
            refusals += 1
    assert refusals > 0


def test_torchscript_of_a_newer_version_is_refused(zoo: Any, tmp_path: Path) -> None:
    path = rewritten(
        zoo.folder / "mlp.pt",
        tmp_path / "newer.pt",
        lambda name, data: b"99\n" if name.endswith("/version") else data,
    )
    refused(path, "(?i)version.*99")


def test_torchscript_that_touches_files_is_refused(tmp_path: Path) -> None:
    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_file("/etc/hostname", False, 4, dtype=torch.uint8) + x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Spy()).save(str(tmp_path / "spy.pt"))
    refused(tmp_path / "spy.pt", "calls from_file, which touches files")


def test_a_zip_bomb_is_refused_before_it_is_read(zoo: Any, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(zoo.folder / "mlp.pt") as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        with new.open("mlp/data/99", "w") as big:
            for _ in range(200):
                big.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    refused(path, "would grow to 200 MiB")


def program_changed(zoo: Any, path: Path, change: Callable[[str], str]) -> Path:
    def edit(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        changed = change(data.decode())
        assert changed != data.decode(), "the file has nothing to change"
        return changed.encode()

    return rewritten(zoo.folder / "mlp.pt2", path, edit)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("torch.ops.aten.relu.default", "torch.os.system", "calls 'torch.os.system'"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default", "calls 'torch.ops"),
        ("torch.ops.aten.relu.default", "_operator.attrgetter", "calls '_operator.attrgetter'"),
        ("Symbol('", "__import__('os').system('touch RAN') or Symbol('", "evaluates"),
        ("Symbol('", "exec('import os') or Symbol('", "evaluates"),
        ('"name": "flowers"', '"name": "flowers=print(1)"', "has 'flowers=print"),
        ("builtins.tuple", "builtins.enum", "not a plain container"),
    ],
)
def test_exported_programs_that_would_run_code_are_refused(
    zoo: Any, tmp_path: Path, old: str, new: str, message: str
) -> None:
    new = new.replace("RAN", str(tmp_path / "ran"))
    path = program_changed(zoo, tmp_path / "evil.pt2", lambda text: text.replace(old, new))
    refused(path, message)
    assert not (tmp_path / "ran").exists()


def test_pickles_within_exported_programs_do_not_run(zoo: Any, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save((Trap(tmp_path / "ran"),), buffer)

    def samples(name: str, data: bytes) -> bytes:
        return buffer.getvalue() if name.endswith("sample_inputs/model.pt") else data

    refused(rewritten(zoo.folder / "mlp.pt2", tmp_path / "a.pt2", samples), "more than tensors")

    def weights(name: str, data: bytes) -> bytes:
        if name.endswith("weights/weight_0"):
            return buffer.getvalue()
        if name.endswith("weights_config.json"):
            config = json.loads(data)
            for each in config["config"].values():
                each["use_pickle"] = each["path_name"] == "weight_0"
            return json.dumps(config).encode()
        return data

    refused(rewritten(zoo.folder / "mlp.pt2", tmp_path / "b.pt2", weights), "more than tensors")
    objects = rewritten(zoo.folder / "mlp.pt2", tmp_path / "c.pt2", lambda _, data: data)
    with zipfile.ZipFile(objects, "a") as archive:
        trap = pickle.dumps(Trap(tmp_path / "ran"))
        archive.writestr("mlp/data/constants/opaque_obj_0", trap)
    refused(objects, "pickled object of a class")
    with zipfile.ZipFile(objects, "w") as archive:
        archive.writestr("mlp/archive_format", "pt2")
        archive.writestr("mlp/data/aotinductor/model/x.so", b"\x7fELF")
    refused(objects, "native code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entry", ["../out.py", "/etc/out.py", "a/../../out.py"])
def test_archives_cannot_write_outside(tmp_path: Path, own_temp: Path, entry: str) -> None:
    save_mar(tmp_path / "m.mar", {entry: b"x"}, handler="base_handler")
    refused(tmp_path / "m.mar", "leads out of it")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "missing required field `handler`"),
        ({"handler": "nowhere.py"}, "neither in it nor one of base_handler"),
        ({"handler": "../../x.py"}, "neither in it nor one of base_handler"),
        ({"handler": "text_classifier"}, "text_classifier is not offered"),
        ({"handler": "base_handler", "serializedFile": "gone.pt"}, "gone.pt"),
    ],
)
def test_archives_that_lack_something_say_what(
    tmp_path: Path, own_temp: Path, model: dict[str, str], message: str
) -> None:
    save_mar(tmp_path / "m.mar", {}, **model)
    refused(tmp_path / "m.mar", message)


def test_a_pickle_in_an_archive_without_code_does_not_run(
    zoo: Any, tmp_path: Path, own_temp: Path
) -> None:
    buffer = io.BytesIO()
    torch.save({"x": Trap(tmp_path / "ran")}, buffer)
    legacy = pickle.dumps(Trap(tmp_path / "ran"))
    for number, content in enumerate((buffer.getvalue(), legacy)):
        path = tmp_path / f"{number}.mar"
        save_mar(path, {"x.pt": content}, handler="base_handler", serializedFile="x.pt")
        refused(path, "(?i)torchscript|constants|zip|PytorchStreamReader|could not load|initialis")
        code = {"x.pt": content, "model.py": (zoo.folder / "model.py").read_bytes()}
        fields = {"serializedFile": "x.pt", "modelFile": "model.py"}
        save_mar(path, code, handler="base_handler", **fields)
        with pytest.raises(LoadFailed):
            load(path, "torch")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("field", ["serializedFile", "modelFile"])
@pytest.mark.parametrize("name", ["../outside.pt", "/etc/passwd", "a/../../outside.pt"])
def test_the_manifest_names_files_of_the_archive_alone(
    zoo: Any, tmp_path: Path, own_temp: Path, field: str, name: str
) -> None:
    shutil.copy(zoo.folder / "mlp.pt", tmp_path / "outside.pt")
    save_mar(tmp_path / "m.mar", {}, handler="base_handler", **{field: name})
    refused(tmp_path / "m.mar", "manifest names .* which leads out of it; archive the file")


def test_an_archive_that_would_grow_is_refused_before_it_is_unpacked(
    tmp_path: Path, own_temp: Path
) -> None:
    save_mar(tmp_path / "m.mar", {"big": bytes(200 << 20)}, handler="base_handler")
    refused(tmp_path / "m.mar", "would grow to 200 MiB")
    assert not list(own_temp.iterdir())


def test_a_text_that_is_no_json_is_the_caller_s_fault(
    zoo: Any, tmp_path: Path, own_temp: Path
) -> None:
    files = {"mlp.pt": (zoo.folder / "mlp.pt").read_bytes()}
    save_mar(tmp_path / "m.mar", files, handler="base_handler", serializedFile="mlp.pt")
    model = load(tmp_path / "m.mar", "torch")
    for text in ("{", "[" * 100_000):
        tensor = tensor_from_array("data", np.array([text.encode()], dtype=np.object_))
        tensor = msgspec.structs.replace(tensor, parameters={"content_type": "json"})
        with pytest.raises(InvalidInput, match="input 'data' holds a text that is no JSON"):
            model.predict(InferRequest((tensor,)))
