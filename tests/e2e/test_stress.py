"""All at once: clients that leave, workers killed, canaries, steps, a log, a shadow, scaling.

Every request whose client stays is answered, and rightly; afterwards nothing is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.declared import KSERVE, Json, apply, is_settled, service_path, wait_status
from tests.e2e.server import Server, serving, wait_until
from tests.e2e.stress import Crowd

pytestmark = [pytest.mark.alone, pytest.mark.e2e, pytest.mark.timeout(90)]

SECONDS = 6.0
CLIENTS = 32
MODEL = """
import time
import numpy as np

class Adds:
    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.002)
        return x[:, 0] + {value}
"""
STEPS = """
import time

class Steps:
    def preprocess(self, payload, headers):
        time.sleep(float(headers.get("x-sleep", 0)))
        if "instances" not in payload:
            return payload
        return {"instances": [[value + 1 for value in row] for row in payload["instances"]]}

    def postprocess(self, payload):
        if "predictions" not in payload:
            return payload
        return {"predictions": [value + 1000 for value in payload["predictions"]]}
"""


class Services:
    """Three manifests over models that add 10, 20 or 30."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for value in (10, 20, 30):
            (folder / f"adds{value}.py").write_text(MODEL.format(value=value))
        (folder / "steps.py").write_text(STEPS)

    def all(self, value: int = 10, **predictor: Any) -> list[Json]:
        return [
            self.transformed(value, **predictor),
            self.shadowed(value, **predictor),
            _service("plain", {"predictor": {**self._model(value), **predictor}}),
        ]

    def transformed(self, value: int, name: str = "transformed", **predictor: Any) -> Json:
        log = {"mode": "all", "url": f"file://{self._folder}/events.jsonl"}
        container = {"name": "kserve-container", "image": "example.com/steps:1"}
        transformer = {
            "annotations": {"salver.dev/class": f"{self._folder}/steps.py:Steps"},
            "containers": [container],
        }
        own = {**self._model(value), "logger": log, **predictor}
        return _service(name, {"predictor": own, "transformer": transformer})

    def shadowed(self, value: int, **predictor: Any) -> Json:
        canary = {"predictor": {"name": "candidate", **self._model(20)}}
        spec = {"predictor": {**self._model(value), **predictor}, "canary": [canary]}
        return _service("shadowed", spec, {"salver.dev/shadow": "candidate"})

    def _model(self, value: int) -> Json:
        uri = str(self._folder / f"adds{value}.py")
        return {"model": {"modelFormat": {"name": "python"}, "storageUri": uri}}


def _service(name: str, spec: Json, annotations: Json | None = None) -> Json:
    return {
        "apiVersion": KSERVE,
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return Services(tmp_path_factory.mktemp("stress"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, services: Services) -> Iterator[Server]:
    state = str(tmp_path_factory.mktemp("state"))
    with serving("--state-dir", state, "--threads", "1") as running:
        for each in services.all():
            apply(running, each)
        for each in services.all():
            wait_status(running, each["metadata"]["name"], is_settled)
        yield running


def kill_and_change(server: Server, services: Services, draw: random.Random, ends_s: float) -> int:
    """Kills a worker or changes a manifest now and then; how many were killed."""
    killed = turn = 0
    while time.monotonic() < ends_s:
        time.sleep(draw.uniform(0.15, 0.35))
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(draw.choice(server.workers()), signal.SIGKILL)
            killed += 1
        replicas = (1, 3, 0, 2)[turn % 4]
        bounds = {"minReplicas": replicas, "maxReplicas": max(1, replicas)}
        if turn % 3 == 0:
            bounds["canaryTrafficPercent"] = (30, 60, 100)[turn // 3 % 3]
        apply(server, services.all((10, 20, 30)[turn // 2 % 3], **bounds)[turn % 3])
        turn += 1
    return killed


def resident_mib(server: Server) -> float:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024


def test_nobody_who_stays_goes_without_the_right_answer(server: Server, services: Services) -> None:
    draw = random.Random(7)
    crowd = Crowd(
        server.port,
        {"transformed": True, "shadowed": False, "plain": False},
        seed=draw.getrandbits(9),
    )
    ends_s = time.monotonic() + SECONDS
    thread = threading.Thread(target=lambda: asyncio.run(crowd.run(CLIENTS, SECONDS)))
    thread.start()
    time.sleep(1.0)
    warm_mib = resident_mib(server)
    killed = kill_and_change(server, services, draw, ends_s - 0.5)
    thread.join(60)
    assert crowd.failures == []
    assert min(crowd.right.values()) > 50
    assert len(crowd.right) == 3
    assert killed > 5
    assert crowd.left > 20

    def is_idle() -> bool:
        gauges = ("salver_requests_in_flight", "salver_requests_queued")
        return all(server.metric(gauge) == 0 for gauge in gauges)

    wait_until(is_idle)
    assert resident_mib(server) < warm_mib + 24
    text = server.log.read_text()
    assert "Traceback" not in text
    assert "never retrieved" not in text
    assert [line for line in text.splitlines() if '"level": "error"' in line] == []


def test_calls_amid_their_steps_are_answered_though_their_service_is_deleted(
    server: Server, services: Services
) -> None:
    apply(server, services.transformed(10, "deleted"))
    wait_status(server, "deleted", is_settled)

    def ask(_: int) -> tuple[int, Any]:
        headers = {"content-type": "application/json", "x-sleep": "0.1"}
        body = json.dumps({"instances": [[1.0, 0.0]]}).encode()
        answer = server.post("/v1/models/deleted:predict", body, headers=headers)
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(8) as threads:
        asked = threads.map(ask, range(8))
        wait_until(lambda: server.metric("salver_requests_total", model="deleted-transformer") >= 8)
        assert server.delete(service_path("deleted")).is_success
        assert list(asked) == [(200, {"predictions": [1012.0]})] * 8
    wait_until(lambda: server.metric("salver_requests_total", model="deleted-transformer") == 0)
