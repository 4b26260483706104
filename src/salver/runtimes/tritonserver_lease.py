"""A worker's hold on a model of the Triton server that this machine's gateway keeps running.

One line of JSON asks for the model, one says where it is or why it is not. The gateway has the
model loaded for as long as the connection is open, so that a worker that ends, however that comes
about, lets go of it. The other end is `backends/processes/tritonserver_leases.py`.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from salver.errors import LoadFailed, MissingFramework

_MOST_BYTES = 1 << 16


class Lease:
    """Asks the gateway at the socket `address` for a model of a repository's folder."""

    def __init__(self, address: str, *, name: str, folder: Path, backend: str, model: str) -> None:
        """`name` is what Triton calls it, `model` what people do."""
        self._address = address
        self._wish: dict[str, Any] = {
            "name": name,
            "folder": str(folder),
            "backend": backend,
            "model": model,
        }
        self._socket: socket.socket | None = None

    def ask(self, timeout_s: float | None = None) -> str:
        """The server's base URL, once it has loaded the model; may be asked again and again.

        Raises `MissingFramework` and `LoadFailed` with the reason, `TimeoutError` if it takes
        longer, after which the lease is no more.
        """
        try:
            answer = self._exchange(timeout_s)
        except TimeoutError:
            self.close()
            raise
        except (OSError, ValueError) as error:
            self.close()
            raise LoadFailed(
                f"model '{self._wish['model']}': its server does not say where Triton is: {error}"
            ) from error
        if "url" in answer:
            # If it is asked again, then because this one has failed.
            self._wish["lost"] = answer.get("generation", 0)
            return str(answer["url"])
        kind = MissingFramework if answer.get("is_missing") else LoadFailed
        raise kind(str(answer.get("error", "it gave no reason")))

    def close(self) -> None:
        """Lets go of the model."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, timeout_s: float | None) -> dict[str, Any]:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(self._address)
        self._socket.settimeout(timeout_s)
        self._socket.sendall(json.dumps(self._wish).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            piece = self._socket.recv(_MOST_BYTES)
            if not piece or len(data) > _MOST_BYTES:
                raise ValueError("it closed the connection")
            data += piece
        found: dict[str, Any] = json.loads(data)
        return found
