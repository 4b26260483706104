"""Folders of models, versions, loading and unloading while requests go on."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from salver.protocol import inference_pb2 as pb
from tests import models
from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

CONSTANT = """
import numpy as np
import time


class Constant:
    batchable = True

    def load(self) -> None:
        time.sleep({load_s})

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), {value})
"""


def write_constant(path: Path, value: int, load_s: float = 0.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONSTANT.format(value=value, load_s=load_s))


def ask(server: Server, model: str, version: str = "") -> Any:
    """The constant that the model answers with."""
    part = f"/versions/{version}" if version else ""
    answer = server.post(f"/v1/models/{model}{part}:predict", {"instances": [[0.0]]})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"][0]


def index(server: Server) -> dict[tuple[str, str], dict[str, str]]:
    entries = server.post("/v2/repository/index").json()
    return {(entry["name"], entry["version"]): entry for entry in entries}


@contextmanager
def under_load(server: Server, model: str, threads: int = 4) -> Iterator[list[Any]]:
    """Asks the model all the while; what comes back, statuses other than 200 as such."""
    stop = threading.Event()
    seen: list[Any] = []

    def work() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                answer = client.post(f"/v1/models/{model}:predict", json={"instances": [[0.0]]})
                is_good = answer.status_code == 200
                seen.append(answer.json()["predictions"][0] if is_good else answer.text)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        wait_until(lambda: len(seen) > 20)
        yield seen
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models, one of them in versions 1, 2 and 10."""
    for version in (1, 2, 10):
        write_constant(tmp_path / "many" / str(version) / "model.py", version)
    write_constant(tmp_path / "one.py", 7)
    (tmp_path / "README.md").write_text("no model")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_a_folder_serves_every_model_in_every_version(folder: Path) -> None:
    with serving(str(folder)) as server:
        assert list(index(server)) == [("many", "1"), ("many", "2"), ("many", "10"), ("one", "1")]
        assert {entry["state"] for entry in index(server).values()} == {"READY"}
        assert ask(server, "many") == 10
        for version in ("1", "2", "10"):
            assert ask(server, "many", version) == int(version)
            path = f"/v2/models/many/versions/{version}"
            assert server.get(path).json()["versions"] == [version]
            assert server.get(path + "/ready").status_code == 200
        assert server.get("/v2/models/many").json()["versions"] == ["1", "2", "10"]
        assert ask(server, "one") == 7
        body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [0]}]}
        answer = server.post("/v2/models/many/versions/2/infer", body).json()
        assert answer["model_version"] == "2"
        assert server.post("/v2/models/many/infer", body).json()["model_version"] == "10"
        assert server.get("/v2/models/many/versions/3").status_code == 404


def test_grpc_reaches_every_version(folder: Path) -> None:
    with serving(str(folder)) as server, grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        for version, expected in (("", "10"), ("1", "1"), ("2", "2")):
            request = pb.ModelInferRequest(model_name="many", model_version=version)
            tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 1])
            tensor.contents.fp64_contents.append(0)
            assert infer(request, timeout=30).model_version == expected


def test_loading_a_new_version_under_load_loses_no_request(folder: Path) -> None:
    with serving(str(folder)) as server, under_load(server, "many") as seen:
        write_constant(folder / "many" / "11" / "model.py", 11, load_s=0.3)
        assert server.post("/v2/repository/models/many/load").status_code == 200
        assert ask(server, "many") == 11
        count = len(seen)
        wait_until(lambda: len(seen) > count + 20)
        assert set(seen) == {10, 11}
        assert ask(server, "many", "10") == 10
        shutil.rmtree(folder / "many" / "11")
        assert server.post("/v2/repository/models/many/load").status_code == 200
        assert ask(server, "many") == 10
        assert server.get("/v2/models/many/versions/11").status_code == 404
    assert set(seen) == {10, 11}


def test_replacing_a_file_under_load_loses_no_request(folder: Path) -> None:
    with serving(str(folder)) as server, under_load(server, "one") as seen:
        for value in (8, 9):
            write_constant(folder / "one.py", value, load_s=0.2)
            assert server.post("/v2/repository/models/one/load").status_code == 200
            assert ask(server, "one") == value
    assert set(seen) <= {7, 8, 9}
    assert 7 in seen


