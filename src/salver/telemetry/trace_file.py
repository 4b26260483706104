"""Traces of requests, written to files by a thread of their own.

`TraceFiles.record` appends to a bounded queue and returns. A file is one JSON array, whole after
every write. With a frequency, each file `FILE.0`, `FILE.1`, ... holds so many traces; without one,
all go to `FILE`. What finds the queue full, or would take more disk than allowed, is counted in
`dropped`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from pathlib import Path

from salver.telemetry.registry import Counter

_LOG = logging.getLogger(__name__)
_MOST_QUEUED_BYTES = 32 << 20
_MOST_PENDING_BYTES = 8 << 20
"""Traces that wait for a file to be full are written when they take more memory than this."""
MOST_BYTES = 256 << 20
"""What all files of one run may take: callers turn tracing on, and must not fill the disk."""
_LEAST_FILE_BYTES = 4 << 10
"""What a file takes of the disk, however short it is."""
_FLUSH_EVERY_S = 1.0
_BEGIN, _END, _BETWEEN = b"[", b"]", b","
_FLUSH = (0, b"")


class TraceFiles:
    """Takes traces from one event loop. The thread starts with the first trace."""

    def __init__(
        self,
        path: Path,
        *,
        dropped: Counter | None = None,
        most_bytes: int = MOST_BYTES,
        flush_every_s: float = _FLUSH_EVERY_S,
    ) -> None:
        self.path = path
        self.dropped = dropped or Counter()
        self._left_bytes = most_bytes
        self._flush_every_s = flush_every_s
        self._queue: deque[tuple[int, bytes]] = deque()
        self._recorded_bytes = 0
        """Only the loop counts this one, and only the thread the next one."""
        self._taken_bytes = 0
        self._pending: dict[int, list[bytes]] = {}
        self._pending_bytes = 0
        self._files = 0
        self._size = 0
        """Of the file that has no number."""
        self._has_warned = False
        self._is_failing = False
        self._is_closing = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, trace: bytes, frequency: int) -> None:
        """Queues a trace, which is JSON objects with commas between. Never blocks."""
        if self._recorded_bytes - self._taken_bytes > _MOST_QUEUED_BYTES:
            self.dropped.value += 1
            return
        self._recorded_bytes += len(trace)
        self._queue.append((frequency, trace))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="salver-traces", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Has what waits for its file to be full written, once what was recorded before is: the
        settings have changed."""
        if self._thread is not None:
            self._queue.append(_FLUSH)
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Writes what is left, for as long as the time allows."""
        self._is_closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(self._flush_every_s)
            self._wake.clear()
            self.write_waiting()
        self.write_waiting()
        self._flush()

    def write_waiting(self) -> None:
        """Writes what is queued; its own thread does it now and then."""
        unnumbered: list[bytes] = []
        while self._queue:
            frequency, trace = queued = self._queue.popleft()
            self._taken_bytes += len(trace)
            if queued is _FLUSH:
                self._flush()
            elif not frequency:
                unnumbered.append(trace)
            else:
                self._keep(frequency, trace)
        if unnumbered:
            self._append(unnumbered)

    def _keep(self, frequency: int, trace: bytes) -> None:
        pending = self._pending.setdefault(frequency, [])
        pending.append(trace)
        self._pending_bytes += len(trace)
        if len(pending) >= frequency:
            self._write_numbered(self._pending.pop(frequency))
        elif self._pending_bytes > _MOST_PENDING_BYTES:
            self._flush()

    def _flush(self) -> None:
        for frequency in list(self._pending):
            self._write_numbered(self._pending.pop(frequency))

    def _write_numbered(self, traces: list[bytes]) -> None:
        self._pending_bytes -= sum(map(len, traces))
        body = _BEGIN + _BETWEEN.join(traces) + _END
        path = self.path.with_name(f"{self.path.name}.{self._files}")
        if self._write(path, 0, body, len(traces), max(len(body), _LEAST_FILE_BYTES)):
            self._files += 1

    def _append(self, traces: list[bytes]) -> None:
        body = (_BETWEEN if self._size else _BEGIN) + _BETWEEN.join(traces) + _END
        start = max(0, self._size - len(_END))
        if self._write(self.path, start, body, len(traces), len(body)):
            self._size = start + len(body)

    def _write(self, path: Path, start: int, body: bytes, count: int, cost: int) -> bool:
        """Writes what the file is to have from `start` on; or leaves it as it was: False."""
        if cost > self._left_bytes:
            self.dropped.value += count
            if not self._has_warned:
                self._has_warned = True
                _LOG.warning("traces in %s take all the disk they may: no more", self.path)
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(path, start, body)
        except OSError as error:
            # The thread is a boundary: a full disk costs traces and never a request.
            self.dropped.value += count
            if not self._is_failing:
                self._is_failing = True
                _LOG.warning("traces could not be written to %s: %s", path, error)
            return False
        self._left_bytes -= cost
        self._is_failing = False
        return True


def _put(path: Path, start: int, body: bytes) -> None:
    """Writes all of it at `start`; if that fails, the file ends as before. Raises `OSError`."""
    with path.open("r+b" if start else "wb", buffering=0) as file:
        try:
            file.seek(start)
            left = memoryview(body)
            while left:
                left = left[file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(start)
                if start:
                    file.seek(start)
                    file.write(_END)
                else:
                    path.unlink()
            raise
