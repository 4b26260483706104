"""Hugging Face's pipelines over every protocol: what `transformers` itself answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.e2e.every_protocol import judge
from tests.e2e.question import Question
from tests.e2e.server import Server, serving
from tests.frameworks.huggingface.conftest import png

TEXTS = ["good film", "the film was bad a a the film", 'was, "the"\nfilm']
NAMES = ("texts", "vectors", "images")
LIKE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-6}
PICTURES = {
    "V2 JSON": "a picture is bytes that are no text, which V2 has as binary only",
    **dict.fromkeys(("split", "records", "csv", "parquet"), "a table has no pictures"),
}


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    with serving(*(str(zoo.folder / each) for each in NAMES), start_timeout_s=90) as running:
        yield running


def test_every_protocol_classifies_texts(server: Server, zoo: Any) -> None:
    pipeline = transformers.pipeline("text-classification", str(zoo.folder / "texts"))
    answers = pipeline(TEXTS)
    expected = {key: np.array([each[key] for each in answers]) for key in ("label", "score")}
    question = Question("texts", {"text": np.array(TEXTS, object)}, expected, tolerance=LIKE)
    assert judge(server.url, server.grpc, question)


def test_every_protocol_gives_the_vectors_of_texts(server: Server, zoo: Any) -> None:
    tokenizer, model = zoo.tokenizer, zoo.models["vectors"]
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    given.pop("token_type_ids", None)
    with torch.inference_mode():
        states = model(**given).last_hidden_state
    mask = given["attention_mask"][:, :, None]
    means = ((states * mask).sum(1) / mask.sum(1)).numpy()
    question = Question(
        "vectors", {"text": np.array(TEXTS, object)}, {"embedding": means}, tolerance=LIKE
    )
    assert judge(server.url, server.grpc, question)


def test_every_protocol_classifies_images(server: Server, zoo: Any) -> None:
    from PIL import Image

    files = [png(seed) for seed in (1, 2, 3)]
    pipeline = transformers.pipeline("image-classification", str(zoo.folder / "images"))
    answers = [pipeline(Image.open(io.BytesIO(file)))[0] for file in files]
    expected = {key: np.array([each[key] for each in answers]) for key in ("label", "score")}
    inputs = {"image": np.array(files, object)}
    question = Question("images", inputs, expected, tolerance=LIKE, without=PICTURES)
    assert judge(server.url, server.grpc, question)
