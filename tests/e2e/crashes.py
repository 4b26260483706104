"""A script of changes to a server that is killed at any moment, and what must hold after each.

Every step is one request to the admin API. Once it is acknowledged it must survive; one that
was under way may have happened or not; anything else is a fault.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.declared import KSERVE, Json, service_path, traffic_of
from tests.e2e.server import Server, command, environment, wait_up

SOURCE = """
import numpy as np
class Constant:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0] * 0 + {value}
"""
_A: Mapping[str, Json] = {
    "first": {"value": 1},
    "canary": {"value": 2, "canaryTrafficPercent": 20},
    "second": {"value": 2},
    "scaled": {"value": 2, "minReplicas": 2},
    "back": {"value": 2, "canaryTrafficPercent": 0},
}
_PLACES = (
    ("first", 0),
    ("canary", 0),
    ("canary", 1),
    ("second", 1),
    ("second", 2),
    ("scaled", 2),
    ("scaled", 0),
    ("back", 0),
)
"""One lap: what `a` is, and the value that `b` answers, 0 while it is not there. From each to
the next is one change of one service."""
_SETTLE_S = 60.0
_REVISIONS = "/apis/salver.dev/v1/namespaces/default/revisions"
_SERVICES = f"/apis/{KSERVE}/namespaces/default/inferenceservices"


@dataclass
class Outcome:
    """What was seen over all kills."""

    kills: int = 0
    kills_at_start: int = 0
    steps: int = 0
    in_flight_kept: int = 0
    in_flight_lost: int = 0
    resumed_s: list[float] = field(default_factory=list)
    """From the restart until every service answered."""
    faults: list[str] = field(default_factory=list)


class Script:
    """Steps without end over two services, `a` and `b`."""

    def __init__(self, folder: Path) -> None:
        self._paths = {value: folder / f"model{value}.py" for value in (1, 2)}
        for value, path in self._paths.items():
            path.write_text(SOURCE.format(value=value))

    def state(self, step: int) -> Mapping[str, Json]:
        """The specs of all services after so many steps, by name."""
        if not step:
            return {}
        lap, place = divmod(step - 1, len(_PLACES))
        name, value = _PLACES[place]
        # Other plans on every lap, and after three the same again.
        state = {"a": self._spec(timeout=20 + lap % 3, **_A[name])}
        if value:
            state["b"] = self._spec(value)
        return state

    def _spec(self, value: int, **predictor: Any) -> Json:
        model = {"modelFormat": {"name": "python"}, "storageUri": str(self._paths[value])}
        return {"predictor": {"model": model, **predictor}}

    def act(self, client: httpx.Client, step: int) -> None:
        """Does what leads from `step` to the next; returns once it is acknowledged."""
        before, after = self.state(step), self.state(step + 1)
        (name,) = (each for each in ("a", "b") if before.get(each) != after.get(each))
        if name not in after:
            answer = client.delete(service_path(name))
        elif name in before:
            answer = client.put(service_path(name), json=_service(name, after[name]))
        else:
            answer = client.post(_SERVICES, json=_service(name, after[name]))
        if not answer.is_success:
            raise AssertionError(f"step {step} on {name}: {answer.text}")

    def allowed(self, spec: Json) -> set[float]:
        """What a service with that spec may answer, once it is settled."""
        if "canaryTrafficPercent" in spec["predictor"]:
            # With whom it shares depends on how far the steps before had come.
            return {1.0, 2.0}
        return {2.0 if "model2" in spec["predictor"]["model"]["storageUri"] else 1.0}


def _service(name: str, spec: Json) -> Json:
    return {
        "apiVersion": KSERVE,
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


class Crashes:
    """Runs the script on one state directory, over many lives of the server."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._script = Script(folder)
        self._random = random.Random(seed)
        self._acknowledged = 0
        self.outcome = Outcome()

    def kill_once(self) -> None:
        """One life: it starts, is looked at, goes on with the script, and is killed."""
        log = self._folder / "log.txt"
        started_s = time.monotonic()
        with log.open("w") as stderr:
            process = subprocess.Popen(
                command(
                    *("serve", "--state-dir", str(self._folder / "state"), "--http-port", "0"),
                    *("--grpc-port", "-1", "--log-format", "json", "--threads", "1"),
                ),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                env=environment(),
                cwd=self._folder,
            )
        try:
            if self._random.random() < 0.15:
                time.sleep(self._random.uniform(0.0, 1.5))
                self.outcome.kills_at_start += 1
            else:
                server = Server(process, wait_up(process, log, 60), log)
                self._look(server, started_s)
                self._go_on_until_killed(server)
        except AssertionError as error:
            self.outcome.faults.append(f"kill {self.outcome.kills}: {error}")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            self.outcome.kills += 1

    def _go_on_until_killed(self, server: Server) -> None:
        delay_s = self._random.uniform(0.0, 0.8)
        killer = threading.Timer(delay_s, server.process.send_signal, [signal.SIGKILL])
        killer.start()
        with (
            suppress(httpx.TransportError),
            httpx.Client(base_url=server.url, timeout=10) as client,
        ):
            while True:
                self._script.act(client, self._acknowledged)
                self._acknowledged += 1
                self.outcome.steps += 1
                # At times in a hurry, at times with time enough for models to load.
                time.sleep(self._random.choice((0.0, 0.0, 0.02, 0.2)))
        killer.join()

    def _look(self, server: Server, started_s: float) -> None:
        """Holds what is there after the restart against what was acknowledged."""
        with httpx.Client(base_url=server.url, timeout=10) as client:
            kept = {
                each["metadata"]["name"]: each["spec"]
                for each in client.get(_SERVICES).json()["items"]
            }
            step = self._acknowledged
            if kept == self._script.state(step + 1):
                self._acknowledged += 1
                self.outcome.in_flight_kept += 1
            elif kept == self._script.state(step):
                self.outcome.in_flight_lost += 1
            else:
                wanted = json.dumps([self._script.state(step), self._script.state(step + 1)])
                raise AssertionError(f"there is {json.dumps(kept)}, neither of {wanted}")
            for name in kept:
                _wait_answer(client, name)
            self.outcome.resumed_s.append(time.monotonic() - started_s)
            for name, spec in kept.items():
                self._wait_settled(client, name, spec)

    def _wait_settled(self, client: httpx.Client, name: str, spec: Json) -> None:
        deadline_s = time.monotonic() + _SETTLE_S
        while True:
            obj = client.get(service_path(name)).json()
            problem = _problem(client, obj)
            if not problem:
                break
            assert time.monotonic() < deadline_s, f"{name} {problem}: {json.dumps(obj)}"
            time.sleep(0.02)
        seen = {_answer(client, name) for _ in range(10)}
        allowed = self._script.allowed(spec)
        assert seen <= allowed, f"{name} answers {seen}, not {allowed}: {json.dumps(obj)}"


