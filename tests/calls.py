"""A `Call` that keeps its answer, for tests of what stands between listeners and workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from salver.engine.call import Call
from salver.errors import ErrorKind
from salver.protocol.wire_codes import Codec


class RecordingCall(Call):
    """Its answer is in `body`, `aux` and `coding`, its failure in `error`."""

    def __init__(
        self,
        body: bytes = b"",
        codec: int = Codec.V2_JSON,
        aux: int = 0,
        *,
        timeout_s: float = 20.0,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        now_s = time.monotonic()
        super().__init__(int(codec), aux, body, arrived_s=now_s, deadline_s=now_s + timeout_s)
        self.answer: tuple[bytes, int] | None = None
        self.error: tuple[ErrorKind, str] | None = None
        self.answers = 0
        self._headers = tuple(headers)
        self._done = asyncio.Event()

    def deliver(self, body: bytes, aux: int) -> None:
        self.answer = (bytes(body), aux)
        self._end()

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.error = (kind, message)
        self._end()

    def _end(self) -> None:
        self.answers += 1
        self._done.set()

    def header(self, name: bytes) -> bytes:
        return dict(self._headers).get(name, b"")

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._headers

    async def wait(self, timeout_s: float = 20.0) -> RecordingCall:
        """Returns once it is answered or has failed."""
        await asyncio.wait_for(self._done.wait(), timeout_s)
        return self

    @property
    def text(self) -> str:
        """The answer's body; fails the test if there is none."""
        assert self.answer is not None, self.error
        return self.answer[0].decode()
