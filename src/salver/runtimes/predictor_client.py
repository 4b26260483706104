"""How a step around a model asks the model itself: V1 or V2 REST, one request at a time.

Blocking on purpose: a worker does one thing at a time. An explainer asks its predictor often,
so the connection is kept.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from salver.errors import ModelFailed, Unavailable

_TIMEOUT_S = 60.0


class PredictorClient:
    """Asks the model of this name at the server whose base is `url` (empty: there is none)."""

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url if "//" in url or not url else f"http://{url}")
        self._host = parts.netloc
        self._prefix = parts.path.rstrip("/")
        self.address = self._host + self._prefix
        """Host, port and path, without a scheme; empty if there is no predictor."""
        self._name = name
        self.is_tls = parts.scheme == "https"
        self._connection: http.client.HTTPConnection | None = None

    def predict(
        self, payload: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The predictor's answer to a V1 or a V2 document, in the same protocol.

        Raises `Unavailable` if it cannot be reached, `ModelFailed` for an error of its own.
        """
        if not self._host:
            raise Unavailable(f"model '{self._name}' has no predictor that could be asked")
        is_v2 = "inputs" in payload and "instances" not in payload
        verb = "v2/models/{}/infer" if is_v2 else "v1/models/{}:predict"
        target = f"{self._prefix}/{verb.format(quote(self._name, safe=''))}"
        body = json.dumps(payload, default=_plain).encode()
        status, text = self._post(target, body, headers or {})
        if status != 200:
            raise ModelFailed(
                f"the predictor of '{self._name}' answered {status}: "
                + text.decode(errors="replace")[:500]
            )
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _post(self, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        sent = {**headers, "content-type": "application/json"}
        for attempt in (1, 2):
            connection = self._connected()
            try:
                connection.request("POST", target, body, sent)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                connection.close()
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise Unavailable(
                        f"the predictor of '{self._name}' at {self._host} cannot be asked: {error}"
                    ) from error
        raise AssertionError("unreachable")

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self.is_tls else http.client.HTTPConnection
            self._connection = kind(self._host, timeout=_TIMEOUT_S)
        return self._connection


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
