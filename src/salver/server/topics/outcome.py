"""What becomes of a message once its model has answered, or failed. Pure."""

from __future__ import annotations

from enum import Enum

import msgspec

from salver.errors import ErrorKind


class Step(Enum):
    """What to do with a message."""

    REPLY = "reply"
    """Its reply goes out, and the message is done with."""
    RETRY = "retry"
    """It is tried again later; nobody is told anything."""
    BURY = "bury"
    """It has been tried enough: its reply goes out, and itself to the dead letters."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a message is tried, and how long between."""

    max_attempts: int = 5
    first_delay_s: float = 0.25
    max_delay_s: float = 15.0

    def delay_s(self, attempts: int) -> float:
        """How long to wait after so many attempts."""
        return min(self.first_delay_s * 2.0 ** min(attempts - 1, 30), self.max_delay_s)


_PASSING = frozenset(
    {
        ErrorKind.MODEL_NOT_READY,
        ErrorKind.QUEUE_FULL,
        ErrorKind.UNAVAILABLE,
        ErrorKind.DEADLINE_EXCEEDED,
        ErrorKind.MODEL_FAILED,
    }
)
"""What may go well another time. The rest is the sender's fault, and told at once."""


def next_step(
    kind: ErrorKind, attempts: int, policy: RetryPolicy, *, is_draining: bool = False
) -> Step:
    """What to do after so many attempts, this one included, of which the last ended like this."""
    if kind not in _PASSING:
        return Step.REPLY
    if is_draining:
        # This server's end is no fault of the message: another one may have it.
        return Step.RETRY
    return Step.RETRY if attempts < policy.max_attempts else Step.BURY
