"""What a graph costs over its single steps, in numbers.

    python bench/graphs.py [chain] [ensemble] [--rounds 5]

chain: ten Python steps that do nothing: as functions of one graph, and as ten services in a
KServe Sequence; beside one such model alone. Prints microseconds for each hop, from the time that
a request takes at 1 connection and from the rate at 64.
ensemble: eight models that take 20 to 40 ms, asked by one graph; beside the slowest of them alone.

All of it runs in one server, in turns, with medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from resilience import wrk
from tests.e2e.server import Server, serving, wait_until

NOTHING = """
import numpy as np
class Nothing:
    batchable = True
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x
def nothing(x):
    return x
"""
SLOW = """
import time
import numpy as np
class Slow%(number)d:
    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(%(seconds)g)
        return x
"""
STEPS = 10
MODELS = 8
BODY = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":[1,2,3,4]}]}'
ROUND_S = 2


def service(name: str, uri: str) -> dict[str, object]:
    """An InferenceService of a Python class."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"salver.dev/class": uri}},
        "spec": {"predictor": {"minReplicas": 1}},
    }


def inference_graph(name: str, router: str, steps: list[dict[str, object]]) -> dict[str, object]:
    """KServe's graph of one node."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {"nodes": {"root": {"routerType": router, "steps": steps}}},
    }


def function_graph(name: str, source: Path) -> dict[str, object]:
    """A graph of functions of one file, one after the other."""
    steps = [
        {
            "name": f"step{number}",
            "python": f"{source}:nothing",
            "inputs": [f"step{number - 1}" if number else "request"],
        }
        for number in range(STEPS)
    ]
    return {
        "apiVersion": "salver.dev/v1",
        "kind": "Graph",
        "metadata": {"name": name},
        "spec": {"steps": steps, "output": [f"step{STEPS - 1}"]},
    }


@contextmanager
def declared(folder: Path, objects: list[dict[str, object]]) -> Iterator[Server]:
    """A server that serves these objects."""
    folder.mkdir()
    manifest = folder / "objects.json"
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    manifest.write_text(json.dumps(items))
    with serving("-f", str(manifest), "--state-dir", str(folder / "state")) as server:
        yield server


def alternate(
    server: Server, names: list[str], connections: int, rounds: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Medians of rate and p50 of each model, measured in turns."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            url = f"{server.url}/v2/models/{name}/infer"
            result = wrk(url, BODY, ROUND_S, connections, folder)
            if result["not_2xx"] or result["socket_errors"]:
                raise SystemExit(f"{name}: {result}")
            seen[name].append(result)
    return {
        name: {
            "rate": statistics.median(each["requests"] / ROUND_S for each in results),
            "p50_ms": statistics.median(each["p50_ms"] for each in results),
        }
        for name, results in seen.items()
    }


def chain(folder: Path, rounds: int) -> None:
    """Ten steps that do nothing."""
    source = folder / "nothing.py"
    source.write_text(NOTHING)
    names = ["single", "functions", "services"]
    services = [f"step{number}" for number in range(STEPS)]
    steps: list[dict[str, object]] = [
        {"serviceName": name, "data": "$response" if at else "$request"}
        for at, name in enumerate(services)
    ]
    objects = [service(name, f"{source}:Nothing") for name in ("single", *services)]
    objects += [inference_graph("services", "Sequence", steps), function_graph("functions", source)]
    with declared(folder / "chain", objects) as server:
        for name in names:
            wait_for(server, name)
        for connections in (1, 64):
            found = alternate(server, names, connections, rounds, folder)
            alone = found["single"]
            for name in names:
                each = found[name]
                hops = STEPS - 1
                by_rate = (1 / each["rate"] - 1 / alone["rate"]) / hops * 1e6
                print(
                    f"chain, {connections} connections: {name}: {each['rate']:.0f} requests/s, "
                    f"p50 {each['p50_ms']:.3f} ms, {by_rate:.1f} us a hop"
                )


def ensemble(folder: Path, rounds: int) -> None:
    """Eight models at once."""
    objects = []
    for number in range(MODELS):
        source = folder / f"slow{number}.py"
        seconds = 0.02 + 0.02 * number / (MODELS - 1)
        source.write_text(SLOW % {"number": number, "seconds": seconds})
        objects.append(service(f"slow{number}", f"{source}:Slow{number}"))
    steps: list[dict[str, object]] = [
        {"serviceName": f"slow{number}", "name": f"m{number}"} for number in range(MODELS)
    ]
    objects.append(inference_graph("ensemble", "Ensemble", steps))
    with declared(folder / "ensemble", objects) as server:
        wait_for(server, "ensemble")
        slowest = f"slow{MODELS - 1}"
        found = alternate(server, [slowest, "ensemble"], 1, rounds, folder)
        ratio = found["ensemble"]["p50_ms"] / found[slowest]["p50_ms"]
        print(
            f"ensemble of {MODELS}: p50 {found['ensemble']['p50_ms']:.2f} ms, the slowest model "
            f"alone {found[slowest]['p50_ms']:.2f} ms: {ratio:.3f}x"
        )


def wait_for(server: Server, name: str) -> None:
    """Until the graph answers."""
    url = f"/v2/models/{name}/infer"
    wait_until(lambda: server.post(url, json.loads(BODY)).status_code == 200, 60.0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("what", nargs="*", default=["chain", "ensemble"])
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for what in arguments.what:
            {"chain": chain, "ensemble": ensemble}[what](Path(name), arguments.rounds)


if __name__ == "__main__":
    main()
