"""Workers come and go under load, down to none and back, and no request fails."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from salver.backends.local.memory import added_bytes
from tests import models
from tests.e2e.gateway import Gateway
from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}
)
HEADERS = {"content-type": "application/json"}
SLOW = """
import time
import numpy as np
class Slow:
    def load(self):
        time.sleep(0.2)
    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.002)
        return x[:, 0]
"""


@contextmanager
def under_load(port: int, model: str, threads: int) -> Iterator[list[str]]:
    """So many connections ask all the while; what comes back that is no right answer."""
    stop = threading.Event()
    failures: list[str] = []
    counts = [0] * threads

    def work(index: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while not stop.is_set():
                answer = client.post(f"/v2/models/{model}/infer", content=BODY, headers=HEADERS)
                counts[index] += 1
                if answer.status_code != 200:
                    failures.append(answer.text)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    try:
        wait_until(lambda: all(counts))
        yield failures
        seen = sum(counts)
        wait_until(lambda: sum(counts) > seen + threads, 30)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@pytest.fixture
def gateway(python_model: Callable[..., Path]) -> Iterator[Gateway]:
    gateway = Gateway(python_model(SLOW))
    yield gateway
    gateway.close()


def test_scaling_1_to_4_to_1_to_0_and_back_under_load_fails_no_request(gateway: Gateway) -> None:
    with under_load(gateway.port, "custom", threads=32) as failures:
        for replicas in (4, 1, 3):
            gateway.scale(replicas)
        # At zero every request would wake it again, so it never stays there under load.
        for replicas in (0, 2, 0, 1, 4, 0, 0, 1):
            gateway.tell(replicas)
            time.sleep(0.1)
    assert failures == []
    gateway.scale(1)


def test_requests_at_zero_wait_for_the_one_worker_they_wake(gateway: Gateway) -> None:
    gateway.scale(0)
    assert gateway.model.is_ready
    with ThreadPoolExecutor(16) as threads:
        url = f"http://127.0.0.1:{gateway.port}/v2/models/custom/infer"
        posts = [
            threads.submit(httpx.post, url, content=BODY, headers=HEADERS, timeout=30)
            for _ in range(16)
        ]
        assert {post.result().status_code for post in posts} == {200}
    assert gateway.model.replicas == 1


def test_a_wake_up_that_fails_says_why_and_a_mended_file_serves_again(
    tmp_path: Path, python_model: Callable[..., Path]
) -> None:
    path = python_model(SLOW)
    gateway = Gateway(path)
    try:
        gateway.scale(0)
        path.rename(tmp_path / "away")
        url = f"http://127.0.0.1:{gateway.port}/v2/models/custom/infer"
        answer = httpx.post(url, content=BODY, headers=HEADERS, timeout=30)
        assert answer.status_code == 503
        assert "custom.py" in answer.json()["error"]
        (tmp_path / "away").rename(path)

        def is_answered() -> bool:
            return httpx.post(url, content=BODY, headers=HEADERS, timeout=30).status_code == 200

        wait_until(is_answered, 15)
    finally:
        gateway.close()


# The pool of many models.


def write_pool(folder: Path, count: int) -> None:
    folder.mkdir()
    models.save_sklearn_lr(folder / "m-0.joblib")
    for index in range(1, count):
        os.link(folder / "m-0.joblib", folder / f"m-{index}.joblib")


def ask(server: Server, model: str) -> httpx.Response:
    return server.post(f"/v2/models/{model}/infer", BODY.encode(), headers=HEADERS)


def test_more_models_than_memory_holds_are_all_served_within_the_budget(tmp_path: Path) -> None:
    write_pool(tmp_path / "many", 40)
    budget = 80 << 20
    choose = random.Random(3)
    with serving(str(tmp_path / "many"), "--memory-budget", str(budget)) as server:
        assert server.workers() == []
        entries = server.post("/v2/repository/index").json()
        assert {(entry["state"], entry["reason"]) for entry in entries} == {("READY", "standby")}
        assert len(entries) == 40
        with ThreadPoolExecutor(8) as threads:
            names = [f"m-{choose.randrange(40)}" for _ in range(80)]
            answers = list(threads.map(lambda name: ask(server, name), names))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["outputs"][0]["data"][0] for answer in answers} == {0}
        assert sum(added_bytes(pid) for pid in server.workers()) <= budget
        assert server.metric("salver_pool_evictions_total") > 0
        assert server.metric("salver_requests_total") == 80
        assert server.metric("salver_pool_models") == 40


def test_a_pooled_model_is_unloaded_and_loaded_by_the_repository(tmp_path: Path) -> None:
    write_pool(tmp_path / "many", 3)
    (tmp_path / "many" / "broken.joblib").write_bytes(b"no model at all")
    with serving(str(tmp_path / "many"), "--memory-budget", "1GiB") as server:
        assert server.post("/v2/repository/models/m-1/load").status_code == 200
        assert len(server.workers()) == 1
        assert server.get("/v2/models/m-1").json()["platform"] == "sklearn"
        assert server.post("/v2/repository/models/m-1/unload").status_code == 200
        wait_until(lambda: server.workers() == [])
        assert ask(server, "m-1").status_code == 503
        assert server.post("/v2/repository/models/m-1/load").status_code == 200
        assert ask(server, "m-1").status_code == 200
        answer = ask(server, "broken")
        assert answer.status_code == 503
        assert "broken.joblib" in answer.json()["error"]
        assert server.post("/v2/repository/models/broken/load").status_code == 400
        assert server.get("/v2/health/ready").status_code == 200
        assert server.get("/v2/models/none").status_code == 404
        shutil.copy(tmp_path / "many" / "m-0.joblib", tmp_path / "many" / "late.joblib")
        assert server.post("/v2/repository/models/late/load").status_code == 200
        assert ask(server, "late").status_code == 200
