"""How many messages to ask a JetStream consumer for, and when. Pure.

One request is open at a time. It asks for no more than may be in flight, so that what a server
has, unacknowledged, is bounded, and the rest waits in the stream or goes to other servers.
"""

from __future__ import annotations

_LATE_S = 1.0


class PullWindow:
    """The open request, if there is one. Times are readings of one clock."""

    def __init__(self, most: int, expires_s: float) -> None:
        self._most = most
        self.expires_s = expires_s
        self._wanted = 0
        self._ends_s = 0.0

    def next_request(self, in_flight: int, now_s: float) -> int:
        """How many to ask for now; 0: nothing is to be asked. Asking opens a request."""
        if self._wanted and now_s < self._ends_s:
            return 0
        free = self._most - in_flight
        # A few at a time would cost a request for each message.
        if free <= 0 or (in_flight and free * 4 < self._most):
            return 0
        self._wanted = free
        self._ends_s = now_s + self.expires_s + _LATE_S
        return free

    def took_message(self) -> None:
        """One of those asked for has come."""
        self._wanted = max(0, self._wanted - 1)

    def ended(self) -> None:
        """The request is over: the broker said so, or the connection is another one."""
        self._wanted = 0
