"""How far a worker may run ahead of a client that reads slowly. Pure.

A worker sends the responses of a stream one by one; each counts as unread until the gateway has
passed it on. Beyond a few, or a few bytes, the model waits: so neither process ever holds more
of a stream than this, however long it is.
"""

from __future__ import annotations

from collections import deque

MOST_PARTS = 16
MOST_BYTES = 1 << 20


class PartWindow:
    """The unread parts of one stream, oldest first."""

    def __init__(self, most_parts: int = MOST_PARTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_parts = most_parts
        self._most_bytes = most_bytes
        self._sizes: deque[int] = deque()
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """The next part has to wait. One part may be larger than all that may be unread."""
        return len(self._sizes) >= self._most_parts or self._bytes >= self._most_bytes

    def sent(self, size: int) -> None:
        """Another part is on its way."""
        self._sizes.append(size)
        self._bytes += size

    def taken(self, count: int) -> None:
        """So many parts have been passed on."""
        for _ in range(min(count, len(self._sizes))):
            self._bytes -= self._sizes.popleft()

    def clear(self) -> None:
        """Another stream begins."""
        self._sizes.clear()
        self._bytes = 0
