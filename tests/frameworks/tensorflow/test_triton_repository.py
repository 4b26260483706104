"""SavedModels of a Triton repository over every protocol: TensorFlow's own answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.every_protocol import Question, judge
from tests.e2e.server import Server, serving
from tests.frameworks.tensorflow.test_models import expected

CONFIGS = {
    "mlp": """
platform: "tensorflow_savedmodel" max_batch_size: 8
input { name: "flowers" data_type: TYPE_FP32 dims: [4] }
output { name: "output_0" data_type: TYPE_FP32 dims: [3] }
dynamic_batching { }
""",
    "pair": """
backend: "tensorflow" max_batch_size: 8
parameters { key: "TF_SIGNATURE_DEF" value { string_value: "serving_default" } }
""",
}


@pytest.fixture(scope="module")
def server(zoo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    for name, config in CONFIGS.items():
        version: Path = folder / name / "1"
        version.mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        shutil.copytree(zoo.folder / name, version / "model.savedmodel")
    with serving(str(folder), start_timeout_s=120) as running:
        yield running


@pytest.mark.parametrize("name", CONFIGS)
def test_every_protocol_gives_tensorflows_answer(server: Server, zoo: Any, name: str) -> None:
    inputs = {key: data[:4] for key, data in zoo.rows[name].items()}
    outputs = sorted(each["name"] for each in server.get(f"/v2/models/{name}").json()["outputs"])
    answers = dict(zip(outputs, expected(zoo, name, inputs), strict=True))
    without = {"csv": "an input has more than one value a row"} if len(inputs) > 1 else {}
    assert judge(server.url, server.grpc, Question(name, inputs, answers, without=without))
