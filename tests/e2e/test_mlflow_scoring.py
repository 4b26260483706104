"""MLflow's scoring protocol on models that know nothing of it: every form, beside V1 and V2."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tests import models
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 4.2, 1.5]]
NAMES = ["a", "b", "c", "d"]
PERSONS = [{"age": 31.0, "city": "Bern"}, {"age": 64.0, "city": "Genf"}]
TABLE = """
import pandas as pd


class Table:
    # What its table looks like.
    def predict(self, table: pd.DataFrame) -> dict:
        return {"columns": list(table.columns), "rows": [len(table)] * len(table.columns)}
"""
FAILING = """
class Failing:
    def predict(self, x):
        raise RuntimeError("no")
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    predict = models.save_sklearn_lr(tmp_path_factory.mktemp("expected") / "iris.joblib")
    return np.asarray(predict(np.array(ROWS))).tolist()


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has one model."""
    path = tmp_path_factory.mktemp("iris") / "iris.joblib"
    models.save_sklearn_lr(path)
    with serving(str(path)) as server:
        yield server


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has some, so that a path must say which is meant."""
    folder = tmp_path_factory.mktemp("several")
    models.save_sklearn_lr(folder / "iris.joblib")
    models.save_sklearn_mixed(folder / "persons.joblib")
    (folder / "table.py").write_text(TABLE)
    (folder / "failing.py").write_text(FAILING)
    with serving(str(folder)) as server:
        yield server


def post(server: Server, body: Any, content_type: str = "application/json", path: str = "") -> Any:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return httpx.post(
        f"{server.url}{path}/invocations",
        content=content,
        headers={"content-type": content_type},
        timeout=30,
    )


