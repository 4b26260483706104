"""Trained models of each kind, saved in each format once for all tests."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

import torch

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The models by name, with rows for each, and `folder` where all lie saved."""
    from tests.frameworks.torch import networks as n

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("zoo")
    flowers, images, series = torch.randn(32, 4), torch.rand(32, 1, 6, 6), torch.randn(32, 5, 1)
    words = torch.randint(0, 20, (32, 7))
    user, item = torch.randn(32, 2), torch.randn(32, 4)
    rows = {
        "mlp": (flowers,),
        "cnn": (images,),
        "lstm": (series,),
        "words": (words,),
        "pair": (user, item),
    }
    models = {
        "mlp": n.trained(n.Mlp(), (flowers,), flowers[:, :3] * 0.5),
        "cnn": n.trained(n.Cnn(), (images,), images.mean((1, 2, 3))[:, None] * torch.ones(2)),
        "lstm": n.trained(n.Lstm(), (series,), series.mean(1)),
        "words": n.trained(n.Words(), (words,), words[:, :2] / 20),
        "pair": n.trained(n.Pair(), (user, item), user[:, 0] * item[:, 0]),
    }
    for name, model in models.items():
        _save(torch, folder, name, model, rows[name])
    shutil.copy(HERE / "networks.py", folder / "model.py")
    return SimpleNamespace(models=models, rows=rows, folder=folder)


def _save(torch: Any, folder: Path, name: str, model: Any, rows: tuple[Any, ...]) -> None:
    torch.save(model.state_dict(), folder / f"{name}.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(model).save(str(folder / f"{name}.pt"))
        batch = torch.export.Dim("batch")
        free = tuple({0: batch} for _ in rows)
        exported = torch.export.export(model, rows, dynamic_shapes=free)
        torch.export.save(exported, folder / f"{name}.pt2")


@pytest.fixture
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives are unpacked here."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
