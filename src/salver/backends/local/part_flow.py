"""The parts of one stream, as the gateway sees them: from the worker's frames to the call.

Owns the accounts of one stream: what has come, what has been passed on, and until when the next
thing must happen. Tells the worker what its client has taken, once a turn of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from salver.engine.call import Call
from salver.engine.queue import Clock
from salver.protocol.frame import taken_frame


class PartFlow:
    """Implements `PartSource` for the call whose stream a worker is at."""

    def __init__(
        self,
        call: Call,
        batch_id: int,
        item: int,
        *,
        write: Callable[[bytes], None],
        call_soon: Callable[[Callable[[], None]], Any],
        on_progress: Callable[[], None],
        on_leave: Callable[[], None],
        clock: Clock,
    ) -> None:
        """`write` sends a frame to the worker if that still is at this batch."""
        self.call = call
        self.batch_id = batch_id
        self.parts = 0
        self._item = item
        self._untaken = 0
        self._taken = 0
        self._write = write
        self._call_soon = call_soon
        self._on_progress = on_progress
        self._on_leave = on_leave
        self._clock = clock
        self._allowed_s = max(0.0, call.deadline_s - call.arrived_s)
        """Between two parts as much as for the first."""
        # It cannot be begun anew on another worker.
        call.attempts += 1

    def on_part(self, body: bytes, aux: int) -> None:
        """Another part has come."""
        self.parts += 1
        self._untaken += 1
        self._renew()
        self.call.deliver_part(body, aux, self)

    def taken(self) -> None:
        """See `PartSource`."""
        if not self._untaken:
            return
        self._untaken -= 1
        self._taken += 1
        if self._taken == 1:
            self._call_soon(self._tell)

    def leave(self) -> None:
        """See `PartSource`."""
        self._on_leave()

    def overdue(self) -> str:
        """What did not happen in time."""
        if self._untaken:
            return f"was left: its client read nothing of the stream for {self._allowed_s:.3f} s"
        return f"gave no further response within {self._allowed_s:.3f} s, the time limit"

    def _tell(self) -> None:
        count, self._taken = self._taken, 0
        self._renew()
        self._write(taken_frame(self.batch_id, self._item, count))

    def _renew(self) -> None:
        self.call.limit(self._clock() + self._allowed_s)
        self._on_progress()
