"""Salver's /invocations beside MLflow's own scoring server: the same requests, the same answers."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from tests.e2e.server import Server
from tests.frameworks.mlflow.zoo import FLOWERS, FORMS, PERSONS

pytestmark = pytest.mark.frameworks

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"


def split(table: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(table.to_json(orient="split"))
    return found


def records(table: pd.DataFrame) -> list[Any]:
    found: list[Any] = json.loads(table.to_json(orient="records"))
    return found


def parquet(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


people, flowers = PERSONS[:3], FLOWERS[:3]
turned = people[["city", "visits", "member", "age"]].assign(extra=1.5)
rows = flowers.to_numpy().tolist()
EVENT = {"at": "2024-01-02T03:04:05", "blob": "AP8=", "parts": [1.5, 2.5], "note": "x"}
EVENT_2 = {"at": "1999-12-31T00:00:00", "blob": "YWJj", "parts": [3.5], "note": None}
numbers = {"x": [1.5, 2.0], "n": [3, 4], "f": [0.5, 1.0]}
pair = {"left": [[1.0, 2.0], [3.0, 4.0]], "right": [[0.5, 0.5], [1, 1]]}

VALID: list[tuple[str, str, Any]] = [
    ("persons", JSON, {"dataframe_split": split(people)}),
    ("persons", JSON, {"dataframe_split": split(turned)}),
    ("persons", JSON, {"dataframe_records": records(turned)}),
    ("persons", JSON, {"inputs": {n: people[n].tolist() for n in people}}),
    ("persons", JSON, {"instances": records(people)}),
    ("persons", JSON, {"dataframe_records": [{**records(people)[0], "age": 31}]}),
    ("persons", CSV, people.to_csv(index=False)),
    ("persons", CSV, turned.to_csv()),
    ("persons", PARQUET, parquet(turned)),
    ("flowers", JSON, {"dataframe_split": split(flowers)}),
    ("flowers", JSON, {"dataframe_split": split(flowers), "params": {"unknown": 1}}),
    ("flowers", JSON, {"dataframe_records": records(flowers)}),
    ("flowers", JSON, {"dataframe_records": [{"sl": 1, "sw": 0, "pl": 3, "pw": -2}]}),
    ("flowers", CSV, flowers.to_csv(index=False)),
    ("flowers", PARQUET, parquet(flowers)),
    ("tensor", JSON, {"inputs": rows}),
    ("tensor", JSON, {"instances": rows}),
    ("tensor", JSON, {"inputs": [[1, 2, 3, 4]]}),
    ("free", JSON, {"inputs": rows}),
    ("free", JSON, {"instances": rows}),
    ("free", JSON, {"dataframe_split": {"data": rows}}),
    ("ols", JSON, {"dataframe_split": split(flowers[["sl", "sw"]])}),
    ("ols", CSV, flowers[["sw", "sl"]].to_csv(index=False)),
    ("scaled", JSON, {"inputs": numbers}),
    ("scaled", JSON, {"inputs": numbers, "params": {"scale": 2.5, "label": "a"}}),
    ("scaled", JSON, {"dataframe_records": [{"x": 1.0, "n": 2}], "params": {"scale": 2}}),
    ("scaled", JSON, {"inputs": numbers, "params": None}),
    ("adding", JSON, {"inputs": pair}),
    ("adding", JSON, {"instances": [{"left": [1, 2], "right": [3, 4]}]}),
    ("events", JSON, {"dataframe_records": [EVENT, EVENT_2]}),
    ("hinted", JSON, {"inputs": ["a", "bc"]}),
    *(("answering", JSON, {"inputs": [1], "params": {"form": form}}) for form in FORMS),
]
INVALID: list[tuple[str, str, Any]] = [
    ("persons", JSON, {"dataframe_split": split(people.drop(columns="age"))}),
    ("persons", JSON, {"dataframe_records": [{"age": 1}]}),
    ("persons", JSON, {"dataframe_records": [{**records(people)[0], "age": "old"}]}),
    ("persons", JSON, {"dataframe_records": [{**records(people)[0], "visits": None}]}),
    ("persons", JSON, {"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}),
    ("persons", JSON, {"dataframe_split": {"data": [[1]], "more": 1}}),
    ("persons", JSON, {"dataframe_split": [1]}),
    ("persons", JSON, {"dataframe_records": {"age": 1}}),
    ("persons", JSON, {"dataframe_records": []}),
    ("persons", JSON, {}),
    ("persons", JSON, {"data": [1]}),
    ("persons", JSON, {"inputs": [1], "instances": [1]}),
    ("persons", JSON, [1]),
    ("persons", JSON, "3"),
    ("persons", JSON, "{"),
    ("persons", JSON, ""),
    ("persons", JSON, b"\xff\xfe"),
    ("persons", CSV, "age\n1\n"),
    ("persons", CSV, ""),
    ("persons", CSV, b"\xff\xfe"),
    ("persons", PARQUET, b"no"),
    ("persons", "text/plain", "x"),
    ("persons", JSON + "; charset=latin-1", "{}"),
    ("persons", JSON + "; format=pandas-split", "{}"),
    ("flowers", CSV, "sl,sw,pl,pw\n1,2,x,4\n"),
    ("tensor", JSON, {"inputs": [[1, 2]]}),
    ("tensor", JSON, {"inputs": [["a"] * 4]}),
    ("tensor", JSON, {"inputs": [[1, 2, 3, 4], [1]]}),
    ("scaled", JSON, {"inputs": numbers, "params": {"scale": "big"}}),
    ("scaled", JSON, {"inputs": numbers, "params": [1]}),
    ("adding", JSON, {"inputs": {"left": [[1, 2]]}}),
    ("events", JSON, {"dataframe_records": [{**EVENT, "at": "never"}]}),
    ("hinted", JSON, {"inputs": [1]}),
]
OTHERWISE: list[tuple[str, str, Any, int, int]] = [
    # What Salver answers and MLflow does not: positions go for names.
    ("flowers", JSON, {"instances": rows}, 400, 200),
    ("flowers", JSON, {"dataframe_split": {"data": rows}}, 400, 200),
    # MLflow takes these for others: 1.5 visits for 1, a number for a text.
    ("persons", JSON, {"dataframe_records": [{**records(people)[0], "visits": 1.5}]}, 200, 400),
    ("persons", JSON, {"dataframe_records": [{**records(people)[0], "city": 3}]}, 200, 400),
    # A model that fails is not the caller's fault.
    ("failing", JSON, {"dataframe_split": split(flowers)}, 400, 500),
]


def asked(server: Server, scoring: Callable[[str], Any], model: str, kind: str, body: Any) -> Any:
    """Salver's answer and MLflow's."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = {"content-type": kind}
    url = f"{server.url}/models/{model}/invocations"
    ours = httpx.post(url, content=content, headers=headers, timeout=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = scoring(model).post("/invocations", content=content, headers=headers)
    return ours, theirs


@pytest.mark.parametrize(("model", "kind", "body"), VALID)
def test_valid_requests_have_mlflow_s_answers(
    server: Server, scoring: Callable[[str], Any], model: str, kind: str, body: Any
) -> None:
    ours, theirs = asked(server, scoring, model, kind, body)
    assert theirs.status_code == 200, theirs.text
    assert ours.status_code == 200, ours.text
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    wanted = json.loads(theirs.text, parse_constant=lambda _: None)
    assert ours.json() == wanted


@pytest.mark.parametrize(("model", "kind", "body"), INVALID)
def test_invalid_requests_are_refused_as_mlflow_refuses_them(
    server: Server, scoring: Callable[[str], Any], model: str, kind: str, body: Any
) -> None:
    ours, theirs = asked(server, scoring, model, kind, body)
    assert (ours.status_code, ours.headers["content-type"]) == (
        theirs.status_code,
        theirs.headers["content-type"],
    ), (ours.text, theirs.text)
    if ours.status_code == 400:
        assert {"error_code", "message"} <= ours.json().keys() & theirs.json().keys()


@pytest.mark.parametrize(("model", "kind", "body", "mlflow_s", "salver_s"), OTHERWISE)
def test_differences_from_mlflow_are_those_that_the_how_to_lists(
    server: Server,
    scoring: Callable[[str], Any],
    model: str,
    kind: str,
    body: Any,
    mlflow_s: int,
    salver_s: int,
) -> None:
    ours, theirs = asked(server, scoring, model, kind, body)
    assert (theirs.status_code, ours.status_code) == (mlflow_s, salver_s), (ours.text, theirs.text)


def test_mlflow_s_own_client_is_answered(server: Server, saved: Path) -> None:
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    host, port = server.url.removeprefix("http://").split(":")
    client = ScoringServerClient(host, int(port))
    client.wait_server_ready(timeout=10, scoring_server_proc=server.process)
    assert client.get_version()
    client.url_prefix += "/models/persons"
    answer = client.invoke(PERSONS).get_predictions()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = mlflow.pyfunc.load_model(str(saved / "persons")).predict(PERSONS)
    assert answer[0].tolist() == wanted.tolist()
