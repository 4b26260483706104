"""`inference.GRPCInferenceService` over the model catalog: which method does what.

Owns ModelInfer, the hot path: it reads the model's name from the raw request and hands the
bytes on; a worker parses them. The smaller methods are in `control.py`, streams in
`stream_infer.py`. Knows no HTTP/2 and no tensor.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from salver.engine.call import Call
from salver.engine.ports import ModelCatalog, ServedModel
from salver.engine.shared_memory import ClientRegions
from salver.errors import ErrorKind, SalverError
from salver.protocol.operations import MAY_SHARE
from salver.protocol.wire import Codec
from salver.server.controls import ServerControls
from salver.server.extensions import extensions_of
from salver.server.grpc.control import ControlMethods
from salver.server.grpc.fields import MalformedMessageError, name_and_version
from salver.server.grpc.headers import header_of, headers_of, named_by
from salver.server.grpc.observe import OK, answered_grpc, begun_grpc, told_metadata
from salver.server.grpc.ports import (
    NO_METADATA,
    Code,
    GrpcFront,
    GrpcMethods,
    Metadata,
    UnaryHandler,
)
from salver.server.grpc.reflection import Reflection
from salver.server.grpc.shared_memory import SharedMemoryMethods
from salver.server.grpc.status import GRPC_CODE, code_of, reason_of, status_message, trailing_of
from salver.server.grpc.stream_infer import StreamInfer
from salver.server.local_callers import binds_locally, is_local
from salver.server.observe import REQUEST_ID, Observation, RequestObserver
from salver.settings import ServeSettings
from salver.telemetry import trace
from salver.telemetry.trace import TRACEPARENT, TraceContext

OnRefused = Callable[[str, str], None]
"""Told `("grpc", reason)` of each request refused before it reached a model's queue."""

PREFIX = "/inference.GRPCInferenceService/"
INFER = PREFIX + "ModelInfer"
_CODEC = int(Codec.V2_GRPC)


def ignore_refusal(_protocol: str, _reason: str) -> None:
    """The `OnRefused` of those who do not count."""


