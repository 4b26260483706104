"""The limit: asyncio + httptools + uvloop in one process, no batching, no workers, no checks.

    python echo.py PORT COEFFICIENTS|-

With a coefficients file (JSON: coef, intercept, classes) it parses the V2 request and computes
the logistic regression's class in plain Python; with `-` it answers fixed bytes unread.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httptools
import orjson
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
FIXED = b'{"model_name":"echo","outputs":[{"name":"o","shape":[1],"datatype":"INT64","data":[0]}]}'
Answer = Callable[[bytes], bytes]


def logistic_regression(path: str) -> Answer:
    """The model's arithmetic as a closure over its coefficients: bytes in, bytes out."""
    model = json.loads(Path(path).read_text())
    rows = [tuple(row) for row in model["coef"]]
    intercepts, classes = model["intercept"], model["classes"]

    def answer(body: bytes) -> bytes:
        a, b, c, d = orjson.loads(body)["inputs"][0]["data"]
        scores = [
            w * a + x * b + y * c + z * d + bias
            for (w, x, y, z), bias in zip(rows, intercepts, strict=True)
        ]
        label = classes[scores.index(max(scores))]
        output = {"name": "output-0", "shape": [1], "datatype": "INT64", "data": [label]}
        return orjson.dumps({"model_name": "lr", "outputs": [output]})

    return answer


class Connection(asyncio.Protocol):
    """Answers every request on the spot."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.parser = httptools.HttpRequestParser(self)
        self.parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport (uvloop's is no subclass of asyncio.Transport, hence the cast)."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        body = self.answer(b"".join(self.parts))
        self.parts.clear()
        self.transport.write(HEAD + str(len(body)).encode() + b"\r\n\r\n" + body)


async def serve(port: int, answer: Answer) -> None:
    """Listens until killed."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answer), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    chosen = (lambda body: FIXED) if sys.argv[2] == "-" else logistic_regression(sys.argv[2])
    uvloop.run(serve(int(sys.argv[1]), chosen))
