"""Many models in little memory: what a hit costs, what a miss costs, and what idle ones cost.

    python bench/many_models.py [--models 2000] [--resident 50] [--registered 20000] [-o r.json]

First `--models` scikit-learn models in one folder with a memory budget for `--resident` of
them: random access, the memory that the workers add beside the budget, and the latency of a
hit beside that of the same model served alone. Then `--registered` models: the time to start,
the gateway's memory for each idle model, and how long listings and a first request take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import models
from tests.e2e.server import Server, serving

from salver.backends.local.memory import added_bytes

BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}
)
HEADERS = {"content-type": "application/json"}
HOT_ROUNDS = 5
HOT_REQUESTS = 400


def write_folder(folder: Path, count: int) -> None:
    """One real model, and hard links to it under other names."""
    folder.mkdir()
    first = folder / "m-00000.joblib"
    models.save_sklearn_lr(first)
    for index in range(1, count):
        os.link(first, folder / f"m-{index:05}.joblib")


def resident_bytes(pid: int) -> int:
    """The process's resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed_s(work: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def ask(client: httpx.Client, model: int) -> float:
    """Seconds for one request; ends the program on a wrong answer."""
    started_s = time.perf_counter()
    answer = client.post(f"/v2/models/m-{model:05}/infer", content=BODY, headers=HEADERS)
    taken_s = time.perf_counter() - started_s
    if answer.status_code != 200 or answer.json()["outputs"][0]["data"] != [0]:
        raise SystemExit(f"model {model}: {answer.status_code} {answer.text}")
    return taken_s


def client_of(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=60)


def workers_bytes(server: Server) -> int:
    """What the workers add, all together."""
    return sum(added_bytes(pid) for pid in server.workers())


def access_at_random(server: Server, count: int, requests: int, seed: int) -> dict[str, Any]:
    """Requests to random models, and the most memory that was seen between them."""
    choose = random.Random(seed)
    taken, most_bytes = [], 0
    with client_of(server) as client:
        for index in range(requests):
            taken.append(ask(client, choose.randrange(count)))
            if index % 20 == 0:
                most_bytes = max(most_bytes, workers_bytes(server))
    return {
        "p50_ms": statistics.median(taken) * 1e3,
        "p99_ms": sorted(taken)[int(len(taken) * 0.99)] * 1e3,
        "most_bytes": most_bytes,
        "loads": server.metric("salver_pool_loads_total"),
        "evictions": server.metric("salver_pool_evictions_total"),
    }


def compare_hits(pool: Server, alone: Server) -> tuple[float, float, float]:
    """Median latency of a loaded model in the pool and of it alone, and their ratio; in turns."""
    pooled, single, ratios = [], [], []
    with client_of(pool) as many, client_of(alone) as one:
        for _ in range(HOT_ROUNDS):
            pooled.append(statistics.median(ask(many, 0) for _ in range(HOT_REQUESTS)))
            single.append(statistics.median(ask(one, 0) for _ in range(HOT_REQUESTS)))
            ratios.append(pooled[-1] / single[-1])
    return statistics.median(pooled), statistics.median(single), statistics.median(ratios)


def budget_for(folder: Path, resident: int) -> int:
    """So many times what one worker is measured to add."""
    with serving(str(folder), "--memory-budget", "1GiB") as server:
        with client_of(server) as client:
            for model in range(5):
                ask(client, model)
            time.sleep(0.3)
        sizes = [added_bytes(pid) for pid in server.workers()]
    return resident * int(statistics.median(sizes))


def measure_pool(folder: Path, count: int, resident: int, requests: int) -> dict[str, Any]:
    """The first part."""
    budget = budget_for(folder, resident)
    single = folder.parent / "single"
    single.mkdir()
    shutil.copy(folder / "m-00000.joblib", single)
    with (
        serving(str(folder), "--memory-budget", str(budget)) as pool,
        serving(str(single)) as alone,
    ):
        result = {"budget_bytes": budget, **access_at_random(pool, count, requests, seed=1)}
        hit, lone, ratio = compare_hits(pool, alone)
        return {**result, "hit_ms": hit * 1e3, "alone_ms": lone * 1e3, "ratio": ratio}


def measure_registered(folder: Path, count: int, few: Path) -> dict[str, Any]:
    """The second part: `few` holds a single model, as the baseline of memory."""
    with serving(str(few), "--memory-budget", "1GiB") as server:
        baseline = resident_bytes(server.process.pid)
    started_s = time.perf_counter()
    with serving(str(folder), "--memory-budget", "1GiB") as server, client_of(server) as client:
        result = {
            "start_s": time.perf_counter() - started_s,
            "idle_bytes_each": (resident_bytes(server.process.pid) - baseline) / count,
            "first_request_ms": ask(client, count // 2) * 1e3,
            "next_first_request_ms": ask(client, count // 3) * 1e3,
        }
        paths = {
            "index_ms": lambda: client.post("/v2/repository/index").json(),
            "names_ms": lambda: client.get("/v2/models").json(),
            "metrics_ms": lambda: client.get("/metrics").text,
            "ready_ms": lambda: client.get(f"/v2/models/m-{count - 1:05}/ready").json(),
            "server_ready_ms": lambda: client.get("/v2/health/ready").json(),
        }
        for name, work in paths.items():
            result[name] = statistics.median(timed_s(work) for _ in range(5)) * 1e3
        entries = client.post("/v2/repository/index").json()
        if len(entries) != count:
            raise SystemExit(f"the index has {len(entries)} entries, not {count}")
    return result


def main() -> None:
    """Prints both parts; writes them with -o."""
    options = argparse.ArgumentParser(description="Measures the pool of many models.")
    options.add_argument("--models", type=int, default=2000)
    options.add_argument("--resident", type=int, default=50)
    options.add_argument("--requests", type=int, default=400)
    options.add_argument("--registered", type=int, default=20000)
    options.add_argument("-o", "--output", type=Path)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_folder(folder / "many", arguments.models)
        write_folder(folder / "registered", arguments.registered)
        write_folder(folder / "few", 1)
        result = {
            "pool": measure_pool(
                folder / "many", arguments.models, arguments.resident, arguments.requests
            ),
            "registered": measure_registered(
                folder / "registered", arguments.registered, folder / "few"
            ),
        }
    for part, numbers in result.items():
        print(part)
        for name, value in numbers.items():
            print(f"  {name:20}{value:16,.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