def parquet(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


TABLE_OF_ROWS = pd.DataFrame(ROWS, columns=NAMES)
BODIES: dict[str, tuple[Any, str]] = {
    "split": ({"dataframe_split": {"columns": NAMES, "data": ROWS}}, "application/json"),
    "split with an index": (
        {"dataframe_split": {"columns": NAMES, "index": [7, 8, 9], "data": ROWS}},
        "application/json; charset=utf-8",
    ),
    "split without names": ({"dataframe_split": {"data": ROWS}}, "application/json"),
    "records": (
        {"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in ROWS]},
        "application/json",
    ),
    "instances": ({"instances": ROWS}, "application/json"),
    "inputs": ({"inputs": ROWS}, "application/json"),
    "csv": (TABLE_OF_ROWS.to_csv(index=False), "text/csv"),
    "parquet": (parquet(TABLE_OF_ROWS), "application/vnd.apache.parquet"),
}


@pytest.mark.parametrize("form", BODIES)
def test_every_form_gives_the_model_s_predictions(iris: Server, expected: Any, form: str) -> None:
    answer = post(iris, *BODIES[form])
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"predictions": expected}


def test_columns_of_mixed_types_are_found_by_name(
    several: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    predict = models.save_sklearn_mixed(tmp_path_factory.mktemp("p") / "persons.joblib")
    table = pd.DataFrame(PERSONS)
    wanted = {"predictions": np.asarray(predict(table)).tolist()}
    turned = table[["city", "age"]].assign(more=1)
    records = [{**person, "more": 1} for person in PERSONS]
    path = "/models/persons"
    for body, content_type in [
        ({"dataframe_records": records}, "application/json"),
        ({"dataframe_records": [PERSONS[0], {"city": "Genf", "age": 64}]}, "application/json"),
        ({"instances": records}, "application/json"),
        ({"inputs": {name: [r[name] for r in PERSONS] for name in PERSONS[0]}}, "application/json"),
        (turned.to_csv(index=False), "text/csv"),
        (turned.to_csv(), "text/csv"),
        (parquet(turned), "application/vnd.apache.parquet"),
    ]:
        answer = post(several, body, content_type, path)
        assert answer.status_code == 200, answer.text
        assert answer.json() == wanted


def test_a_model_that_takes_a_table_gets_one(several: Server) -> None:
    split = {"columns": ["x", "y"], "data": [[1, "a"], [2, "b"]]}
    answer = post(several, {"dataframe_split": split}, path="/models/table")
    assert answer.json() == {"predictions": {"columns": ["x", "y"], "rows": [2, 2]}}


def test_where_several_models_are_served_the_path_says_which(
    several: Server, expected: Any
) -> None:
    assert post(several, *BODIES["split"]).status_code == 404
    for path in ("/models/iris", "/seldon/iris", "/seldon/default/iris"):
        assert post(several, *BODIES["split"], path).json() == {"predictions": expected}
    unknown = post(several, *BODIES["split"], "/models/nobody")
    assert unknown.status_code == 404
    assert unknown.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        ("{", "no valid JSON"),
        (b"\xff", "no valid JSON"),
        ("", "no valid JSON"),
        ([1, 2], "a list"),
        (3, "no object"),
        ({}, "exactly one of"),
        ({"data": ROWS}, "exactly one of"),
        ({"instances": ROWS, "inputs": ROWS}, "instances and inputs"),
        ({"messages": []}, "takes no messages"),
        ({"dataframe_split": ROWS}, "'dataframe_split'"),
        ({"dataframe_split": {"columns": NAMES}}, "'dataframe_split'"),
        ({"dataframe_split": {"columns": NAMES, "data": ROWS, "odd": 1}}, "'dataframe_split'"),
        ({"dataframe_split": {"columns": NAMES[:2], "data": ROWS}}, "row 0"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1, 2, 3, "x"]]}}, "'x'"),
        ({"dataframe_split": {"columns": NAMES, "data": []}}, "no rows"),
        ({"dataframe_split": {"columns": ["a"] * 4, "data": ROWS}}, "twice"),
        ({"dataframe_records": {}}, "'dataframe_records'"),
        ({"dataframe_records": [1]}, "entry 0"),
        ({"instances": [[1, 2]]}, "4"),
        ({"inputs": {"x": ROWS}, "params": [1]}, "'params'"),
    ],
)
def test_a_wrong_body_is_refused_in_mlflow_s_form(iris: Server, body: Any, fact: str) -> None:
    answer = post(iris, body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert error["error_code"] == "BAD_REQUEST"
    assert fact in error["message"]


def test_missing_columns_are_all_named(several: Server) -> None:
    answer = post(several, {"dataframe_records": [{"x": 3}]}, path="/models/persons")
    assert answer.status_code == 400
    assert "'age', 'city'; it does not know 'x'" in answer.json()["message"]


@pytest.mark.parametrize(
    "text", ["a,b,c,d\n1,2,3,4,5\n", 'a,b,c,d\n"1,2', "", "a,b,c,d\n", "a\nx\n"]
)
def test_a_wrong_csv_is_refused(iris: Server, text: str) -> None:
    assert post(iris, text, "text/csv").status_code == 400


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_refused(iris: Server, body: bytes) -> None:
    answer = post(iris, body, "application/vnd.apache.parquet")
    assert answer.status_code == 400
    assert "Parquet" in answer.json()["message"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json; charset=latin-1", "application/json; format=pandas", ""],
)
def test_other_media_types_are_refused_in_plain_text(iris: Server, content_type: str) -> None:
    answer = post(iris, BODIES["split"][0], content_type)
    assert answer.status_code == 415
    assert answer.headers["content-type"].startswith("text/plain")
    assert "content type" in answer.text


def test_a_model_that_fails_is_the_server_s_fault(several: Server) -> None:
    answer = post(several, {"inputs": [1]}, path="/models/failing")
    assert answer.status_code == 500
    assert answer.json()["error_code"] == "INTERNAL_ERROR"


def test_health_and_version_are_where_mlflow_has_them(iris: Server) -> None:
    for path in ("/ping", "/health"):
        answer = iris.get(path)
        assert (answer.status_code, answer.text) == (200, "\n")
    version = iris.get("/version")
    assert (version.status_code, version.text) == (200, iris.get("/v2").json()["version"])
    refused = iris.get("/invocations")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_three_protocols_at_once_do_not_disturb_each_other(iris: Server, expected: Any) -> None:
    before = iris.metric("salver_requests_total")
    count, wrong = 60, []

    def ask(index: int) -> None:
        kind = index % 5
        with httpx.Client(base_url=iris.url, timeout=30) as client:
            for _ in range(count):
                if kind == 0:
                    got = client.post("/v1/models/iris:predict", json={"instances": ROWS}).json()
                    found = got["predictions"]
                elif kind == 1:
                    tensor = {"name": "x", "shape": [3, 4], "datatype": "FP64", "data": ROWS}
                    got = client.post("/v2/models/iris/infer", json={"inputs": [tensor]}).json()
                    found = got["outputs"][0]["data"]
                else:
                    form = ("split", "csv", "parquet")[kind - 2]
                    body, content_type = BODIES[form]
                    content = body if isinstance(body, str | bytes) else json.dumps(body)
                    headers = {"content-type": content_type}
                    got = client.post("/invocations", content=content, headers=headers).json()
                    found = got["predictions"]
                if found != expected:
                    wrong.append((kind, got))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert iris.metric("salver_requests_total") - before == 10 * count
