"""Code in PyTorch's files that would reach for this machine's: refused however it is written."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from tests.frameworks.torch.test_formats import save_mar
from tests.frameworks.torch.test_hostile import refused, rewritten
from tests.unit.runtimes.requests import load


class Relu(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("torch.save (x, 'RAN')", "calls save"),
        ("ops.aten . save(x, 'RAN')", "calls save"),
        ("(torch\\\n  .save)(x, 'RAN')", "calls save"),
        ("f = torch.save\n    f(x, 'RAN')", "calls save"),
        ("getattr(torch, 'save')(x, 'RAN')", "calls save"),
        ('getattr(torch, "sa\\166e")(x, "RAN")', "getattr by a hidden name"),
        ('g = getattr\n    g(torch, "sa\\166e")(x, "RAN")', "getattr by a hidden name"),
    ],
)
def test_torchscript_cannot_hide_that_it_touches_files(
    tmp_path: Path, own_temp: Path, call: str, named: str
) -> None:
    call = call.replace("RAN", str(tmp_path / "ran"))

    def edit(name: str, data: bytes) -> bytes:
        return data.replace(b"return torch.relu(x)", f"{call}\n    return x".encode())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Relu()).save(str(tmp_path / "plain.pt"))
    assert load(tmp_path / "plain.pt", "torch").metadata.inputs
    path = rewritten(tmp_path / "plain.pt", tmp_path / "x.pt", edit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(str(path))
    refused(path, named)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w") as new:
        for entry in old.infolist():
            name = entry.filename
            name = name.upper().replace("X/", "x/", 1) if name.endswith(".py") else name
            new.writestr(name, old.read(entry))
    refused(tmp_path / "y.pt", named)
    save_mar(
        tmp_path / "m.mar",
        {"x.pt": path.read_bytes()},
        handler="base_handler",
        serializedFile="x.pt",
    )
    refused(tmp_path / "m.mar", named)
    assert not (tmp_path / "ran").exists()


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BOMB + "batchSize: *i\n", "aliases stand for more"),
        ("[" * 100_000, "nested deeper"),
        ("[1]", "no mapping of settings"),
        ("batchSize: many", "batchSize is 'many'"),
        ("!!python/object/apply:os.system ['true']", "is not allowed|constructor"),
    ],
)
def test_settings_of_an_archive_are_read_within_bounds(
    tmp_path: Path, own_temp: Path, config: str, message: str
) -> None:
    files = {"model-config.yaml": config.encode()}
    save_mar(tmp_path / "m.mar", files, handler="base_handler", serializedFile="x.pt")
    refused(tmp_path / "m.mar", message)
