"""Many declared resources: what it costs to apply them, to keep them, to start again with them.

    python bench/declared.py [--services 2000] [--pooled 20000] [--parts services,pooled,load]
                             [-o result.json]

`services` declares InferenceServices that scale to zero, `pooled` TrainedModels on one pool:
each through the admin API, then as files at the start; the time until all are ready, the
gateway's memory for each, its CPU while nothing happens, how long its event loop stalls, what
`kubectl get` and a restart take, and the latency of one of them beside that of a lone model.
`load` measures inference at a fixed rate while services are applied beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import models
from tests.e2e.server import Server, serving
from tests.e2e.test_kubectl import find_kubectl

KSERVE = "serving.kserve.io"
SERVICES = f"/apis/{KSERVE}/v1beta1/namespaces/default/inferenceservices"
TRAINED = f"/apis/{KSERVE}/v1alpha1/namespaces/default/trainedmodels"
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}
)
HEADERS = {"content-type": "application/json"}
QUIET_CPU = 0.1
Json = dict[str, Any]


def service(name: str, uri: str = "gs://m/iris", **predictor: Any) -> Json:
    """An InferenceService that proves itself once, then scales to zero."""
    annotations = {"autoscaling.knative.dev/initial-scale": "0"}
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": uri}
    return {
        "apiVersion": f"{KSERVE}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"predictor": {"minReplicas": 0, **predictor, "model": model}},
    }


def pool() -> Json:
    obj = service("pool")
    obj["spec"] = {"predictor": {"sklearn": {"protocolVersion": "v2"}}}
    return obj


def trained_model(name: str) -> Json:
    model = {"storageUri": "gs://m/iris", "framework": "sklearn", "memory": "1Gi"}
    return {
        "apiVersion": f"{KSERVE}/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {"name": name},
        "spec": {"inferenceService": "pool", "model": model},
    }


class Client:
    """One kept connection; asks, and says how long it took."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[Any, float]:
        """The answer's body and the seconds it took. Ends the program on a refusal."""
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        started_s = time.perf_counter()
        self._connection.request(method, path, text, {**HEADERS, **headers})
        answer = self._connection.getresponse()
        content = answer.read()
        taken_s = time.perf_counter() - started_s
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return content, taken_s

    def infer(self, model: str) -> float:
        """Seconds for one prediction, which must be right."""
        content, taken_s = self.ask("POST", f"/v2/models/{model}/infer", BODY)
        if json.loads(content)["outputs"][0]["data"] != [0]:
            raise SystemExit(f"{model} answers {content!r}")
        return taken_s


class StallProbe:
    """Asks for liveness every few milliseconds: what it waits beyond that is a stalled loop."""

    def __init__(self, server: Server) -> None:
        self._client = Client(server)
        self._stop = threading.Event()
        self.waits: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.004):
            self.waits.append(self._client.ask("GET", "/v2/health/live")[1])

    def __enter__(self) -> StallProbe:
        self._thread.start()
        while not self.waits:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def ms(self) -> Json:
        """Percentiles of what was waited, in milliseconds."""
        ordered = sorted(self.waits)
        marks = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
        found = {name: ordered[int(len(ordered) * mark)] * 1e3 for name, mark in marks.items()}
        return {**found, "max": ordered[-1] * 1e3}


