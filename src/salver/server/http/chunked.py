"""The chunked transfer coding (RFC 9112, 7.1), sans-I/O.

Own code since httptools would read on into a pipelined next request. Strict: anything that
two parsers could read differently is refused, trailers are read and dropped.
"""

from __future__ import annotations

import re

from salver.server.http.head import HttpError

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\x00]*)?\r\n")
_MAX_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 16 << 10


class ChunkedBody:
    """Takes bytes off the front of a buffer until the body is complete."""

    __slots__ = ("_is_in_trailer", "_left", "_max_bytes", "_overhead", "data")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = 0
        """Bytes of the current chunk still to come, its final CRLF included."""
        self._is_in_trailer = False
        self._overhead = 0
        self.data = bytearray()

    def take(self, buffer: bytearray) -> bool:
        """True when the body is complete; what follows it stays in the buffer.

        Raises `HttpError`: 400 for a malformed chunk, 413 above the limit.
        """
        while True:
            if self._left and not self._take_data(buffer):
                return False
            line_end = buffer.find(b"\n", 0, _MAX_LINE_BYTES) + 1
            if line_end == 0:
                if len(buffer) >= _MAX_LINE_BYTES:
                    raise HttpError(400, "malformed chunked body: a line has no end")
                return False
            line = bytes(buffer[:line_end])
            del buffer[:line_end]
            if self._is_in_trailer:
                if self._ends_trailer(line):
                    return True
            else:
                self._begin_chunk(line)

    def _take_data(self, buffer: bytearray) -> bool:
        """Moves what is there of the chunk's data; True when the chunk is complete."""
        data_left = self._left - 2
        if data_left > 0:
            taken = min(data_left, len(buffer))
            self.data += memoryview(buffer)[:taken]
            del buffer[:taken]
            self._left -= taken
            if taken < data_left:
                return False
        if len(buffer) < self._left:
            return False
        if bytes(buffer[: self._left]) != b"\r\n"[2 - self._left :]:
            raise HttpError(400, "malformed chunked body: a chunk is longer than its size says")
        del buffer[: self._left]
        self._left = 0
        return True

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise HttpError(400, "malformed chunked body: a chunk's size is no hexadecimal number")
        size = int(match[1], 16)
        if size == 0:
            self._is_in_trailer = True
            return
        if len(self.data) + size > self._max_bytes:
            raise HttpError(
                413, f"the body is over {self._max_bytes} bytes: send less or raise --max-body-size"
            )
        # A flood of one-byte chunks would cost far more than its bytes.
        self._overhead += len(line) - size
        if self._overhead > 1 << 20:
            raise HttpError(400, "the chunks of the body are too small: send larger ones")
        self._left = size + 2

    def _ends_trailer(self, line: bytes) -> bool:
        if line == b"\r\n":
            return True
        self._overhead += len(line)
        if self._overhead > (1 << 20) + _MAX_TRAILER_BYTES or b":" not in line:
            raise HttpError(400, "malformed chunked body: a bad trailer")
        return False
