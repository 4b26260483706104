"""What processes have written: the last lines in memory, all of it, within bounds, in a file.

One log may have several sources (the workers of one model, one after the other or at once):
each keeps its own lines whole, and can be read alone. Standard output and standard error
come together, in the order in which they were written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger("salver.logs")

_MAX_LINES = 2000
_MAX_BYTES = 512 << 10
_MAX_LINE_BYTES = 16 << 10
_MAX_FILE_BYTES = 4 << 20
_MAX_BEHIND = 10_000

Echo = Callable[[str], object]
"""Takes each line, without its end, as it comes."""


class _Follower:
    """Somebody who reads on; None in his queue is the end."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.queue: asyncio.Queue[str | None] = asyncio.Queue(_MAX_BEHIND)
        self.missed = 0

    def offer(self, line: str | None) -> None:
        places = 2 if self.missed else 1
        # Two are kept for the end, and for what is said of lines missed before it.
        if line is not None and self.queue.qsize() + places > _MAX_BEHIND - 2:
            self.missed += 1
            return
        if self.missed:
            note = f"salver: {self.missed} lines left out: they came faster than they were read"
            self.missed = 0
            self.queue.put_nowait(note)
        self.queue.put_nowait(line)


class OutputLog:
    """The output of one process or several, and of those started in their place after them."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_file_bytes: int = _MAX_FILE_BYTES,
        max_bytes: int = _MAX_BYTES,
        echo: Echo | None = None,
    ) -> None:
        self.path = path
        self._max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
        self._echo = echo
        self._file: BinaryIO | None = None
        self._file_size = 0
        self._has_no_disk = False
        self._lines: deque[tuple[str, str]] = deque()
        self._size = 0
        self._partial: dict[str, bytes] = {}
        self._followers: set[_Follower] = set()
        self.is_open = True
        """Somebody may still write."""

    def reopen(self) -> None:
        """There is somebody again who is going to write."""
        self.is_open, self._has_no_disk = True, False

    def feed(self, data: bytes, source: str = "") -> None:
        """Takes what a process has written, cut anywhere."""
        *lines, partial = (self._partial.pop(source, b"") + data).split(b"\n")
        for line in lines:
            self._take(line, source)
        while len(partial) > _MAX_LINE_BYTES:
            self._take(partial[:_MAX_LINE_BYTES], source)
            partial = partial[_MAX_LINE_BYTES:]
        if partial:
            self._partial[source] = partial
        if self._file is not None:
            self._on_disk(self._file.flush)

    def note(self, text: str, source: str = "") -> None:
        """A line of the supervisor's own."""
        begin = b"\n" if source in self._partial else b""
        self.feed(begin + f"salver: {text}\n".encode(), source)

    def keep(self, text: str, source: str = "") -> None:
        """Lines for the log alone: they are not echoed, since they are told elsewhere."""
        for line in text.splitlines():
            self._take(line.encode(), source, is_echoed=False)
        if self._file is not None:
            self._on_disk(self._file.flush)

    def end(self, source: str = "") -> None:
        """The process is gone: what it wrote without a line's end is a line too."""
        if source in self._partial:
            self.feed(b"\n", source)
        for follower in self._followers:
            if source and follower.source == source:
                follower.offer(None)

    def read(self, tail: int | None = None, source: str = "") -> list[str]:
        """The last lines, as many as `tail` says, else all that are kept; of one source or all."""
        lines = [line for origin, line in self._lines if source in ("", origin)]
        if tail is None:
            return lines
        return lines[-tail:] if tail > 0 else []

    def has(self, source: str) -> bool:
        """Whether lines of this source are kept."""
        return any(origin == source for origin, _ in self._lines)

    async def follow(self, tail: int | None = None, source: str = "") -> AsyncIterator[str]:
        """The last lines, then those to come, until the source ends or the log is closed.

        A reader that is slower than the process misses lines rather than holding it up.
        """
        follower = _Follower(source)
        self._followers.add(follower)
        try:
            for line in self.read(tail, source):
                yield line
            while (next_line := await follower.queue.get()) is not None:
                yield next_line
        finally:
            self._followers.discard(follower)

    def close(self) -> None:
        """Closes the file, and whoever follows comes to an end; the lines in memory stay."""
        self.is_open = False
        for source in list(self._partial):
            self.end(source)
        for follower in self._followers:
            follower.offer(None)
        if self._file is not None:
            self._on_disk(self._file.close)
            self._file = None

    def _take(self, raw: bytes, source: str, *, is_echoed: bool = True) -> None:
        line = raw.rstrip(b"\r").decode(errors="replace")
        self._lines.append((source, line))
        self._size += len(line)
        while len(self._lines) > _MAX_LINES or (self._size > self._max_bytes and self._lines):
            self._size -= len(self._lines.popleft()[1])
        if self.path is not None and not self._has_no_disk:
            self._on_disk(lambda: self._write(raw + b"\n"))
        if self._echo is not None and is_echoed:
            self._echo(line)
        for follower in self._followers:
            if follower.source in ("", source):
                follower.offer(line)

    def _on_disk(self, act: Callable[[], object]) -> None:
        """What goes wrong with the file costs the file, never the process that writes."""
        try:
            act()
        except OSError as error:
            self._has_no_disk, self._file = True, None
            logger.warning("%s: %s; it is not written on", self.path, error.strerror or error)

    def _write(self, data: bytes) -> None:
        assert self.path is not None
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            self._file_size = self._file.tell()
        if self._file_size + len(data) > self._max_file_bytes:
            # One file back is kept: the bound holds for twice the size.
            self._file.close()
            self.path.replace(former(self.path))
            self._file = self.path.open("wb")
            self._file_size = 0
        self._file.write(data)
        self._file_size += len(data)


def former(path: Path) -> Path:
    """Where a log's older half is kept."""
    return path.with_name(path.name + ".1")
