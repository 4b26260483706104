"""Asks a Triton server for one of its models: V2 over HTTP, tensors as raw bytes.

Owns one connection, which is kept, and what Triton's messages look like. Blocking on purpose: a
worker does one thing at a time. Refuses to decide whether a request is sent again: `NotTaken` says
that it may be, `Lost` that nobody knows what became of it.
"""

from __future__ import annotations

import http.client
import json
import select
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from salver.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    QueueFull,
    RequestError,
    Unavailable,
    Unsupported,
)
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.program_tensors import raw_of, tensor_of

ANSWER_S = 3600.0
"""The gateway's own limit of a request comes first; this ends what nobody waits for."""
CONNECT_S = 5.0
_HEADER = "Inference-Header-Content-Length"
_MOST_SHOWN = 500
_IS_LOADING = "not at ready state"
_KINDS: Mapping[int, type[RequestError]] = {
    400: InvalidInput,
    408: DeadlineExceeded,
    429: QueueFull,
    501: Unsupported,
    503: Unavailable,
    504: DeadlineExceeded,
}


class NotTaken(Exception):
    """The server did not take the request: it cannot be reached, or has no such model now."""


class Lost(Exception):
    """The connection ended before the answer: the server may have died, or may go on with it."""


class TritonClient:
    """One model of the server at `base`; `version` empty: the one that Triton chooses."""

    def __init__(self, base: str, model: str, version: str) -> None:
        parts = urlsplit(base)
        self._host = parts.netloc
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        within = f"/versions/{version}" if version else ""
        self._path = f"{parts.path.rstrip('/')}/v2/models/{quote(model, safe='')}{within}"
        self._connection: http.client.HTTPConnection | None = None
        self._is_used = False

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return self._host

    def document(self, what: str = "") -> dict[str, Any]:
        """The model's metadata, or what lies below it, such as `/config`.

        Raises `NotTaken`, `Lost`, and `RequestError` for another answer than one.
        """
        status, _, body = self._ask("GET", self._path + what, b"", {})
        if status != 200:
            raise refusal(status, body)
        return _object(body)

    def infer(
        self,
        request: InferRequest,
        parameters: Mapping[str, Any],
        id: str = "",
        *,
        may_repeat: bool = True,
    ) -> InferResponse:
        """Triton's answer. `may_repeat`: the request does no harm if Triton gets it twice.

        Raises `NotTaken`, `Lost`, and `RequestError` for a refusal.
        """
        head, blobs = request_parts(request, parameters, id)
        headers = {"Content-Type": "application/octet-stream", _HEADER: str(len(head))}
        body = b"".join((head, *blobs))
        status, length, answer = self._ask(
            "POST", f"{self._path}/infer", body, headers, may_repeat=may_repeat
        )
        if status != 200:
            raise refusal(status, answer)
        try:
            return response_of(answer, length)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFailed(f"Triton answered no V2 message: {error}") from error

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        may_repeat: bool = True,
    ) -> tuple[int, int, bytes]:
        """Status, length of the JSON and body.

        A connection that was idle may be closed while it is written to: then, if the request may be
        repeated, it is sent on another one.
        """
        while True:
            connection = self._connected()
            is_used, self._is_used = self._is_used, True
            try:
                connection.request(method, target, body, dict(headers))
                response = connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine) as error:
                self.close()
                if is_used and may_repeat:
                    continue
                raise Lost(_shown(error)) from error
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise Lost(_shown(error)) from error
            try:
                answer = response.read()
                length = int(response.headers.get(_HEADER) or len(answer))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                raise Lost(_shown(error)) from error
            return response.status, length, answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and _is_closed(self._connection):
            self.close()
        if self._connection is None:
            connection = self._kind(self._host, timeout=CONNECT_S)
            try:
                connection.connect()
            except OSError as error:
                raise NotTaken(_shown(error)) from error
            connection.sock.settimeout(ANSWER_S)
            self._connection, self._is_used = connection, False
        return self._connection


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the other end has closed a connection that nothing is expected from."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def request_parts(
    request: InferRequest, parameters: Mapping[str, Any], id: str = ""
) -> tuple[bytes, Sequence[bytes | memoryview]]:
    """The JSON of an inference request and the bytes of its tensors, which come behind it."""
    blobs = [raw_of(each) for each in request.inputs]
    document: dict[str, Any] = {
        "inputs": [
            {
                "name": each.name,
                "shape": list(each.data.shape),
                "datatype": each.datatype,
                "parameters": {"binary_data_size": len(blob)},
            }
            for each, blob in zip(request.inputs, blobs, strict=True)
        ],
        "parameters": {**parameters, "binary_data_output": True},
    }
    if id:
        document["id"] = id
    if request.outputs:
        document["outputs"] = [
            {"name": name, "parameters": {"binary_data": True}} for name in request.outputs
        ]
    return json.dumps(document).encode(), blobs


def response_of(body: bytes, length: int) -> InferResponse:
    """The answer whose first `length` bytes are JSON. Raises `ValueError` and what JSON brings."""
    document = json.loads(body[:length])
    tensors: list[Tensor] = []
    at = length
    for output in document["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if not isinstance(size, int) or at + size > len(body):
            raise ValueError(f"output '{output['name']}' does not come as bytes")
        shape = tuple(int(each) for each in output["shape"])
        tensors.append(tensor_of(output["name"], output["datatype"], shape, body[at : at + size]))
        at += size
    parameters = document.get("parameters") or {}
    return InferResponse(tuple(tensors), parameters)


def refusal(status: int, body: bytes) -> RequestError | NotTaken:
    """What an answer that is no success is to the caller, with Triton's own reason."""
    reason = reason_of(body) or f"it gave no reason with its status {status}"
    if status == 404 or (status == 503 and _IS_LOADING in reason):
        return NotTaken(reason)
    return _KINDS.get(status, ModelFailed)(f"Triton: {reason}")


def reason_of(body: bytes) -> str:
    """The text in an error of V2, or the body's own beginning, on one line."""
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        text = body[:_MOST_SHOWN].decode(errors="replace")
    return " ".join(text.split())[:_MOST_SHOWN]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ModelFailed(f"Triton answered no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelFailed("Triton answered no JSON object")
    return found


def _shown(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__)
