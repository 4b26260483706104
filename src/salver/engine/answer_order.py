"""Answers held back until those to earlier requests have gone out: Triton's `preserve_ordering`.

Earlier is what went to a worker earlier. Owns the order alone: who answers, and when, is the
workers' affair. Streams are not held back, since their parts go out as they come.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from salver.engine.call import Call
from salver.engine.wrapped_call import WrappedCall
from salver.errors import ErrorKind
from salver.protocol.operations import CONTENT_BITS, is_stream

logger = logging.getLogger("salver.server")


class AnswerOrder:
    """The calls of one model that have been sent, in their order."""

    def __init__(self) -> None:
        self._sent: deque[HeldCall] = deque()

    def __len__(self) -> int:
        return len(self._sent)

    def hold(self, call: Call) -> Call:
        """The call to be sent in place of this one. One that was sent before keeps its place."""
        if isinstance(call, HeldCall) or (call.codec > CONTENT_BITS and is_stream(call.codec)):
            return call
        held = HeldCall(call, self)
        self._sent.append(held)
        return held

    def release(self) -> None:
        """Hands over what nobody has to be waited for any more."""
        while self._sent and (self._sent[0].outcome is not None or self._sent[0].is_abandoned):
            self._sent.popleft().hand_over()


class HeldCall(WrappedCall):
    """A call whose answer waits for its turn."""

    __slots__ = ("_is_given_up", "_order", "outcome")

    def __init__(self, caller: Call, order: AnswerOrder) -> None:
        self._is_given_up = False
        super().__init__(caller)
        self._order = order
        self.outcome: Callable[[], None] | None = None
        """Hands over the answer; None until there is one."""

    @property
    def is_abandoned(self) -> bool:
        """The caller has left, or has been answered though the answer is still held back."""
        return self._is_given_up or self._caller.is_abandoned

    @is_abandoned.setter
    def is_abandoned(self, value: bool) -> None:
        self._is_given_up = value

    def deliver(self, body: bytes, aux: int) -> None:
        self._end(partial(super().deliver, body, aux))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._end(partial(super().fail, kind, message))

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        self._end(partial(super().reject, status, body, kind, message))

    def _end(self, outcome: Callable[[], None]) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self._order.release()

    def hand_over(self) -> None:
        """Its turn has come. It may have been left without an answer: then there is none."""
        outcome, self.outcome = self.outcome, _nothing
        try:
            if outcome is not None:
                outcome()
        except Exception:
            # One caller's trouble must not keep the answers of those behind.
            logger.exception("an answer that was held back was not delivered")


def _nothing() -> None:
    """The outcome of a call that has been handed over."""
