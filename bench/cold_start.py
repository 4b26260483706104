"""How long the first request takes when the model has no worker: scale from zero.

    python bench/cold_start.py [--starts 50] [-o result.json]

One scikit-learn model behind a listener of this process; before each start it is scaled to
zero and its worker has ended. What is timed is one HTTP request, from the first byte sent to
the whole answer; the model's own load time is what its worker reports (reading the file and
the warm-up), and the difference is what scaling from zero costs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import models
from tests.e2e.gateway import Gateway

from salver.telemetry import logs

BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}
)
HEADERS = {"content-type": "application/json"}


def first_request_s(port: int) -> float:
    """Seconds for one request on a connection that is open already."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    started_s = time.perf_counter()
    connection.request("POST", "/v2/models/iris/infer", BODY, HEADERS)
    answer = connection.getresponse()
    content = answer.read()
    taken_s = time.perf_counter() - started_s
    connection.close()
    if answer.status != 200 or json.loads(content)["outputs"][0]["data"] != [0]:
        raise SystemExit(f"a wrong answer, {answer.status}: {content!r}")
    return taken_s


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Prints a table; writes every start with -o."""
    options = argparse.ArgumentParser(description="Times starts from zero.")
    options.add_argument("--starts", type=int, default=50)
    options.add_argument("-o", "--output", type=Path)
    arguments = options.parse_args()
    logs.configure("warning", "text")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "iris.joblib"
        models.save_sklearn_lr(path)
        server = Gateway(path)
        warm = [first_request_s(server.port) for _ in range(20)]
        rows = []
        for _ in range(arguments.starts):
            server.scale(0)
            time.sleep(0.05)
            taken_s = first_request_s(server.port)
            report = server.model.report
            assert report is not None
            rows.append((taken_s, report.load_s + report.warmup_s))
        server.close()
    beyond = [taken - own for taken, own in rows]
    columns = {
        "first request": [taken for taken, _ in rows],
        "model's own load": [own for _, own in rows],
        "beyond it": beyond,
    }
    print(f"{arguments.starts} starts; ms        p50     p99     max")
    for name, values in columns.items():
        numbers = (statistics.median(values), quantile(values, 0.99), max(values))
        print(f"{name:24}" + "".join(f"{value * 1e3:8.1f}" for value in numbers))
    print(f"{'warm request':24}{statistics.median(warm) * 1e3:8.1f}")
    if arguments.output:
        arguments.output.write_text(json.dumps({"starts_s": rows, "warm_s": warm}))


if __name__ == "__main__":
    main()
