"""A model with a shadow: a share of its requests goes to a second model too, to compare.

The caller gets the first model's answer and never learns of the shadow: copies are bounded,
their failures are counted, comparisons are made after the answer is out, one each turn of the
loop. Owns no verdict on what the numbers mean.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from salver.engine.call import Call
from salver.engine.comparing import Answer, Comparer
from salver.engine.ports import ModelStatus, ServedModel
from salver.engine.queue import Clock, Scheduler
from salver.engine.wrapped_call import WrappedCall
from salver.errors import ErrorKind
from salver.inference.metadata import ModelMetadata
from salver.protocol.operations import is_stream
from salver.telemetry.shadow import ShadowMetrics
from salver.telemetry.trace import TraceContext

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 128
_ACCEPTS_BITS = 0xFF0000

Outcome = Answer | ErrorKind


class ShadowSettings(msgspec.Struct, frozen=True):
    """The share of requests that are copied (0 to 1), and how many copies at once."""

    share: float = 1.0
    max_in_flight: int = MAX_IN_FLIGHT


class _Pair:
    """One request's two outcomes, until both are there."""

    __slots__ = ("model", "model_s", "owner", "shadow", "shadow_s")

    def __init__(self, owner: ShadowedModel) -> None:
        self.owner = owner
        self.model: Outcome | None = None
        self.shadow: Outcome | None = None
        self.model_s = 0.0
        self.shadow_s = 0.0

    def set_model(self, outcome: Outcome, seconds: float) -> None:
        if self.model is not None:
            return  # It was timed out, and its worker has answered after all.
        self.model, self.model_s = outcome, seconds
        if self.shadow is not None:
            self.owner.on_pair(self)

    def set_shadow(self, outcome: Outcome, seconds: float) -> None:
        self.shadow, self.shadow_s = outcome, seconds
        if self.model is not None:
            self.owner.on_pair(self)


class ObservedCall(WrappedCall):
    """The caller's call on its way to the first model: passes the answer on, then notes it."""

    __slots__ = ("_clock", "_pair")

    def __init__(self, caller: Call, pair: _Pair, clock: Clock) -> None:
        super().__init__(caller)
        self._pair = pair
        self._clock = clock

    def deliver(self, body: bytes, aux: int) -> None:
        super().deliver(body, aux)
        self._note(Answer(self.codec, bytes(body), aux, self.coding))

    def fail(self, kind: ErrorKind, message: str) -> None:
        super().fail(kind, message)
        self._note(kind)

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        super().reject(status, body, kind, message)
        self._note(kind)

    def _note(self, outcome: Outcome) -> None:
        self._pair.set_model(outcome, self._clock() - self.arrived_s)


class ShadowCall(Call):
    """The copy for the shadow; nobody waits for it, so it ends by its answer or its deadline."""

    __slots__ = ("_clock", "_headers", "_is_counted", "_pair", "_span")

    def __init__(self, parent: Call, pair: _Pair, clock: Clock) -> None:
        # No content coding is asked for: the answer is compared, not sent.
        super().__init__(
            parent.codec & ~_ACCEPTS_BITS,
            parent.aux,
            parent.body,
            arrived_s=parent.arrived_s,
            deadline_s=parent.deadline_s,
        )
        self._pair = pair
        self._clock = clock
        self._headers = parent.headers()
        self._span = parent.span
        self._is_counted = False

    def deliver(self, body: bytes, aux: int) -> None:
        self._end(Answer(self.codec, bytes(body), aux, self.coding))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._end(kind)

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self._headers if key == name), b"")

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._headers

    @property
    def span(self) -> TraceContext | None:
        """The caller's: what the shadow does is part of its trace."""
        return self._span

    def _end(self, outcome: Outcome) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._pair.owner.on_shadow_done()
            self._pair.set_shadow(outcome, self._clock() - self.arrived_s)


class ShadowedModel:
    """A `ServedModel`: the first model in everything but the copies."""

    def __init__(
        self,
        model: ServedModel,
        shadow: ServedModel,
        settings: ShadowSettings,
        *,
        metrics: ShadowMetrics,
        is_same: Comparer,
        random_number: Callable[[], float],
        scheduler: Scheduler,
        clock: Clock,
    ) -> None:
        self.name = model.name
        self.parts: Sequence[ServedModel] = (model, shadow)
        self._model = model
        self._shadow = shadow
        self._settings = settings
        self._metrics = metrics
        self._is_same = is_same
        self._random = random_number
        self._scheduler = scheduler
        self._clock = clock
        self._in_flight = 0
        self._pairs: deque[_Pair] = deque()

    @property
    def in_flight(self) -> int:
        """Copies that the shadow has not answered yet."""
        return self._in_flight

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        if self._random() >= self._settings.share or is_stream(call.codec):
            # Streams are not compared, and a copy would take a worker for as long.
            self._model.submit(call)
            return
        if self._is_full or not self._shadow.is_ready:
            self._metrics.dropped.value += 1
            self._model.submit(call)
            return
        pair = _Pair(self)
        copy = ShadowCall(call, pair, self._clock)
        self._in_flight += 1
        self._metrics.copies.value += 1
        # The caller's first: where both share a queue or a core, it does not wait for the copy.
        self._model.submit(ObservedCall(call, pair, self._clock))
        try:
            self._shadow.submit(copy)
        except Exception:
            # A shadow that breaks its contract must not become the caller's trouble.
            logger.exception("shadow of %s: submit raised", self.name)
            copy.fail(ErrorKind.MODEL_FAILED, "the shadow failed")

    @property
    def _is_full(self) -> bool:
        return self._in_flight + len(self._pairs) >= self._settings.max_in_flight

    # What pairs call.

    def on_shadow_done(self) -> None:
        """A copy has ended."""
        self._in_flight -= 1

    def on_pair(self, pair: _Pair) -> None:
        """Both outcomes are there; they are compared when the loop has time."""
        self._pairs.append(pair)
        if len(self._pairs) == 1:
            self._scheduler.call_soon(self._compare_next)

    def _compare_next(self) -> None:
        pair = self._pairs.popleft()
        if self._pairs:
            self._scheduler.call_soon(self._compare_next)
        model, shadow = pair.model, pair.shadow
        assert model is not None and shadow is not None
        metrics = self._metrics
        metrics.observe_durations(pair.model_s, pair.shadow_s)
        if isinstance(shadow, ErrorKind) and not isinstance(model, ErrorKind):
            metrics.errors.value += 1
            return
        is_match = self._is_match(model, shadow)
        if is_match is None:
            metrics.uncompared.value += 1
        elif is_match:
            metrics.matches.value += 1
        else:
            metrics.mismatches.value += 1

    def _is_match(self, model: Outcome, shadow: Outcome) -> bool | None:
        if isinstance(model, ErrorKind) or isinstance(shadow, ErrorKind):
            return model is shadow
        try:
            return self._is_same(model, shadow)
        except Exception:
            logger.exception("shadow of %s: answers could not be compared", self.name)
            return False

    # The rest of the port is the first model's.

    @property
    def version(self) -> str:
        return self._model.version

    @property
    def status(self) -> ModelStatus:
        return self._model.status

    @property
    def is_ready(self) -> bool:
        return self._model.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self._model.metadata
