"""What one worker prints: read as it comes, and no faster than is good for the gateway.

A worker that prints without end has most of it dropped, which is counted and said; if it is
faster than even the dropping, it waits for its own pipe. Nobody else does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_READ_BYTES = 64 << 10
_QUIET_S = 1.0
_RATE_BYTES_S = 1 << 20
_BURST_BYTES = 1 << 20
_PAUSE_S = 0.02


class OutputPipe:
    """Both ends of a worker's standard output and error; the worker gets `write_fd`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_data: Callable[[bytes], object]) -> None:
        self._loop = loop
        self._on_data = on_data
        self._read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_fd, False)
        self._pause: asyncio.TimerHandle | None = None
        self._allowed_bytes = float(_BURST_BYTES)
        self._since_s = loop.time()
        self.dropped_bytes = 0
        """What has been dropped since something was passed on."""

    def start(self) -> None:
        """The worker has its end: listens at the other."""
        os.close(self.write_fd)
        self.write_fd = -1
        self._loop.add_reader(self._read_fd, self._on_readable)

    def finish(self) -> None:
        """The worker is gone: passes on what is left, and closes."""
        if self._read_fd < 0:
            return
        while self._read_fd >= 0 and self._read_once():
            if self.dropped_bytes:
                break
        self._close()

    def _on_readable(self) -> None:
        self._read_once()
        if self.dropped_bytes and self._read_fd >= 0:
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._read_fd)
            self._pause = self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._read_fd >= 0:
            self._loop.add_reader(self._read_fd, self._on_readable)
            # Said even if nothing is printed after what was dropped.
            self._pause = self._loop.call_later(_QUIET_S, self._tell_dropped)

    def _read_once(self) -> bool:
        """Passes on or drops one piece; False if there is none now."""
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close()
            return False
        now_s = self._loop.time()
        grown = self._allowed_bytes + (now_s - self._since_s) * _RATE_BYTES_S
        self._allowed_bytes, self._since_s = min(_BURST_BYTES, grown), now_s
        # Once it drops, it goes on until there is room for a good piece again.
        least = _BURST_BYTES / 4 if self.dropped_bytes else len(data)
        if self._allowed_bytes < least:
            self.dropped_bytes += len(data)
            return True
        self._allowed_bytes -= len(data)
        self._tell_dropped()
        self._on_data(data)
        return True

    def _tell_dropped(self) -> None:
        if self.dropped_bytes:
            dropped, self.dropped_bytes = self.dropped_bytes, 0
            self._on_data(f"\nsalver: {dropped} bytes of output dropped: too much\n".encode())

    def _close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._read_fd >= 0:
            self._loop.remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._read_fd = -1
            self._tell_dropped()
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1
