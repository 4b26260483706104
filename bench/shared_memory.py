"""Tensors in shared memory against tensors in the message, in one run.

    python bench/shared_memory.py [--turns 60] [-o result.json]

One client with one connection asks a model that adds 1 to its FP32 input, over HTTP with binary
tensors and over gRPC, with tensors of 1 MB and 16 MB: in messages, and with input and output in
shared memory, by tritonclient. The ways are asked in turns, so that all of them meet the same
machine; the medians count. Every answer is compared before anything is timed. Putting the input
into memory is timed along, as a client has to do it. Then a worker's own access is timed: mapped,
as it is, and copied, as it is once a client has taken memory away amid a prediction.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
import tritonclient.utils.shared_memory as shm
from tests.e2e.server import serving

from salver.backends.local.client_memory import ClientMemory
from salver.backends.local.region_files import distrust
from salver.backends.local.region_table import RegionTable
from salver.engine.shared_memory import Region
from salver.protocol.shared_memory import Place
from salver.protocol.wire import WireTensor

SIZES_MB = (1, 16)
_CONFIG = """
backend: "python" max_batch_size: 0
input [{name: "X" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "Y" data_type: TYPE_FP32 dims: [-1]}]
"""
_CODE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        found = [pb_utils.get_input_tensor_by_name(each, "X").as_numpy() for each in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", each + 1)]) for each in found]
"""


def write_model(root: Path) -> None:
    (root / "plus" / "1").mkdir(parents=True)
    (root / "plus" / "config.pbtxt").write_text(_CONFIG)
    (root / "plus" / "1" / "model.py").write_text(_CODE)


class Asking:
    """One transport and one size, in both ways. Each way takes values and gives values."""

    def __init__(self, module: Any, address: str, values: Any) -> None:
        self.client = module.InferenceServerClient(address)
        self._module = module
        self._values = values
        size, name = values.nbytes, f"{module.__name__}-{values.nbytes}"
        self._handle = shm.create_shared_memory_region(name, f"/{name}-{os.getpid()}", 2 * size)
        self.client.register_system_shared_memory(name, f"/{name}-{os.getpid()}", 2 * size)
        self._input = module.InferInput("X", list(values.shape), "FP32")
        self._input.set_shared_memory(name, size)
        self._output = module.InferRequestedOutput("Y")
        self._output.set_shared_memory(name, size, offset=size)
        self._name = name

    def by_message(self) -> Any:
        given = self._module.InferInput("X", list(self._values.shape), "FP32")
        given.set_data_from_numpy(self._values)
        wanted = self._module.InferRequestedOutput("Y")
        return self.client.infer("plus", [given], outputs=[wanted]).as_numpy("Y")

    def by_memory(self) -> Any:
        shm.set_shared_memory_region(self._handle, [self._values])
        self.client.infer("plus", [self._input], outputs=[self._output])
        at = self._values.nbytes
        return shm.get_contents_as_numpy(self._handle, np.float32, self._values.shape, offset=at)

    def close(self) -> None:
        self.client.unregister_system_shared_memory(self._name)
        shm.destroy_shared_memory_region(self._handle)


def milliseconds(ways: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """The median of each, asked in turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        for name in sorted(ways, reverse=bool(turn % 2)):
            started_s = time.perf_counter()
            ways[name]()
            found[name].append((time.perf_counter() - started_s) * 1e3)
    return {name: statistics.median(times) for name, times in found.items()}


def measure(http: str, grpc: str, turns: int) -> list[dict[str, Any]]:
    results = []
    for size_mb in SIZES_MB:
        values = np.random.default_rng(0).random(size_mb << 18, np.float32)
        asked = {"HTTP": Asking(httpclient, http, values), "gRPC": Asking(grpcclient, grpc, values)}
        ways: dict[str, Callable[[], Any]] = {}
        for name, each in asked.items():
            ways[f"{name} message"], ways[f"{name} memory"] = each.by_message, each.by_memory
        for way in ways.values():
            np.testing.assert_array_equal(way(), values + 1)
        found = milliseconds(ways, turns)
        for name, each in asked.items():
            message, memory = found[f"{name} message"], found[f"{name} memory"]
            row = {"size_mb": size_mb, "over": name, "message_ms": message, "memory_ms": memory}
            results.append({**row, "ratio": message / memory})
            each.close()
    return results


def access(turns: int) -> dict[str, float]:
    """What it takes a worker to sum up a tensor of 16 MB, and to put one there."""
    size = 16 << 20
    values = np.ones(size // 4, np.float32)
    key = f"/salver-bench-{os.getpid()}"
    handle = shm.create_shared_memory_region("r", key, size)
    place = Place("r", 0, size)
    tensor = WireTensor("X", (size // 4,), "FP32")
    ways: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as mapped, tempfile.TemporaryDirectory() as copied:
        for name, folder in (("mapped", Path(mapped)), ("copied", Path(copied))):
            table = RegionTable(folder)
            table.register(Region("r", key, 0, size))
            memory = ClientMemory(folder)
            ways[f"read {name}"] = partial(_sum, memory, place, tensor)
            ways[f"write {name}"] = partial(memory.write, place, values.data.cast("B"))
        distrust(Path(copied))
        found = milliseconds(ways, turns)
    shm.destroy_shared_memory_region(handle)
    return found


def _sum(memory: ClientMemory, place: Place, tensor: WireTensor) -> Any:
    return np.frombuffer(memory.read(place, tensor), np.float32).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        with serving(folder) as server:
            http = server.url.removeprefix("http://")
            results = measure(http, server.grpc, options.turns)
    accesses = access(options.turns)
    print(f"{'tensor':>7} {'over':>5} {'message':>10} {'memory':>10} {'ratio':>6}")
    for row in results:
        print(
            f"{row['size_mb']:>4} MB {row['over']:>5} {row['message_ms']:>7.2f} ms "
            f"{row['memory_ms']:>7.2f} ms {row['ratio']:>5.1f}x"
        )
    print("a worker's access to 16 MB:")
    print(", ".join(f"{name} {spent:.2f} ms" for name, spent in accesses.items()))
    if options.output:
        options.output.write_text(json.dumps([*results, accesses], indent=1))


if __name__ == "__main__":
    main()
