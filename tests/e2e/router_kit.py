"""Routers that learn, on a running server: three arms, graphs over them, and visitors.

An arm answers its own number, so that whoever asked knows what was chosen.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.server import Server, command, environment, serving, wait_until

ARMS = ("a", "b", "c")
SOURCE = """
import numpy as np

def a(x): return np.zeros(len(x))
def b(x): return np.zeros(len(x)) + 1
def c(x): return np.zeros(len(x)) + 2

class A:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return a(x)
class B:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return b(x)
class C:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return c(x)
"""
GRAPHS = "/apis/salver.dev/v1/namespaces/default/graphs"
ROUTERS = "/salver/v1/routers"
FEEDBACK = "/salver/v1/feedback"

Json = dict[str, Any]


def arms_file(folder: Path) -> Path:
    """The arms, as functions and as classes."""
    path = folder / "arms.py"
    path.write_text(SOURCE)
    return path


def graph(
    name: str,
    source: Path,
    algorithm: str = "thompson",
    arms: Iterable[str] = ARMS,
    annotations: dict[str, str] | None = None,
    **parameters: Any,
) -> Json:
    """A Graph that chooses one of the arms by what it has learned."""
    names = list(arms)
    learned = {"algorithm": algorithm, "parameters": parameters}
    steps: list[Json] = [{"name": "pick", "choose": {"branches": names, "learned": learned}}]
    steps += [
        {"name": arm, "python": f"{source}:{arm}", "when": {"step": "pick", "branch": arm}}
        for arm in names
    ]
    return {
        "apiVersion": "salver.dev/v1",
        "kind": "Graph",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"steps": steps, "output": names},
    }


def service(name: str, source: Path, attribute: str) -> Json:
    """An InferenceService that is one arm."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"salver.dev/class": f"{source}:{attribute}"}},
        "spec": {"predictor": {}},
    }


@contextmanager
def declared(folder: Path, objects: list[Json], *arguments: str) -> Iterator[Server]:
    """A server of these objects, whose state is in the folder."""
    manifest = folder / "objects.json"
    manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    with serving("-f", str(manifest), "--state-dir", str(folder / "state"), *arguments) as server:
        yield server


def put_graph(server: Server, obj: Json) -> None:
    """Creates the graph, or replaces it; returns once it serves as it is written."""
    name = obj["metadata"]["name"]
    answer = server.post(GRAPHS, obj)
    if answer.status_code == 409:
        answer = server.put(f"{GRAPHS}/{name}", obj)
    assert answer.is_success, answer.text
    generation = answer.json()["metadata"]["generation"]
    wait_until(lambda: is_ready(server, name, generation), 60)


def is_ready(server: Server, name: str, generation: int = 1) -> bool:
    status = server.get(f"{GRAPHS}/{name}").json().get("status", {})
    found = {each["type"]: each["status"] for each in status.get("conditions", [])}
    # `Ready` alone may mean that its former form answers.
    is_as_written = found.get("Ready") == found.get("LatestDeploymentReady") == "True"
    return is_as_written and status.get("observedGeneration", 0) >= generation


class Visitors:
    """Ask one graph over V1, one after the other, and tell it of rewards."""

    def __init__(self, server: Server, name: str, chances: Iterable[float], seed: int = 1) -> None:
        self.chances = tuple(chances)
        self.random = random.Random(seed)
        self.chosen: Counter[int] = Counter()
        self.rewarded: Counter[int] = Counter()
        self.web = httpx.Client(base_url=server.url, timeout=30)
        self._path = f"/v1/models/{name}:predict"

    def __enter__(self) -> Visitors:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def visit(self, run_id: str = "") -> tuple[str, int]:
        """One request: its id, and the arm that answered it."""
        headers = {"x-request-id": run_id} if run_id else {}
        answer = self.web.post(self._path, json={"instances": [[1.0]]}, headers=headers)
        assert answer.status_code == 200, answer.text
        (arm,) = answer.json()["predictions"]
        self.chosen[int(arm)] += 1
        return answer.headers["x-request-id"], int(arm)

    def reward_of(self, arm: int) -> float:
        """1 or 0, by the arm's chance."""
        reward = float(self.random.random() < self.chances[arm])
        self.rewarded[arm] += 1
        return reward

    def tell(self, *rewards: tuple[str, float], router: str = "") -> Json:
        """Tells of rewards; what became of them."""
        body: Json = {"rewards": [{"id": each, "reward": value} for each, value in rewards]}
        if router:
            body["router"] = router
        answer = self.web.post(FEEDBACK, json=body)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def play(self, rounds: int, *, batch: int = 1, late: int = 0) -> None:
        """So many requests; their rewards come in batches, and `late` requests later."""
        waiting: list[tuple[str, float]] = []
        for _ in range(rounds):
            run_id, arm = self.visit()
            waiting.append((run_id, self.reward_of(arm)))
            if len(waiting) >= late + batch:
                assert self.tell(*waiting[:batch])["accepted"] == batch
                del waiting[:batch]
        if waiting:
            assert self.tell(*waiting)["accepted"] == len(waiting)

    @property
    def regret(self) -> float:
        """What the best arm would have earned more, on average."""
        best = max(self.chances)
        return sum(count * (best - self.chances[arm]) for arm, count in self.chosen.items())


def status_of(server: Server, name: str, step: str = "pick") -> Json:
    """The router as the API shows it."""
    answer = server.get(f"{ROUTERS}/default/{name}/{step}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def column(status: Json, field: str) -> list[Any]:
    """That of each arm."""
    return [arm.get(field) for arm in status["arms"]]


def salver(server: Server, *words: str, fails: bool = False) -> str:
    """What the command prints; with `fails`, what it complains of."""
    done = subprocess.run(
        command(*words, "--server", server.url),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stderr + done.stdout
    return done.stderr if fails else done.stdout


def in_time(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """As `wait_until`, for what a control loop brings about."""
    wait_until(condition, timeout_s)
