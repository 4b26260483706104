"""PMML documents on a running server: by our reader, and on the JVM."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tests.e2e.server import Server, serving
from tests.frameworks.pmml import documents as d
from tests.unit.runtimes.requests import load

from salver.errors import LoadFailed

ROW = {"a": 0.5, "b": -1.0, "c": "red", "n": 2}


def own_document() -> str:
    node = d.random_tree(np.random.default_rng(2), is_class=True)
    return d.document(d.FIELDS + d.TARGET_CLASS, d.tree_model(node, is_class=True))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "tree.pmml").write_text(own_document())
    (folder / "bayes.pmml").write_text(d.naive_bayes())
    with serving(str(folder / "tree.pmml"), str(folder / "bayes.pmml")) as running:
        yield running


def test_v1_takes_rows_of_named_columns(server: Server) -> None:
    answer = server.post("/v1/models/tree:predict", {"instances": [ROW, {**ROW, "a": -3.0}]})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["predictions"]) <= set(d.CLASSES)


def columns(**values: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "shape": [1],
            "data": [value],
        }
        for name, value in values.items()
    ]


def test_v2_gives_probabilities_with_their_labels(server: Server) -> None:
    body = {"inputs": columns(**ROW), "outputs": [{"name": "probability"}]}
    answer = server.post("/v2/models/tree/infer", body)
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [1, 3]
    assert sum(output["data"]) == pytest.approx(1.0)


def test_v2_grpc_answers_too(server: Server) -> None:
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        given = []
        for each in columns(**ROW):
            is_text = each["datatype"] == "BYTES"
            tensor = triton_grpc.InferInput(each["name"], [1], each["datatype"])
            tensor.set_data_from_numpy(np.array(each["data"], dtype=object if is_text else float))
            given.append(tensor)
        found = client.infer("tree", given, client_timeout=20).as_numpy("predict")
    assert found[0].decode() in d.CLASSES


def test_a_value_that_the_document_calls_invalid_is_refused(server: Server) -> None:
    answer = server.post("/v1/models/tree:predict", {"instances": [{**ROW, "c": "mauve"}]})
    assert answer.status_code == 400
    assert "'c' has the value mauve" in answer.text
    assert "red, green, blue" in answer.text


def test_a_model_that_our_reader_does_not_know_goes_to_the_jvm(server: Server) -> None:
    answer = server.post("/v1/models/bayes:predict", {"instances": [{"c": "red"}]})
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["predictions"]
    assert row["predicted_y"] in d.CLASSES


def test_without_java_the_unknown_element_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bayes.pmml").write_text(d.naive_bayes())
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LoadFailed, match=r"the document has a NaiveBayesModel, .*install Java"):
        load(tmp_path / "bayes.pmml", "pmml")