def resident_bytes(server: Server) -> int:
    fields = Path(f"/proc/{server.process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_s(server: Server) -> float:
    """What the gateway alone has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count_ready(client: Client, path: str) -> int:
    """How many of a type are ready."""
    items = json.loads(client.ask("GET", path)[0])["items"]
    return sum(
        each.get("type") == "Ready" and each.get("status") == "True"
        for item in items
        for each in item.get("status", {}).get("conditions", [])
    )


def wait_ready(client: Client, path: str, count: int, timeout_s: float = 900) -> float:
    """Seconds until all are ready."""
    started_s = time.perf_counter()
    while (ready := count_ready(client, path)) < count:
        if time.perf_counter() - started_s > timeout_s:
            raise SystemExit(f"{ready} of {count} were ready after {timeout_s:g} s")
        time.sleep(1.0)
    return time.perf_counter() - started_s


def wait_settled(server: Server, timeout_s: float = 180) -> None:
    """Until the gateway has nothing left to do: it uses little of a core, three times over."""
    deadline_s, quiet = time.perf_counter() + timeout_s, 0
    while quiet < 3 and time.perf_counter() < deadline_s:
        used_s = cpu_s(server)
        time.sleep(1.0)
        quiet = quiet + 1 if cpu_s(server) - used_s < QUIET_CPU else 0


def kubectl_ms(server: Server, home: Path, *arguments: str) -> float:
    """The median time of a kubectl command."""
    environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(home / "none")}

    def run() -> float:
        started_s = time.perf_counter()
        subprocess.run(
            [find_kubectl(), "--server", server.url, *arguments],
            env=environment,
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - started_s

    return statistics.median(run() for _ in range(4)) * 1e3


@contextlib.contextmanager
def server_on(place: Path, *arguments: str) -> Iterator[Server]:
    maps = ("--map", f"gs://m={place / 'm'}", "--memory-budget", "1GiB")
    with serving(*arguments, "--state-dir", str(place / "state"), *maps) as server:
        yield server


def applied_through_api(client: Client, path: str, objects: list[Json]) -> Json:
    times = sorted(client.ask("POST", path, obj)[1] for obj in objects)
    return {
        "api_s": sum(times),
        "api_p50_ms": times[len(times) // 2] * 1e3,
        "api_p99_ms": times[int(len(times) * 0.99)] * 1e3,
    }


def idle(server: Server, seconds: float = 10.0) -> Json:
    """What it costs that they are there."""
    used_s = cpu_s(server)
    with StallProbe(server) as probe:
        started_s = time.perf_counter()
        time.sleep(seconds)
    asked = len(probe.waits)
    used_s = cpu_s(server) - used_s
    lasted_s = time.perf_counter() - started_s
    quiet_s = cpu_s(server)
    time.sleep(seconds)
    quiet_s = cpu_s(server) - quiet_s
    return {
        "idle_cpu_percent": quiet_s / seconds * 100,
        "probed_cpu_percent": used_s / lasted_s * 100,
        "probes": asked,
        "stall_ms": probe.ms(),
    }


def latency_beside_alone(server: Server, name: str, lone: Server) -> Json:
    """Medians of a declared model and of one served alone, in turns."""
    many, one = Client(server), Client(lone)
    declared, single = [], []
    for _ in range(5):
        declared.append(statistics.median(many.infer(name) for _ in range(300)))
        single.append(statistics.median(one.infer("iris") for _ in range(300)))
    ratios = [mine / its for mine, its in zip(declared, single, strict=True)]
    return {
        "hit_ms": statistics.median(declared) * 1e3,
        "alone_ms": statistics.median(single) * 1e3,
        "ratio": statistics.median(ratios),
    }


def measure_kind(
    place: Path, path: str, plural: str, objects: list[Json], first: list[Json]
) -> Json:
    """One kind of resource, in a state folder of its own. `first` is applied before."""
    count, names = len(objects), [obj["metadata"]["name"] for obj in objects]
    home = place / "home"
    home.mkdir(exist_ok=True)
    result: Json = {"count": count}
    with server_on(place) as server, serving(str(place / "m" / "iris")) as lone:
        client = Client(server)
        for obj in first:
            client.ask("POST", SERVICES, obj)
        time.sleep(1.0)
        before = resident_bytes(server)
        with StallProbe(server) as probe:
            result |= applied_through_api(client, path, objects)
            result["ready_after_s"] = wait_ready(client, path, count)
        result["applying_stall_ms"] = probe.ms()
        wait_settled(server)
        result["bytes_each"] = (resident_bytes(server) - before) / count
        result |= idle(server)
        with StallProbe(server) as probe:
            times = [client.ask("GET", path)[1] for _ in range(5)]
        result["list_ms"] = statistics.median(times) * 1e3
        result["list_stall_ms"] = probe.ms()["max"]
        result["kubectl_get_ms"] = kubectl_ms(server, home, "get", plural)
        result["kubectl_get_one_ms"] = kubectl_ms(server, home, "get", plural, names[count // 2])
        gets = [client.ask("GET", f"{path}/{random.choice(names)}")[1] for _ in range(200)]
        result["get_one_ms"] = statistics.median(gets) * 1e3
        result["first_infer_ms"] = client.infer(names[1]) * 1e3
        result |= latency_beside_alone(server, names[1], lone)
    result["state_bytes"] = sum(each.stat().st_size for each in (place / "state").glob("state.db*"))
    started_s = time.perf_counter()
    with server_on(place) as server:
        result["restart_up_s"] = time.perf_counter() - started_s
        client = Client(server)
        result["restart_infer_s"] = retried(lambda: client.infer(names[-1]), started_s)
        wait_settled(server, 600)
        result["restart_settled_cpu_s"] = cpu_s(server)
    return result


def retried(work: Callable[[], Any], started_s: float) -> float:
    """Seconds from then on until it works."""
    while True:
        try:
            work()
        except SystemExit:
            time.sleep(0.1)
        else:
            return time.perf_counter() - started_s


def measure_files(place: Path, objects: list[Json]) -> Json:
    """The same resources as one file at the start, new and then known."""
    file = place / "all.yaml"
    file.write_text("\n---\n".join(json.dumps(obj) for obj in objects))
    result: Json = {}
    for name in ("files_up_s", "files_again_up_s"):
        started_s = time.perf_counter()
        with serving(
            "-f",
            str(file),
            "--state-dir",
            str(place / "files"),
            "--map",
            f"gs://m={place / 'm'}",
            "--memory-budget",
            "1GiB",
            start_timeout_s=600,
        ):
            result[name] = time.perf_counter() - started_s
    return result


def measure_load(place: Path, seconds: float = 10.0, rate: int = 1000, applies: int = 50) -> Json:
    """Latency at a fixed rate of inference, alone and while services are applied beside it."""
    with server_on(place) as server:
        client = Client(server)
        client.ask("POST", SERVICES, service("busy", minReplicas=1))
        wait_ready(client, SERVICES, 1)
        client.infer("busy")
        result = {"alone": _rated(server, rate, seconds)}
        stop = threading.Event()
        other = threading.Thread(target=_apply_steadily, args=(server, applies, stop))
        other.start()
        result["while_applying"] = _rated(server, rate, seconds)
        stop.set()
        other.join()
    return result


def _apply_steadily(server: Server, rate: int, stop: threading.Event) -> None:
    """Changes 20 stopped services in turn, so that it is the API that is loaded, not models."""
    client, number = Client(server), 0
    due_s = time.perf_counter()
    while not stop.is_set():
        name = f"other-{number % 20}"
        obj = service(name, maxReplicas=1 + number // 20)
        obj["metadata"]["annotations"]["serving.kserve.io/stop"] = "true"
        client.ask(
            "PATCH",
            f"{SERVICES}/{name}?fieldManager=bench&force=true",
            obj,
            **{"content-type": "application/apply-patch+yaml"},
        )
        number += 1
        due_s += 1 / rate
        time.sleep(max(0.0, due_s - time.perf_counter()))


def _rated(server: Server, rate: int, seconds: float, connections: int = 8) -> Json:
    """Open-loop: each request is timed from when it was due."""
    waits: list[float] = []

    def run(offset: int) -> None:
        client, due_s = Client(server), time.perf_counter() + offset / rate
        end_s = due_s + seconds
        while due_s < end_s:
            time.sleep(max(0.0, due_s - time.perf_counter()))
            client.infer("busy")
            waits.append(time.perf_counter() - due_s)
            due_s += connections / rate

    threads = [threading.Thread(target=run, args=(n,)) for n in range(connections)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    waits.sort()
    marks = {"p50_ms": 0.5, "p99_ms": 0.99, "p99.9_ms": 0.999}
    found = {name: waits[int(len(waits) * mark)] * 1e3 for name, mark in marks.items()}
    return {**found, "max_ms": waits[-1] * 1e3, "requests": len(waits)}


def main() -> None:
    """Prints what was measured; writes it with -o."""
    options = argparse.ArgumentParser(description="Measures many declared resources.")
    options.add_argument("--services", type=int, default=2000)
    options.add_argument("--pooled", type=int, default=20000)
    options.add_argument("--parts", default="services,pooled,load")
    options.add_argument("-o", "--output", type=Path)
    arguments = options.parse_args()
    services = [service(f"s-{n:05}") for n in range(arguments.services)]
    pooled = [trained_model(f"t-{n:05}") for n in range(arguments.pooled)]
    result: Json = {}
    for part in arguments.parts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "m" / "iris").mkdir(parents=True)
            models.save_sklearn_lr(place / "m" / "iris" / "model.joblib")
            if part == "services":
                result[part] = measure_kind(place, SERVICES, "isvc", services, [])
                result[part] |= measure_files(place, services)
            elif part == "pooled":
                result[part] = measure_kind(place, TRAINED, "trainedmodels", pooled, [pool()])
                result[part] |= measure_files(place, [pool(), *pooled])
            else:
                result[part] = measure_load(place)
        print(part, json.dumps(result[part], indent=2), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
