"""A stand-in for the program `tritonserver`: its options, its HTTP, and models that are files.

A model's folder may hold `refuses` (why it cannot be loaded) or `dies` (loading it ends the
process). A model doubles its input X of two numbers; it dies of the first request that has a 13, if
its folder holds `unlucky`. `START` in the environment is `never`, `garbage` or empty.
"""

import argparse
import array
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LENGTH = "Inference-Header-Content-Length"


class Server(ThreadingHTTPServer):
    allow_reuse_port = True
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repository = Path()
    loaded: dict[str, int] = {}

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def answer(self, status: int, document: object = None, tail: bytes = b"") -> None:
        head = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(head) + len(tail)))
        if tail:
            self.send_header(LENGTH, str(len(head)))
        self.end_headers()
        self.wfile.write(head + tail)

    def do_GET(self) -> None:
        words = self.path.strip("/").split("/")
        if words[1] == "health":
            self.answer(200)
        elif words[2] not in self.loaded:
            self.answer(404, {"error": f"Request for unknown model: '{words[2]}' is not found"})
        elif words[-1] == "config":
            file = self.repository / words[2] / "config.json"
            self.answer(200, json.loads(file.read_text()) if file.is_file() else {})
        else:
            tensor = {"datatype": "FP32", "shape": [-1, 2]}
            self.answer(
                200,
                {
                    "name": words[2],
                    "platform": f"loaded {self.loaded[words[2]]} times",
                    "inputs": [{"name": "X", **tensor}],
                    "outputs": [{"name": "Y", **tensor}],
                },
            )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        words = self.path.strip("/").split("/")
        if words[1] == "repository":
            self.control(words[3], words[4])
        elif words[2] not in self.loaded:
            self.answer(404, {"error": f"Request for unknown model: '{words[2]}' is not found"})
        else:
            self.infer(words[2], body, int(self.headers[LENGTH]))

    def control(self, name: str, what: str) -> None:
        folder = self.repository / name
        if (folder / "dies").exists():
            os._exit(3)
        if (folder / "refuses").exists():
            self.answer(400, {"error": f"load failed:\n {(folder / 'refuses').read_text()}"})
            return
        self.loaded[name] = self.loaded.get(name, 0) + 1
        if what == "unload":
            del self.loaded[name]
        print(what, name, flush=True)
        self.answer(200)

    def infer(self, name: str, body: bytes, length: int) -> None:
        (sent,) = json.loads(body[:length])["inputs"]
        values = array.array("f", body[length:])
        if 13.0 in values and (self.repository / name / "unlucky").exists():
            os._exit(13)
        if sent["shape"][0] > 4:
            self.answer(400, {"error": "batch-size must be <= 4"})
            return
        raw = array.array("f", [2 * each for each in values]).tobytes()
        output = {"name": "Y", "datatype": "FP32", "shape": sent["shape"]}
        output["parameters"] = {"binary_data_size": len(raw)}
        self.answer(200, {"model_name": name, "outputs": [output]}, raw)


def main() -> None:
    start = os.environ.get("START", "")
    if start == "garbage":
        sys.stdout.buffer.write(b"\xff\xfe\x00 no server\n")
        sys.exit(7)
    if start == "never":
        time.sleep(60)
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-repository", type=Path)
    parser.add_argument("--http-port", type=int)
    options, _ = parser.parse_known_args()
    Handler.repository = options.model_repository
    Server(("127.0.0.1", options.http_port), Handler).serve_forever()


if __name__ == "__main__":
    main()
