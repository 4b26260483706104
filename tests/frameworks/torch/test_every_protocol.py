"""PyTorch in each of its formats over every protocol: its own answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving
from tests.frameworks.torch.test_formats import ARGUMENTS, CLASSES, NAMES, expected

VECTORS = {"csv": "an input has more than one value a row and no columns"}
WITHOUT = {"cnn": VECTORS, "lstm": VECTORS, "pair": VECTORS}


@pytest.fixture(scope="module", params=["pt", "pt2", "pth"])
def server(zoo: Any, request: pytest.FixtureRequest) -> Iterator[Server]:
    suffix = request.param
    names = [f"{name}.{suffix}" for name in NAMES]
    if suffix == "pth":
        names = [f"{name}.{suffix}:{CLASSES[name]}" for name in NAMES]
    targets = [str(zoo.folder / name) for name in names]
    with serving(*targets, "--runtime", "torch", start_timeout_s=120) as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_gives_pytorchs_answer(server: Server, zoo: Any, name: str) -> None:
    rows = [row[:4] for row in zoo.rows[name]]
    inputs = {each: row.numpy() for each, row in zip(ARGUMENTS[name], rows, strict=True)}
    wanted = expected(zoo.models[name], rows)
    # TorchScript does not tell how many outputs there are: they are numbered, or named by the dict.
    known = [each["name"] for each in server.get(f"/v2/models/{name}").json()["outputs"]]
    named = ["score", "user"] if name == "pair" else [f"output-{n}" for n in range(len(wanted))]
    answers = dict(zip(known or named, wanted, strict=True))
    assert judge(
        server.url,
        server.grpc,
        Question(name, inputs, answers, without=WITHOUT.get(name, {})),
    )
