"""TorchScript models of a Triton repository over every protocol: PyTorch's own answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.e2e.every_protocol import Question, judge
from tests.e2e.server import Server, serving

CONFIGS = {
    "mlp": """
platform: "pytorch_libtorch" max_batch_size: 8
input { name: "INPUT__0" data_type: TYPE_FP32 dims: [4] }
output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [3] }
dynamic_batching { }
""",
    "cnn": """
backend: "pytorch"
input { name: "INPUT__0" data_type: TYPE_FP32 dims: [-1, 1, 6, 6] }
output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [-1, 2] }
""",
    "words": """
backend: "pytorch" max_batch_size: 8
input { name: "INPUT__0" data_type: TYPE_INT64 dims: [-1] }
output { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [2] }
""",
}
TABLES = "an input is more than a matrix, which is no table"
WITHOUT = {"cnn": dict.fromkeys(("split", "records", "csv", "parquet"), TABLES)}


@pytest.fixture(scope="module")
def server(zoo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    for name, config in CONFIGS.items():
        version: Path = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        shutil.copy(zoo.folder / f"{name}.pt", version / "model.pt")
    with serving(str(folder), start_timeout_s=120.0) as running:
        yield running


@pytest.mark.parametrize("name", CONFIGS)
def test_every_protocol_gives_pytorchs_answer(server: Server, zoo: Any, name: str) -> None:
    (rows,) = zoo.rows[name]
    rows = rows[:6]
    model = zoo.models[name].eval()
    with torch.no_grad():
        wanted = model(rows).numpy()
    assert judge(
        server.url,
        server.grpc,
        Question(
            name, {"INPUT__0": rows.numpy()}, {"OUTPUT__0": wanted}, without=WITHOUT.get(name, {})
        ),
    )


def test_what_is_more_than_the_largest_batch_is_refused(server: Server) -> None:
    body = {"instances": [[0.0] * 4] * 9}
    answer = server.post("/v1/models/mlp:predict", body)
    assert (answer.status_code, "8" in answer.text) == (400, True)
