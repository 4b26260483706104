"""Clients that leave at any moment, and that hold each answer they stay for against the right one.

Each of them speaks HTTP/1.1 over a socket of its own, one request after the other: V1 and V2,
JSON, binary and gzip, small and large. What a client does is drawn from its own seed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import struct
import time
from collections import Counter
from collections.abc import Mapping, Sequence

VALUES = (10.0, 20.0, 30.0)
"""What the models add to the first number of a row."""
STEPS = 1001.0
"""What a transformer's two steps add to that, on V1."""
_LARGE = 2000
_KINDS = ("v1", "v1 gzip", "v1 large", "v2", "v2 binary")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_JSON_LENGTH = re.compile(rb"\r\ninference-header-content-length: (\d+)", re.IGNORECASE)


class Crowd:
    """Some clients and what became of their requests; `transformed` services have steps."""

    def __init__(self, port: int, services: Mapping[str, bool], seed: int) -> None:
        self._port = port
        self._services = services
        self._seed = seed
        self.right: Counter[str] = Counter()
        """Right answers by service."""
        self.left = 0
        """Requests whose client did not stay."""
        self.failures: list[str] = []

    async def run(self, clients: int, seconds: float) -> None:
        """Returns when all have had their last answer."""
        ends_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                draw = random.Random(self._seed * 1000 + number)
                tasks.create_task(self._ask_on(draw, ends_s))

    async def _ask_on(self, draw: random.Random, ends_s: float) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.monotonic() < ends_s:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                if not await self._ask(draw, *connection):
                    connection = None
            except (OSError, EOFError, TimeoutError, ValueError, AssertionError) as error:
                self.failures.append(repr(error)[:500])
                connection[1].transport.abort()
                connection = None
        if connection is not None:
            connection[1].close()

    async def _ask(
        self, draw: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request; False if the client has left."""
        service, kind = draw.choice(tuple(self._services)), draw.choice(_KINDS)
        number, leaves = float(draw.randrange(100)), draw.random()
        request = request_of(service, kind, number, packs=draw.random() < 0.3)
        if leaves < 0.12:
            # A third of them in the middle of the request.
            writer.write(request[: draw.randrange(len(request))] if leaves < 0.04 else request)
            await asyncio.sleep(draw.random() * 0.01)
            writer.transport.abort()
            self.left += 1
            return False
        writer.write(request)
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            found = _LENGTH.search(head)
            assert found, head
            body = await reader.readexactly(int(found[1]))
        assert head.startswith(b"HTTP/1.1 200"), f"{service} {kind}: {head[:40]!r} {body[:300]!r}"
        answers = set(answers_of(kind, head, body))
        steps = STEPS if self._services[service] and kind.startswith("v1") else 0.0
        assert len(answers) == 1, f"{service} {kind}: {answers}"
        assert answers.pop() - number - steps in VALUES, f"{service} {kind} {number}: {body[:99]!r}"
        self.right[service] += 1
        return True


def request_of(service: str, kind: str, number: float, *, packs: bool) -> bytes:
    """A request of that kind about the number; `packs`: its answer may be compressed."""
    headers = ["host: localhost", *(["accept-encoding: gzip"] if packs else [])]
    if kind.startswith("v1"):
        path, rows = f"/v1/models/{service}:predict", _LARGE if kind == "v1 large" else 1
        body = json.dumps({"instances": [[number, 0.5]] * rows}).encode()
        if kind == "v1 gzip":
            body = gzip.compress(body)
            headers.append("content-encoding: gzip")
    else:
        path = f"/v2/models/{service}/infer"
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP64"}
        if kind == "v2":
            body = json.dumps({"inputs": [{**tensor, "data": [number, 0.5]}]}).encode()
        else:
            tensor["parameters"] = {"binary_data_size": 16}
            wanted = {"binary_data_output": True}
            head = json.dumps({"inputs": [tensor], "parameters": wanted}).encode()
            body = head + struct.pack("<dd", number, 0.5)
            headers.append(f"inference-header-content-length: {len(head)}")
    lines = [f"POST {path} HTTP/1.1", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def answers_of(kind: str, head: bytes, body: bytes) -> Sequence[float]:
    """The numbers in an answer."""
    if b"content-encoding: gzip" in head.lower():
        body = gzip.decompress(body)
    binary = _JSON_LENGTH.search(head)
    if binary:
        return struct.unpack("<d", body[int(binary[1]) :])
    document = json.loads(body)
    if kind.startswith("v1"):
        predictions: list[float] = document["predictions"]
        assert len(predictions) == (_LARGE if kind == "v1 large" else 1)
        return predictions
    found: list[float] = document["outputs"][0]["data"]
    return found
