"""One Triton repository served by Salver and by the real Triton: requests/s, in one run.

    python bench/triton.py [--rounds 5] [--seconds 3] [--connections 1,4,16,64]

Python models, one row, V2 REST: one that is asked request by request, one with dynamic batching,
and one whose batches wait 5 ms for more. Both servers are up for the whole run and are loaded in
turns; the medians of each, and of the rounds' ratios, are printed. Needs wrk and the development
environment; Triton comes from the `nvidia-pytriton` wheel, into `.venvs/triton`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.cases import Case, Payload
from harness.load import drive
from harness.options import end_on_signals, say
from tests.e2e.real_triton import real_triton
from tests.e2e.server import serving

TENSORS = """
input { name: "X" data_type: TYPE_FP32 dims: [4] }
output { name: "Y" data_type: TYPE_FP32 dims: [4] }
"""
CONFIGS = {
    "plain": 'backend: "python" max_batch_size: 0',
    "batched": 'backend: "python" max_batch_size: 64 dynamic_batching { }',
    "window": 'backend: "python" max_batch_size: 64 '
    "dynamic_batching { max_queue_delay_microseconds: 5000 }",
}
MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "Y", pb_utils.get_input_tensor_by_name(request, "X").as_numpy() * 2
                    )
                ]
            )
            for request in requests
        ]
"""


def write_repository(folder: Path) -> None:
    """The three models."""
    for name, config in CONFIGS.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config + TENSORS)
        (folder / name / "1" / "model.py").write_text(MODEL)


def payload_of(name: str) -> Payload:
    """One row of four numbers; a model without batches takes it without the row's dimension."""
    shape = [4] if name == "plain" else [1, 4]
    tensor = {"name": "X", "shape": shape, "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]}
    return Payload(json.dumps({"inputs": [tensor]}).encode(), {}, [2.0, 4.0, 6.0, 8.0])


def check(name: str, ports: Mapping[str, int]) -> None:
    """Ends the program if a server answers anything else."""
    payload = payload_of(name)
    for server, port in ports.items():
        url = f"http://127.0.0.1:{port}/v2/models/{name}/infer"
        answer = httpx.post(url, content=payload.body, timeout=30)
        if answer.status_code != 200 or answer.json()["outputs"][0]["data"] != payload.answers:
            raise SystemExit(f"{server} answers {name} with {answer.text}")


def rounds_of(
    name: str, ports: Mapping[str, int], connections: int, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Requests/s of each server in each round; the first to be loaded alternates."""
    found: dict[str, list[float]] = {server: [] for server in ports}
    case, payload = Case(name, name, name), payload_of(name)
    order = list(ports)
    for _ in range(options.rounds):
        for server in order:
            report = drive(
                case, payload, port=ports[server], connections=connections, seconds=options.seconds
            )
            if report.failed:
                raise SystemExit(f"{server}: {report.failed} requests to {name} have failed")
            found[server].append(report.rate)
        order.reverse()
    return found


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description="Salver and Triton on one repository.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", default="1,4,16,64")
    options = parser.parse_args()
    end_on_signals()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        write_repository(repository)
        with real_triton(repository) as triton, serving(str(repository)) as salver:
            ports = {"salver": salver.port, "triton": int(triton.http.rpartition(":")[2])}
            print("| model | connections | Salver | Triton | ratio |")
            print("| --- | --- | --- | --- | --- |")
            for name in CONFIGS:
                check(name, ports)
                for connections in map(int, options.connections.split(",")):
                    say(f"{name}, {connections} connections")
                    found = rounds_of(name, ports, connections, options)
                    ratios = map(float.__truediv__, found["salver"], found["triton"])
                    ours, theirs = map(statistics.median, found.values())
                    ratio = statistics.median(ratios)
                    row = f"{ours:,.0f} | {theirs:,.0f} | {ratio:.2f}"
                    print(f"| `{name}` | {connections} | {row} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
