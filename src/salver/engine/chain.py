"""A transformer around a predictor, and an explainer beside it, as one `ServedModel`.

A call becomes sub-calls: the transformer's PREPROCESS on the request, the predictor, the
transformer's POSTPROCESS on the response. Bodies go from one to the next as bytes. Sub-calls
have the caller's deadline and headers, and are abandoned with it. A transformer without such
steps is a service of its own (a command, a URL): it gets the whole call, and asks the predictor
itself. Owns the order of the steps; who answers them, and how, is the `ServedModel`s' affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from salver.engine.call import Call, PartSource
from salver.engine.ports import ModelStatus, ServedModel
from salver.engine.queue import Clock
from salver.errors import ErrorKind, ModelNotReady
from salver.inference.metadata import ModelMetadata
from salver.protocol.operations import (
    CONTENT_BITS,
    WITH_HEADERS,
    Operation,
    marked,
    with_headers,
)
from salver.telemetry.trace import TraceContext

_CODEC_BITS = 0xFF
_ACCEPTS_BITS = 0xFF0000
_Deliver = Callable[[bytes, int, int], None]
"""Takes the answer's body, its `aux` and its content coding."""


class SubCall(Call):
    """A call on behalf of another: what happens to it happens to the caller's, in this step."""

    __slots__ = ("_deliver", "_is_given_up", "_parent", "_step")

    def __init__(
        self, parent: Call, codec: int, aux: int, body: bytes | bytearray, now_s: float
    ) -> None:
        self._parent = parent
        self._is_given_up = False
        super().__init__(codec, aux, body, arrived_s=now_s, deadline_s=parent.deadline_s)
        self._step = ""
        self._deliver: _Deliver | None = None

    def then(self, step: str, deliver: _Deliver | None = None) -> SubCall:
        """Names the step for errors, and says who takes its answer: unless told, the caller."""
        self._step = step
        self._deliver = deliver
        return self

    @property
    def granted_s(self) -> float:
        """What the caller's was given: a step has the rest of it."""
        return self._parent.granted_s

    def limit(self, deadline_s: float) -> None:
        """See `Call`. A step that may take longer leaves no less time to those after it."""
        self.deadline_s = deadline_s
        if deadline_s > self._parent.deadline_s:
            self._parent.limit(deadline_s)

    @property
    def is_abandoned(self) -> bool:
        """The caller has left, or this step has been given up."""
        return self._is_given_up or self._parent.is_abandoned

    @is_abandoned.setter
    def is_abandoned(self, value: bool) -> None:
        self._is_given_up = value

    def deliver(self, body: bytes, aux: int) -> None:
        if self.is_abandoned:
            return
        if self._deliver is None:
            self.answer(body, aux, self.coding)
        else:
            self._deliver(body, aux, self.coding)

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self._parent.deliver_part(body, aux, source)

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self._parent.fail(kind, f"{self._step}: {message}" if self._step else message)

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        if self._step:
            self.fail(kind, message)
        elif not self.is_abandoned:
            self._parent.reject(status, body, kind, message)

    def add_header(self, name: bytes, value: bytes) -> None:
        self._parent.add_header(name, value)

    def header(self, name: bytes) -> bytes:
        return self._parent.header(name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._parent.headers()

    @property
    def span(self) -> TraceContext | None:
        return self._parent.span

    def answer(self, body: bytes, aux: int, coding: int) -> None:
        """Hands the answer on to the caller, as it is."""
        self._parent.coding = coding
        self._parent.deliver(body, aux)


class TransformedService:
    """Implements `ServedModel`: a predictor behind its transformer."""

    def __init__(self, transformer: ServedModel, predictor: ServedModel, *, clock: Clock) -> None:
        self.name = predictor.name
        self.version = predictor.version
        self.transformer = transformer
        self.predictor = predictor
        self.parts: Sequence[ServedModel] = (transformer, predictor)
        self.clock = clock

    @property
    def status(self) -> ModelStatus:
        """The predictor's, unless the transformer is what keeps the service from serving."""
        own = self.predictor.status
        other = self.transformer.status
        if self.transformer.is_ready or not self.predictor.is_ready:
            return own
        reason = f"transformer: {other.reason}" if other.reason else "transformer is not ready"
        return ModelStatus(own.name, own.version, other.state, reason)

    @property
    def is_ready(self) -> bool:
        return self.transformer.is_ready and self.predictor.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        """What callers send is the transformer's to say; if it does not, it is the predictor's."""
        metadata = self.predictor.metadata
        inputs = self.transformer.metadata.inputs
        return msgspec.structs.replace(metadata, inputs=inputs) if inputs else metadata

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        _Steps(call, self).begin()


class _Steps:
    """One call on its way through the steps.

    Keeps the service alive until its last step has begun, which is how others see that nothing
    of it is needed any more. Nothing here may refer to itself: steps end with their last
    reference, the bodies that they hold with them.
    """

    __slots__ = ("_call", "_has_headers", "_operations", "_service")

    def __init__(self, call: Call, service: TransformedService) -> None:
        self._call = call
        self._service = service
        self._operations, self._has_headers = _operations(service.transformer)

    def begin(self) -> None:
        call = self._call
        if not self._operations:
            # A service of its own (a command, a URL): it takes the whole request, and asks the
            # predictor by itself.
            step = SubCall(call, call.codec, call.aux, call.body, self._service.clock())
            self._service.transformer.submit(step.then("transformer"))
            return
        if Operation.PREPROCESS.method not in self._operations:
            self._predict(call.body, call.aux, call.codec & CONTENT_BITS)
            return
        tag = marked(call.codec & ~_ACCEPTS_BITS, Operation.PREPROCESS)
        step = self._step(tag, call.aux, call.body)
        self._service.transformer.submit(
            step.then("transformer (preprocess)", self._on_preprocessed)
        )

    def _on_preprocessed(self, body: bytes, aux: int, coding: int) -> None:
        call = self._call
        tag = call.codec & (_CODEC_BITS | _ACCEPTS_BITS) | coding << 8
        self._predict(body, aux, tag)

    def _predict(self, body: bytes | bytearray, aux: int, tag: int) -> None:
        is_last = Operation.POSTPROCESS.method not in self._operations
        if not is_last:
            # The transformer reads the answer: what it takes to pack it would be wasted.
            tag &= ~_ACCEPTS_BITS
        step = SubCall(self._call, tag, aux, body, self._service.clock())
        self._service.predictor.submit(
            step.then("predictor", None if is_last else self._on_predicted)
        )

    def _on_predicted(self, body: bytes, aux: int, coding: int) -> None:
        call = self._call
        content = call.codec & (_CODEC_BITS | _ACCEPTS_BITS) | coding << 8
        tag = marked(content, Operation.POSTPROCESS)
        step = self._step(tag, aux, body)
        self._service.transformer.submit(step.then("transformer (postprocess)"))

    def _step(self, tag: int, aux: int, body: bytes | bytearray) -> SubCall:
        return _step_call(self._call, tag, aux, body, self._service.clock(), self._has_headers)


class ExplainedService:
    """Implements `ServedModel` for `:explain`: every call asks the explainer to explain."""

    def __init__(self, explainer: ServedModel, *, clock: Clock) -> None:
        self.name = explainer.name
        self.version = explainer.version
        self._explainer = explainer
        self._clock = clock

    @property
    def status(self) -> ModelStatus:
        return self._explainer.status

    @property
    def is_ready(self) -> bool:
        return self._explainer.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self._explainer.metadata

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        _, has_headers = _operations(self._explainer)
        tag = marked(call.codec, Operation.EXPLAIN)
        step = _step_call(call, tag, call.aux, call.body, self._clock(), has_headers)
        self._explainer.submit(step.then("explainer"))


def _operations(model: ServedModel) -> tuple[tuple[str, ...], bool]:
    """The steps a model has and whether they want headers; all, if it cannot say yet."""
    try:
        metadata = model.metadata
    except ModelNotReady:
        # It may be starting from zero: what it does not have, it will leave as it is.
        return (Operation.PREPROCESS.method, Operation.POSTPROCESS.method), True
    return metadata.operations, metadata.wants_headers


def _step_call(
    call: Call, tag: int, aux: int, body: bytes | bytearray, now_s: float, has_headers: bool
) -> SubCall:
    if has_headers:
        tag |= WITH_HEADERS
        body = with_headers(call.headers(), body)
    return SubCall(call, tag, aux, body, now_s)
