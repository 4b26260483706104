"""Answers held back until those to earlier requests have gone out: Triton's `preserve_ordering`.

Earlier is what went to a worker earlier. Owns the order alone: who answers, and when, is the
workers' affair. Streams are not held back, since their parts go out as they come.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from salver.engine.call import Call, PartSource
from salver.errors import ErrorKind
from salver.protocol.operations import CONTENT_BITS, is_stream
from salver.telemetry.trace import TraceContext

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


class HeldCall(Call):
    """A call whose answer waits for its turn."""

    __slots__ = ("_caller", "_is_given_up", "_order", "outcome")

    def __init__(self, caller: Call, order: AnswerOrder) -> None:
        self._caller = caller
        self._is_given_up = False
        self._order = order
        super().__init__(
            caller.codec,
            caller.aux,
            caller.body,
            arrived_s=caller.arrived_s,
            deadline_s=caller.deadline_s,
        )
        self.attempts = caller.attempts
        self.outcome: Callable[[], None] | None = None
        """Hands over the answer; None until there is one."""

    @property
    def is_abandoned(self) -> bool:
        return self._is_given_up or self._caller.is_abandoned

    @is_abandoned.setter
    def is_abandoned(self, value: bool) -> None:
        self._is_given_up = value

    @property
    def granted_s(self) -> float:
        return self._caller.granted_s

    def limit(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._caller.limit(deadline_s)

    def deliver(self, body: bytes, aux: int) -> None:
        caller, coding = self._caller, self.coding

        def outcome() -> None:
            caller.coding = coding
            caller.deliver(body, aux)

        self._end(outcome)

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self._caller.deliver_part(body, aux, source)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._end(lambda: self._caller.fail(kind, message))

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        self._end(lambda: self._caller.reject(status, body, kind, message))

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

    def add_header(self, name: bytes, value: bytes) -> None:
        self._caller.add_header(name, value)

    def header(self, name: bytes) -> bytes:
        return self._caller.header(name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._caller.headers()

    @property
    def span(self) -> TraceContext | None:
        return self._caller.span


def _nothing() -> None:
    """The outcome of a call that has been handed over."""
