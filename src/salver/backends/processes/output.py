"""What a process has written: its last lines in memory, all of it, within bounds, in a file.

Standard output and standard error together, in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

_MAX_LINES = 2000
_MAX_LINE_BYTES = 16 << 10
_MAX_FILE_BYTES = 16 << 20
_MAX_BEHIND = 10_000


class OutputLog:
    """The output of one process, and of those started in its place after it."""

    def __init__(self, path: Path | None = None, *, max_file_bytes: int = _MAX_FILE_BYTES) -> None:
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._partial = b""
        self._followers: set[asyncio.Queue[str]] = set()

    def feed(self, data: bytes) -> None:
        """Takes what the process has written, cut anywhere."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(line)
        while len(self._partial) > _MAX_LINE_BYTES:
            self._take(self._partial[:_MAX_LINE_BYTES])
            self._partial = self._partial[_MAX_LINE_BYTES:]
        if self._file is not None:
            self._file.flush()

    def note(self, text: str) -> None:
        """A line of the supervisor's own."""
        self.feed((b"\n" if self._partial else b"") + f"salver: {text}\n".encode())

    def end(self) -> None:
        """The process is gone: what it wrote without a line's end is a line too."""
        if self._partial:
            self.feed(b"\n")

    def read(self, tail: int = 0) -> list[str]:
        """The last lines, as many as `tail` says; 0: all that are kept."""
        lines = list(self._lines)
        return lines[-tail:] if tail > 0 else lines

    async def follow(self, tail: int = 0) -> AsyncIterator[str]:
        """The last lines, then those to come, until the caller has enough.

        A reader that is slower than the process misses lines rather than holding it up.
        """
        queue: asyncio.Queue[str] = asyncio.Queue(_MAX_BEHIND)
        self._followers.add(queue)
        try:
            for line in self.read(tail):
                yield line
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)

    def close(self) -> None:
        """Closes the file; the lines in memory stay."""
        self.end()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, raw: bytes) -> None:
        line = raw.rstrip(b"\r").decode(errors="replace")
        self._lines.append(line)
        self._write(raw + b"\n")
        for queue in self._followers:
            if not queue.full():
                queue.put_nowait(line)

    def _write(self, data: bytes) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
            self._size = self._file.tell()
        if self._size + len(data) > self._max_file_bytes:
            # One file back is kept: the bound holds for twice the size.
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("wb")
            self._size = 0
        self._file.write(data)
        self._size += len(data)
