"""CatBoost models on a running server, over V1, V2 REST and V2 gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.e2e.server import Server, serving


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    targets = [str(zoo.folder / f"{name}.cbm") for name in ("texts", "value", "people")]
    with serving(*targets) as running:
        yield running


def test_v1_answers_with_the_classes(server: Server, zoo: Any) -> None:
    rows = np.nan_to_num(zoo.rows[:5])
    answer = server.post("/v1/models/texts:predict", {"instances": rows.tolist()})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == zoo.models["texts"].predict(rows).reshape(-1).tolist()


def test_v1_takes_rows_of_named_columns(server: Server, zoo: Any) -> None:
    people = zoo.people[:6].fillna(0.0)
    body = {"instances": people.to_dict(orient="records")}
    answer = server.post("/v1/models/people:predict", body)
    assert answer.status_code == 200, answer.text
    wanted = zoo.models["people"].predict(people).reshape(-1).tolist()
    assert answer.json()["predictions"] == wanted


def test_v2_rest_gives_the_outputs_asked_for(server: Server, zoo: Any) -> None:
    rows = np.nan_to_num(zoo.rows[:4])
    answer = server.infer("texts", rows.tolist(), outputs=[{"name": "probability"}])
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    wanted = zoo.models["texts"].predict_proba(rows)
    np.testing.assert_allclose(output["data"], wanted.ravel(), rtol=1e-12)


def test_v2_grpc_carries_missing_values(server: Server, zoo: Any) -> None:
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        given = triton_grpc.InferInput("input-0", zoo.rows.shape, "FP64")
        given.set_data_from_numpy(zoo.rows)
        answer = client.infer("value", [given], client_timeout=20)
        found = answer.as_numpy("predict")
    np.testing.assert_allclose(found, zoo.models["value"].predict(zoo.rows), rtol=1e-12)


def test_wrong_columns_are_refused_with_the_reason(server: Server) -> None:
    row = {"age": 1.0, "city": 3.0, "floor": "1", "said": "good"}
    answer = server.post("/v1/models/people:predict", {"instances": [row]})
    assert answer.status_code == 400
    assert "city" in answer.text
