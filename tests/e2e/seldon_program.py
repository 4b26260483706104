"""A component of Seldon's as a program of its own, with the standard library: for e2e tests.

It listens where Seldon's variables say, and doubles what it is asked to predict.
"""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Component(BaseHTTPRequestHandler):
    """`/predict`, `/route`, `/send-feedback`, `/health/status`."""

    protocol_version = "HTTP/1.1"
    heard = 0

    def do_GET(self) -> None:
        self._answer(200, {})

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/send-feedback":
            Component.heard += 1
            self._answer(200, {})
            return
        rows = message.get("data", {}).get("ndarray")
        if rows is None:
            info = {"code": -1, "info": "send an ndarray", "reason": "BAD_DATA", "status": 1}
            self._answer(400, {"status": info})
        elif self.path == "/route":
            self._answer(200, {"data": {"ndarray": [[int(rows[0][0] > 0)]]}})
        else:
            tags = {
                "node": os.environ["PREDICTIVE_UNIT_ID"],
                "parameters": os.environ["PREDICTIVE_UNIT_PARAMETERS"],
                "heard": Component.heard,
            }
            doubled = [[value * 2 for value in row] for row in rows]
            self._answer(200, {"data": {"ndarray": doubled}, "meta": {"tags": tags}})

    def _answer(self, status: int, answer: object) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    port = int(os.environ["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"])
    ThreadingHTTPServer(("127.0.0.1", port), Component).serve_forever()