class GrpcCall(Call):
    """A ModelInfer call; its answer goes back through the service's front."""

    __slots__ = ("added", "call_id", "metadata", "observation", "service")

    def __init__(
        self,
        service: InferenceService,
        call_id: int,
        body: bytes,
        now_s: float,
        deadline_s: float,
        metadata: Metadata,
    ) -> None:
        # Call.__init__ written out: a call of a call is a tenth of this layer's time.
        self.codec = service.tag
        self.aux = 0
        self.body = body
        self.arrived_s = now_s
        self.deadline_s = deadline_s
        self.attempts = 0
        self.is_abandoned = False
        self.service = service
        self.call_id = call_id
        self.metadata = metadata
        self.added: Metadata = NO_METADATA
        self.observation: Observation | None = None

    def deliver(self, body: bytes | memoryview, aux: int) -> None:
        if self.service.closed(self.call_id):
            if self.observation is not None:
                self.added = (*told_metadata(self.observation), *self.added)
                self.service.observed(self, self.observation, OK, "")
            # No copy if it is bytes already.
            self.service.respond(self.call_id, bytes(body), self.added)

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.service.closed(self.call_id):
            return
        code, trailing = GRPC_CODE[kind], trailing_of(kind)
        if self.observation is not None:
            trailing = (*told_metadata(self.observation), *trailing)
            self.service.observed(self, self.observation, code, message)
        self.service.front.fail(self.call_id, code, status_message(message), trailing)

    @property
    def span(self) -> TraceContext | None:
        return None if self.observation is None else self.observation.span

    def add_header(self, name: bytes, value: bytes) -> None:
        added = (name.decode("latin-1"), value.decode("latin-1"))
        if added not in self.added:
            self.added = (*self.added, added)

    def header(self, name: bytes) -> bytes:
        if name == TRACEPARENT and self.span is not None:
            return trace.header_of(self.span)
        if name == REQUEST_ID and self.observation is not None:
            return self.observation.request_id.encode()
        return header_of(self.metadata, name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return trace.in_span(headers_of(self.metadata), self.span)


class InferenceService:
    """Answers the calls of one front from one catalog."""

    def __init__(
        self,
        front: GrpcFront,
        catalog: ModelCatalog,
        settings: ServeSettings,
        *,
        on_refused: OnRefused = ignore_refusal,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        observer: RequestObserver | None = None,
        regions: ClientRegions | None = None,
        controls: ServerControls | None = None,
    ) -> None:
        """`new_id` makes ids for calls whose protocol wants one; `observer` logs and traces.

        `regions` are those of the memory that clients share; without them none is taken.
        `controls` are what callers may change of traces and logs.
        """
        self.front = front
        self.new_id = new_id
        self.respond = front.respond
        self._catalog = catalog
        self.on_refused = on_refused
        self._clock = clock
        self._observer = observer
        self._timeout_s = settings.request_timeout
        self._max_body_bytes = settings.max_body_size
        self._open: dict[int, GrpcCall] = {}
        self.more_methods: Mapping[str, UnaryHandler] = {}
        """What else the front is to serve, set before `methods` is asked."""
        hears_all = not binds_locally(settings.host)
        self._tells_local_callers = regions is not None and hears_all
        self.tag = _CODEC if regions is None or hears_all else _CODEC | MAY_SHARE
        """What every call's tag is, unless its caller may do more."""
        memory = SharedMemoryMethods(regions, lambda: not hears_all or is_local(front.peer))
        extensions = extensions_of(shares_memory=regions is not None)
        self._control = ControlMethods(
            front,
            catalog,
            on_refused=on_refused,
            memory=memory,
            extensions=extensions,
            controls=controls,
        )
        self._streams = StreamInfer(
            catalog, settings, on_refused=on_refused, clock=clock, observer=observer, tag=self.tag
        )

    @property
    def open_calls(self) -> int:
        """How many ModelInfer calls wait for their answer."""
        return len(self._open)

    def methods(self) -> GrpcMethods:
        """What the front is to serve."""
        unary = {INFER: self.infer, **self._control.methods(PREFIX), **self.more_methods}
        stream = {PREFIX + "ModelStreamInfer": self._streams.run}
        reflection = Reflection((*unary, *stream))
        return GrpcMethods(
            unary=unary,
            stream={**stream, **reflection.methods()},
            on_cancel=self.on_cancel,
        )

    def infer(
        self, call_id: int, payload: bytes, time_left_s: float | None, metadata: Metadata
    ) -> None:
        """ModelInfer: finds the model and queues the raw request with it."""
        if len(payload) > self._max_body_bytes:
            self._refuse_size(call_id, len(payload))
            return
        try:
            name, version = name_and_version(payload)
            served = named_by(metadata, self._catalog).find(name, version)
        except MalformedMessageError as error:
            self.refuse_bytes(call_id, error, "inference.ModelInferRequest")
            return
        except SalverError as error:
            self.front.fail(call_id, code_of(error), status_message(str(error)))
            self.on_refused("grpc", reason_of(error))
            return
        now_s = self._clock()
        allowed_s = self._timeout_s
        if time_left_s is not None and time_left_s < allowed_s:
            allowed_s = time_left_s
        call = GrpcCall(self, call_id, payload, now_s, now_s + allowed_s, metadata)
        if self._tells_local_callers and is_local(self.front.peer):
            call.codec |= MAY_SHARE
        self._open[call_id] = call
        if self._observer is not None:
            call.observation = begun_grpc(self._observer, metadata, INFER, served.name)
        served.submit(call)

    # For services beside this one.

    def is_oversized(self, call_id: int, payload: bytes) -> bool:
        """Whether the request is over the limit; if so, it has been refused."""
        if len(payload) <= self._max_body_bytes:
            return False
        self._refuse_size(call_id, len(payload))
        return True

    def span(self, time_left_s: float | None) -> tuple[float, float]:
        """Now, and until when a call may take that has so much time left."""
        now_s = self._clock()
        allowed_s = self._timeout_s if time_left_s is None else min(time_left_s, self._timeout_s)
        return now_s, now_s + allowed_s

    def submit(self, call: GrpcCall, served: ServedModel, path: str) -> None:
        """Queues a call of the method with that path; its client may leave from now on."""
        self._open[call.call_id] = call
        if self._observer is not None:
            call.observation = begun_grpc(self._observer, call.metadata, path, served.name)
        served.submit(call)

    def observed(self, call: GrpcCall, observation: Observation, code: int, error: str) -> None:
        """A call that is logged and traced has its answer."""
        assert self._observer is not None
        self._observer.end(observation, answered_grpc(observation, call, code, error))

    def on_cancel(self, call_id: int) -> None:
        """The client left, or its deadline passed: nobody waits for the answer."""
        call = self._open.pop(call_id, None)
        if call is not None:
            call.is_abandoned = True
            if call.observation is not None:
                error = "the client left, or its deadline passed, before the answer"
                self.observed(call, call.observation, Code.CANCELLED, error)

    def closed(self, call_id: int) -> bool:
        """Takes the call off the list; True if its client still waits."""
        return self._open.pop(call_id, None) is not None

    def _refuse_size(self, call_id: int, size: int) -> None:
        self.front.fail(
            call_id,
            Code.RESOURCE_EXHAUSTED,
            f"the request has {size} bytes, over the limit of {self._max_body_bytes}; "
            "send fewer rows, or start the server with a larger --max-body-size",
        )
        self.on_refused("grpc", ErrorKind.PAYLOAD_TOO_LARGE.reason)

    def refuse_bytes(self, call_id: int, error: MalformedMessageError, kind: str) -> None:
        """Answers a request that is no message of that kind."""
        self.front.fail(
            call_id,
            Code.INVALID_ARGUMENT,
            f"the request is no {kind}: {error}; encode it with the protocol's .proto",
        )
        self.on_refused("grpc", ErrorKind.INVALID_INPUT.reason)
