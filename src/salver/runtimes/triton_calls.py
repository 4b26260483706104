"""How a Triton Python model asks other models of its server: V2 REST with binary tensors.

Blocking on purpose: a worker does one thing at a time, and whoever calls `async_exec` does so in a
thread of its own. Connections are kept. What goes wrong is in the response, as Triton has it.
"""

from __future__ import annotations

import http.client
import json
from collections import deque
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from salver.inference.tensor import NUMPY_TYPES, Array, datatype_of, tensor_from_array
from salver.runtimes.triton_values import (
    SEQUENCE_END,
    SEQUENCE_START,
    InferenceRequest,
    InferenceResponse,
    Tensor,
    TritonError,
)

TIMEOUT_S = 60.0
_HEADER = "Inference-Header-Content-Length"
_CODES = {
    400: TritonError.INVALID_ARG,
    404: TritonError.NOT_FOUND,
    503: TritonError.UNAVAILABLE,
}


class ServerCalls:
    """Asks the server whose base is `url`; empty: there is none."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url if "//" in url or not url else f"http://{url}")
        self._host, self._prefix = parts.netloc, parts.path.rstrip("/")
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._timeout_s = timeout_s
        self._idle: deque[http.client.HTTPConnection] = deque()

    def __call__(self, request: InferenceRequest) -> InferenceResponse:
        """The model's answer, or why there is none."""
        if not self._host:
            return _failed("this model has no server that it could ask", TritonError.UNAVAILABLE)
        version = f"/versions/{request.model_version()}" if request.model_version() > 0 else ""
        target = f"{self._prefix}/v2/models/{quote(request.model_name(), safe='')}{version}/infer"
        head, blobs = _document(request)
        timeout_s = request.timeout() / 1e6 or self._timeout_s
        try:
            status, length, body = self._post(target, head, blobs, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            text = f"the server at {self._host} cannot be asked: {error}"
            return _failed(text, TritonError.UNAVAILABLE)
        if status != 200:
            return _failed(_reason(body, status), _CODES.get(status, TritonError.INTERNAL))
        try:
            return _response(body, length)
        except (ValueError, KeyError, TypeError) as error:
            return _failed(f"model '{request.model_name()}' answered no V2 message: {error}")

    def _post(
        self, target: str, head: bytes, blobs: list[bytes], timeout_s: float
    ) -> tuple[int, int, bytes]:
        """Status, length of the JSON and body. A connection that was idle may have been closed."""
        headers = {"Content-Type": "application/octet-stream", _HEADER: str(len(head))}
        body = b"".join((head, *blobs))
        while True:
            is_used = bool(self._idle)
            connection = self._idle.pop() if is_used else self._kind(self._host)
            connection.timeout = timeout_s
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            try:
                connection.request("POST", target, body, headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_used and not isinstance(error, TimeoutError):
                    continue
                raise
            self._idle.append(connection)
            return response.status, int(response.headers.get(_HEADER) or len(answer)), answer


def _document(request: InferenceRequest) -> tuple[bytes, list[bytes]]:
    """The JSON and the bytes of the tensors behind it."""
    inputs, blobs = [], []
    for tensor in request.inputs():
        array = tensor.as_numpy()
        blob, datatype = _bytes_of(array)
        inputs.append(
            {
                "name": tensor.name(),
                "shape": list(array.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": len(blob)},
            }
        )
        blobs.append(blob)
    parameters: dict[str, Any] = {**json.loads(request.parameters()), "binary_data_output": True}
    if request.correlation_id():
        parameters["sequence_id"] = request.correlation_id()
        parameters["sequence_start"] = bool(request.flags() & SEQUENCE_START)
        parameters["sequence_end"] = bool(request.flags() & SEQUENCE_END)
    document: dict[str, Any] = {"id": request.request_id(), "parameters": parameters}
    document["inputs"] = inputs
    if request.requested_output_names():
        document["outputs"] = [{"name": each} for each in request.requested_output_names()]
    return json.dumps(document).encode(), blobs


def _bytes_of(array: Array) -> tuple[bytes, str]:
    datatype = datatype_of(array.dtype)
    if datatype != "BYTES":
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(), datatype
    texts = tensor_from_array("", array).data.ravel().tolist()
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts), datatype


def _response(body: bytes, length: int) -> InferenceResponse:
    document = json.loads(body[:length])
    at = length
    tensors = []
    for output in document["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        shape, datatype = output["shape"], output["datatype"]
        if size is None:
            array = np.array(output["data"], NUMPY_TYPES[datatype])
        else:
            array = _array_of(body[at : at + size], datatype)
            at += size
        tensors.append(Tensor(output["name"], array.reshape(shape)))
    return InferenceResponse(tensors)


def _array_of(data: bytes, datatype: str) -> Array:
    if datatype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    if datatype != "BYTES":
        return np.frombuffer(data, NUMPY_TYPES[datatype])
    texts, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        texts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    array = np.empty(len(texts), dtype=np.object_)
    array[:] = texts
    return array


def _reason(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {status}: {body[:200].decode(errors='replace')}"


def _failed(message: str, code: int = TritonError.INTERNAL) -> InferenceResponse:
    return InferenceResponse((), TritonError(message, code))