def _wait_answer(client: httpx.Client, name: str) -> None:
    deadline_s = time.monotonic() + _SETTLE_S
    while _answer(client, name) is None:
        assert time.monotonic() < deadline_s, f"{name} does not answer"
        time.sleep(0.02)


def _answer(client: httpx.Client, name: str) -> float | None:
    answer = client.post(f"/v1/models/{name}:predict", json={"instances": [[7.0, 8.0]]})
    if answer.status_code != 200:
        return None
    value: float = answer.json()["predictions"][0]
    return value


def _problem(client: httpx.Client, obj: Json) -> str:
    """What of the service's status is not as it should be in the end; empty if nothing."""
    status = obj.get("status", {})
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    for kind in ("Ready", "LatestDeploymentReady", "RoutesReady"):
        if conditions.get(kind) != "True":
            return f"is not {kind}"
    if status["observedGeneration"] != obj["metadata"]["generation"]:
        return "was not looked at"
    if sum(traffic_of(status).values()) != 100:
        return "has no whole traffic"
    percent = obj["spec"]["predictor"].get("canaryTrafficPercent")
    targets = status["components"]["predictor"]["traffic"]
    newest = sum(each["percent"] for each in targets if each["latestRevision"])
    # With nobody to share with, a canary gets everything.
    if newest not in (100, percent):
        return f"gives {newest}% to its newest revision"
    return _revisions_problem(client, obj, {each["revisionName"] for each in targets})


def _revisions_problem(client: httpx.Client, obj: Json, used: set[str]) -> str:
    mine = [
        each
        for each in client.get(_REVISIONS).json()["items"]
        if each["metadata"]["labels"]["salver.dev/service"] == obj["metadata"]["name"]
    ]
    digests = [each["spec"]["digest"] for each in mine]
    if len(set(digests)) < len(digests):
        return "has two revisions of one plan"
    if any(
        each["metadata"]["ownerReferences"][0]["uid"] != obj["metadata"]["uid"] for each in mine
    ):
        return "has revisions of a service that is deleted"
    if not used <= {each["metadata"]["name"] for each in mine}:
        return "has traffic for revisions that are not kept"
    return ""
