"""Models and memory regions for the end-to-end tests of clients' shared memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import serialized_byte_size

_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = [pb_utils.get_input_tensor_by_name(request, name) for name in ("INPUT0", "INPUT1")]
        a, b = [tensor.as_numpy() for tensor in given]
        {body}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUTPUT0", total), pb_utils.Tensor("OUTPUT1", difference)]
        )
"""
_NUMBERS = "total, difference = a + b, a - b"
_SLOW = """for _ in range(50):
            time.sleep(0.02)
            a.sum()
        total, difference = a + b, a - b"""
_STRINGS = """
        given = [np.array([int(each) for each in x.ravel()]).reshape(x.shape) for x in (a, b)]
        total, difference = [
            np.array([str(each).encode() for each in x.ravel()], np.object_).reshape(x.shape)
            for x in (given[0] + given[1], given[0] - given[1])
        ]"""
_STREAMED = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            values = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            for turn in (1, 2):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", values * turn)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def _config(kind: str, *, more: str = "") -> str:
    sides = [
        f'{side.lower()} [{{name: "{side}0" data_type: {kind} dims: [-1]}}, '
        f'{{name: "{side}1" data_type: {kind} dims: [-1]}}]'
        for side in ("INPUT", "OUTPUT")
    ]
    return "\n".join(('backend: "python" max_batch_size: 8', *sides, more))


_CACHED = "response_cache { enable: true }"
_STREAM = """
backend: "python" max_batch_size: 0
model_transaction_policy { decoupled: true }
input [{name: "INPUT0" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "OUTPUT0" data_type: TYPE_FP32 dims: [-1]}]
"""
_ENSEMBLE = (
    _config("TYPE_INT32").replace('backend: "python"', 'platform: "ensemble"')
    + """
ensemble_scheduling { step [{ model_name: "simple" model_version: -1
  input_map { key: "INPUT0" value: "INPUT0" } input_map { key: "INPUT1" value: "INPUT1" }
  output_map { key: "OUTPUT0" value: "OUTPUT0" } output_map { key: "OUTPUT1" value: "OUTPUT1" } }] }
"""
)


def write_repository(root: Path) -> Path:
    """Triton's example models, and what else can meet shared memory."""
    files = {
        "simple": (_config("TYPE_INT32", more="dynamic_batching {}"), _NUMBERS),
        "floats": (_config("TYPE_FP32"), _NUMBERS),
        "slow": (_config("TYPE_FP32"), _SLOW),
        "cached": (_config("TYPE_FP32", more=_CACHED), _NUMBERS),
        "simple_string": (_config("TYPE_STRING"), _STRINGS),
    }
    for name, (config, body) in files.items():
        _write(root, name, config, _MODEL.replace("{body}", body))
    _write(root, "streamed", _STREAM, _STREAMED)
    _write(root, "both", _ENSEMBLE, "")
    return root


def _write(root: Path, name: str, config: str, code: str) -> None:
    (root / name / "1").mkdir(parents=True)
    (root / name / "config.pbtxt").write_text(config)
    if code:
        (root / name / "1" / "model.py").write_text(code)


class Wire:
    """One of tritonclient's transports, and a client of it."""

    def __init__(self, module: Any, address: str) -> None:
        self.module = module
        self.client = module.InferenceServerClient(address)
        self.is_http = module is httpclient

    def given(
        self, name: str, datatype: str, shape: list[int], region: str, size: int, at: int = 0
    ) -> Any:
        tensor = self.module.InferInput(name, shape, datatype)
        tensor.set_shared_memory(region, size, offset=at)
        return tensor

    def wanted(self, name: str, region: str, size: int, at: int = 0) -> Any:
        output = self.module.InferRequestedOutput(name)
        output.set_shared_memory(region, size, offset=at)
        return output

    def inline(self, name: str, datatype: str, values: Any) -> Any:
        tensor = self.module.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values)
        return tensor


def wires(http: str, grpc: str) -> dict[str, Wire]:
    """Both, by name."""
    return {"http": Wire(httpclient, http), "grpc": Wire(grpcclient, grpc)}


@contextlib.contextmanager
def region(wire: Wire, name: str, size: int, *, registers: bool = True) -> Iterator[Any]:
    """A region made and registered as tritonclient does it, and gone afterwards."""
    key = f"/salver_test_{os.getpid()}_{name}"
    handle = shm.create_shared_memory_region(name, key, size)
    try:
        if registers:
            wire.client.register_system_shared_memory(name, key, size)
        yield handle
    finally:
        wire.client.unregister_system_shared_memory(name)
        shm.destroy_shared_memory_region(handle)


def key_of(handle: Any) -> str:
    """The key a region was made with."""
    key: str = handle._shm_key
    return key


def strings(values: Any) -> tuple[Any, int]:
    """As `set_shared_memory_region` wants them, and how many bytes they take."""
    from tritonclient.utils import serialize_byte_tensor

    packed = serialize_byte_tensor(np.array([str(v).encode() for v in values], np.object_))
    return packed, serialized_byte_size(packed)