def test_an_unloaded_model_says_so_everywhere(folder: Path) -> None:
    with serving(str(folder)) as server:
        assert server.post("/v2/repository/models/one/unload").status_code == 200
        entry = index(server)["one", "1"]
        assert entry["state"] == "UNAVAILABLE"
        assert "unloaded" in entry["reason"]
        answer = server.post("/v1/models/one:predict", {"instances": [[0]]})
        assert answer.status_code == 503
        assert "one" in answer.json()["error"]
        assert "unloaded" in answer.json()["error"]
        assert answer.headers["retry-after"]
        assert server.get("/v2/models/one/ready").status_code == 503
        assert server.get("/v2/health/ready").status_code == 200, "what is unwanted is not missed"
        with grpc.insecure_channel(server.grpc) as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            message = pb.ModelReadyRequest(name="one").SerializeToString()
            assert not pb.ModelReadyResponse.FromString(ready(message, timeout=30)).ready
        assert ask(server, "many") == 10
        assert server.post("/v2/repository/models/one/load").status_code == 200
        assert ask(server, "one") == 7


def test_unloading_under_load_answers_what_was_accepted(folder: Path) -> None:
    with serving(str(folder)) as server:
        with under_load(server, "one") as seen:
            assert server.post("/v2/repository/models/one/unload").status_code == 200
        texts = {each for each in seen if isinstance(each, str)}
        assert 7 in seen
        for text in texts:
            assert "unloaded" in json.loads(text)["error"] or "UNLOADING" in text, text


def test_a_broken_new_file_leaves_the_old_model_serving(folder: Path) -> None:
    with serving(str(folder)) as server:
        for broken, said in (
            ("class Half:\n    def predict(self", "one.py"),
            (
                "raise OSError('no weights here')\nclass A:\n    def predict(self, x): return x\n",
                "no weights here",
            ),
        ):
            (folder / "one.py").write_text(broken)
            answer = server.post("/v2/repository/models/one/load")
            assert answer.status_code == 400, answer.text
            assert said in answer.json()["error"], answer.text
            assert len(answer.json()["error"].splitlines()) == 1
            assert ask(server, "one") == 7
            assert index(server)["one", "1"]["state"] == "READY"
            assert server.get("/v2/health/ready").status_code == 200
        write_constant(folder / "one.py", 12)
        assert server.post("/v2/repository/models/one/load").status_code == 200
        assert ask(server, "one") == 12


def test_a_model_put_into_the_folder_later_can_be_loaded(folder: Path) -> None:
    with serving(str(folder)) as server:
        write_constant(folder / "late.py", 5)
        assert server.get("/v2/models/late").status_code == 404
        assert server.post("/v2/repository/models/late/load").status_code == 200
        assert ask(server, "late") == 5
        assert index(server)["late", "1"]["state"] == "READY"


def test_several_targets_and_a_name(tmp_path: Path) -> None:
    write_constant(tmp_path / "a.py", 1)
    write_constant(tmp_path / "b.py", 2)
    with serving(str(tmp_path / "a.py"), str(tmp_path / "b.py")) as server:
        assert (ask(server, "a"), ask(server, "b")) == (1, 2)
    with serving(str(tmp_path / "a.py"), "--name", "first") as server:
        assert ask(server, "first") == 1
        assert server.get("/v2/models").json() == {"models": ["first"]}


def test_a_class_is_picked_out_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(
        CONSTANT.format(value=1, load_s=0).replace("Constant", "First")
        + CONSTANT.format(value=2, load_s=0).replace("Constant", "Second")
    )
    with serving(f"{path}:Second") as server:
        assert ask(server, "two") == 2


def test_a_wrong_guess_is_overruled(tmp_path: Path) -> None:
    # XGBoost's classifier pickled is an estimator like any other; a .bst may be anybody's.
    models.save_lightgbm(tmp_path / "leaves.bst", trees=3)
    with serving(str(tmp_path / "leaves.bst"), "--runtime", "lightgbm") as server:
        assert server.get("/v2/models/leaves").json()["platform"] == "lightgbm"
    odd = tmp_path / "weights.dat"
    save: Callable[[Path], Any] = models.save_onnx_two_inputs
    save(odd)
    with serving(str(odd), "--runtime", "onnx") as server:
        assert server.get("/v2/models/weights").json()["platform"] == "onnxruntime_onnx"
