"""Hugging Face models on a running server, over V1, V2 REST and V2 gRPC."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.e2e.server import Server, serving
from tests.frameworks.huggingface.conftest import png
from tests.unit.runtimes.requests import arrays, ask, load

TEXTS = ["good film", "the film was bad a a the film"]
NAMES = ("texts", "vectors", "images", "sentences")


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    targets = [str(zoo.folder / each) for each in NAMES]
    with serving(*targets, start_timeout_s=90) as running:
        yield running


def own(zoo: Any, name: str, values: list[Any]) -> Any:
    model = load(zoo.folder / name, "huggingface")
    return arrays(model.predict(ask(**{model.metadata.inputs[0].name: np.array(values, object)})))


def test_v1_takes_texts(server: Server, zoo: Any) -> None:
    answer = server.post("/v1/models/texts:predict", {"instances": TEXTS})
    assert answer.status_code == 200, answer.text
    wanted = own(zoo, "texts", TEXTS)
    rows = answer.json()["predictions"]
    assert [row["label"].encode() for row in rows] == wanted["label"].tolist()
    np.testing.assert_allclose([row["score"] for row in rows], wanted["score"], rtol=1e-5)


def test_v2_takes_bytes(server: Server, zoo: Any) -> None:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [2], "data": TEXTS}]
    for name in ("vectors", "sentences"):
        answer = server.post(f"/v2/models/{name}/infer", {"inputs": inputs})
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        assert output["shape"] == [2, 16]
        wanted = own(zoo, name, TEXTS)["embedding"]
        np.testing.assert_allclose(output["data"], wanted.ravel(), rtol=1e-4, atol=1e-6)


def test_v2_grpc_takes_images(server: Server, zoo: Any) -> None:
    files = [png(1), png(2)]
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        given = triton_grpc.InferInput("image", [2], "BYTES")
        given.set_data_from_numpy(np.array(files, dtype=object))
        found = client.infer("images", [given], client_timeout=30)
    assert found.as_numpy("label").tolist() == own(zoo, "images", files)["label"].tolist()


def test_v1_takes_images_in_base64(server: Server, zoo: Any) -> None:
    files = [png(1), png(2)]
    rows = [{"b64": base64.b64encode(each).decode()} for each in files]
    answer = server.post("/v1/models/images:predict", {"instances": rows})
    assert answer.status_code == 200, answer.text
    labels = [row["label"].encode() for row in answer.json()["predictions"]]
    assert labels == own(zoo, "images", files)["label"].tolist()


def test_what_is_no_text_is_refused(server: Server) -> None:
    answer = server.post("/v1/models/texts:predict", {"instances": [1.5]})
    assert answer.status_code == 400
