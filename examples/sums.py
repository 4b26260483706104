"""A server of your own, as `containers:` of an InferenceService run it: it adds up each row.

It listens on the port in `PORT` and speaks V1. Any language and framework will do.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Sums(BaseHTTPRequestHandler):
    """Answers that it is ready (GET), and predictions (POST)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({"name": os.environ["MODEL_NAME"], "ready": True})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        rows = json.loads(self.rfile.read(length))["instances"]
        self.answer({"predictions": [sum(row) for row in rows]})

    def answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    print(os.environ.get("GREETING", "hello"), flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Sums).serve_forever()
