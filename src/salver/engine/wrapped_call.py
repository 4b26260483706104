"""A call that goes to a model in the place of its caller's: what it does not do itself, that does.

The one base of calls that stand in for another on its way through the gateway (observed beside a
shadow, traced, held back for its turn). Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from salver.engine.call import Call, PartSource
from salver.errors import ErrorKind
from salver.telemetry.trace import TraceContext


class WrappedCall(Call):
    """Answers its caller as it is answered. It is abandoned if, and only if, its caller is."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Call, *, codec: int | None = None) -> None:
        """`codec` is another tag than the caller's."""
        self._caller = caller
        super().__init__(
            caller.codec if codec is None else codec,
            caller.aux,
            caller.body,
            arrived_s=caller.arrived_s,
            deadline_s=caller.deadline_s,
        )
        self.attempts = caller.attempts

    @property
    def granted_s(self) -> float:
        return self._caller.granted_s

    def limit(self, deadline_s: float) -> None:
        self._caller.limit(deadline_s)
        self.deadline_s = self._caller.deadline_s

    @property
    def is_abandoned(self) -> bool:
        return self._caller.is_abandoned

    @is_abandoned.setter
    def is_abandoned(self, value: bool) -> None:
        # `Call.__init__` sets False, which must not bring a caller back who has left.
        if value:
            self._caller.is_abandoned = True

    def deliver(self, body: bytes, aux: int) -> None:
        caller = self._caller
        caller.coding, caller.attempts = self.coding, self.attempts
        caller.deliver(body, aux)

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self._caller.deliver_part(body, aux, source)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._caller.attempts = self.attempts
        self._caller.fail(kind, message)

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        self._caller.attempts = self.attempts
        self._caller.reject(status, body, kind, message)

    def add_header(self, name: bytes, value: bytes) -> None:
        self._caller.add_header(name, value)

    def header(self, name: bytes) -> bytes:
        return self._caller.header(name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._caller.headers()

    @property
    def span(self) -> TraceContext | None:
        return self._caller.span
