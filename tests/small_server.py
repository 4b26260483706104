"""A small HTTP server as somebody else would write it, run as a command by the tests.

Speaks V1 and V2 for the model in MODEL_NAME on PORT, and answers what it was sent. Paths under
/do ask for misbehaviour; `--fail` makes it end before it is ready.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("MODEL_NAME", "m")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.path == f"/v1/models/{NAME}" or self.path == f"/v2/models/{NAME}/ready":
            self.reply(200, {"name": NAME, "ready": True})
        elif self.path == f"/v2/models/{NAME}":
            tensor = {"name": "x", "datatype": "FP64", "shape": [-1, 4]}
            self.reply(200, {"name": NAME, "platform": "small", "inputs": [tensor]})
        elif self.path == "/do/stream":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (b"one", b"two"):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                self.wfile.flush()
                time.sleep(0.05)
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.reply(404, {"detail": "no such page"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if body == b"die":
            os._exit(3)
        if body == b"slow":
            time.sleep(30)
        if body == b"nap":
            time.sleep(0.2)
        if body == b"drop":
            self.close_connection = True
            return
        if body == b"bad":
            self.reply(400, {"error": "that is bad"})
            return
        if "closing" in body.decode(errors="replace"):
            self.close_connection = True
        headers = {name.lower(): value for name, value in self.headers.items()}
        text = body.decode(errors="replace")
        seen = {"path": self.path, "body": text, "headers": headers, "pid": os.getpid()}
        self.reply(200, seen)

    def reply(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    print("arguments", *sys.argv[1:])
    print("model dir", os.environ.get("MODEL_DIR"), os.environ.get("STORAGE_URI"))
    if "--fail" in sys.argv:
        print("no licence found", file=sys.stderr)
        sys.exit(7)
    if "--escape" in sys.argv:
        # A grandchild in a session of its own, whose parent ends.
        code = "import os,time,sys\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(600)"
        subprocess.run([sys.executable, "-c", code], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
