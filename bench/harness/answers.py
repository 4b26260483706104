"""Asks a server once and judges its answer against the library's own.

Load generators count responses, right or wrong, and h2load sees a gRPC error as HTTP 200: so
each server is asked here before it is timed and after every load.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from harness.cases import GRPC_PATH, Case, Payload

TIMEOUT_S = 10.0


class WrongAnswer(Exception):
    """The server answered, but not what the library answers."""


def ask(case: Case, payload: Payload, http_port: int, grpc_port: int) -> None:
    """Sends the case's request; raises `WrongAnswer` or OSError."""
    if case.wire == "grpc":
        got = _ask_grpc(payload.body, grpc_port)
    else:
        got = _ask_http(case.infer_path, payload, http_port)
    expected = payload.answers.ravel()
    if got.shape != expected.shape:
        raise WrongAnswer(f"{got.size} values, expected {expected.size}")
    if not bool((abs(got - expected) <= 1e-4 + 1e-3 * abs(expected)).all()):
        raise WrongAnswer(f"{got[:5].tolist()}..., expected {expected[:5].tolist()}...")


def _ask_http(path: str, payload: Payload, port: int) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, payload.body, payload.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise WrongAnswer(f"HTTP {response.status}: {body[:300]!r}")
    json_length = response.headers.get("Inference-Header-Content-Length")
    return values_of(body, int(json_length) if json_length else 0)


NUMPY_NAMES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}


def values_of(body: bytes, json_length: int) -> Any:
    """The first output's values of a V2 response, whose tensors may be binary."""
    import numpy as np

    output = json.loads(body[:json_length] if json_length else body)["outputs"][0]
    if "data" in output:
        return np.asarray(output["data"], dtype=np.float64).ravel()
    return np.frombuffer(body[json_length:], NUMPY_NAMES[output["datatype"]])


def _ask_grpc(body: bytes, port: int) -> Any:
    import grpc
    import numpy as np
    from tritonclient.grpc import service_pb2

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(GRPC_PATH)
        try:
            reply = call(body, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(error.details()) from error
            raise WrongAnswer(f"{error.code().name}: {error.details()}") from error
    response = service_pb2.ModelInferResponse.FromString(reply)
    output = response.outputs[0]
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[0], NUMPY_NAMES[output.datatype])
    contents = output.contents
    parts = (contents.int64_contents, contents.fp32_contents, contents.fp64_contents)
    return np.asarray([value for part in parts for value in part], dtype=np.float64)
