"""The payload log: requests and answers of a service as CloudEvents, beside the request path.

A `LoggedModel` wraps a model, copies what passes into a bounded queue in memory, and never
waits for it: what does not fit is dropped and counted. Events are KServe's (CloudEvents 1.0):
only answers that succeed are logged, and a request and its answer share an id. REST bodies
are `application/json` (with binary tensors `application/octet-stream`), gRPC bodies are the
messages as they were, `application/x-protobuf`. Sinks are `backends/sinks/`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.engine.call import Call
from salver.engine.chain import SubCall
from salver.engine.ports import ModelStatus, ServedModel
from salver.engine.queue import Clock
from salver.graphs.plan import LogPolicy
from salver.inference.metadata import ModelMetadata
from salver.protocol.operations import CONTENT_BITS, is_stream
from salver.protocol.wire_codes import Codec
from salver.telemetry.registry import Counter, Registry

REQUEST_TYPE = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE = "org.kubeflow.serving.inference.response"
SPEC_VERSION = "1.0"
MAX_EVENTS = 10_000
MAX_BYTES = 64 << 20


class LogSubject(msgspec.Struct, frozen=True):
    """Whose payloads they are. `endpoint` is empty, or the revision's tag (`canary`)."""

    service: str
    namespace: str = "default"
    component: str = "predictor"
    endpoint: str = ""

    @property
    def source(self) -> str:
        """The events' `source`, a URI reference."""
        return f"/serving/{self.namespace}/{self.service}"


class PayloadEvent(msgspec.Struct, frozen=True):
    """One CloudEvent. `coding` names the content coding that `body` is in, empty for none.

    `metadata` are the caller's headers that the policy names, with their values.
    """

    id: str
    type: str
    subject: LogSubject
    time: str
    content_type: str
    body: bytes | bytearray
    coding: str = ""
    json_length: int = 0
    metadata: Mapping[str, Sequence[str]] = {}
    annotations: Mapping[str, str] = {}

    @property
    def is_request(self) -> bool:
        return self.type == REQUEST_TYPE

    def attributes(self) -> dict[str, str]:
        """The context attributes, extensions included, as KServe names them."""
        attributes = {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "type": self.type,
            "source": self.subject.source,
            "time": self.time,
            "recordedtime": self.time,
            "inferenceservicename": self.subject.service,
            "namespace": self.subject.namespace,
            "component": self.subject.component,
            "endpoint": self.subject.endpoint,
            "metadata": json.dumps(self.metadata),
        }
        if self.annotations:
            attributes["annotations"] = json.dumps(self.annotations)
        # An attribute must not be empty (CloudEvents 1.0, 2.1).
        return {name: value for name, value in attributes.items() if value}


class EventQueue:
    """Events on their way to one sink: bounded in number and in bytes, losses counted."""

    def __init__(
        self,
        registry: Registry,
        sink: str,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._events: deque[PayloadEvent] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._registry = registry
        self._sink = sink
        self._filled = asyncio.Event()
        self.logged: Counter = registry.counter(
            "salver_payload_log_events_total", "Payload events that a sink has taken.", sink=sink
        )
        self._full = self.dropped("queue full")

    def dropped(self, reason: str) -> Counter:
        """The counter of events that were lost for this reason."""
        return self._registry.counter(
            "salver_payload_log_dropped_total",
            "Payload events that were lost, by reason.",
            sink=self._sink,
            reason=reason,
        )

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: PayloadEvent) -> None:
        """Queues it, or drops and counts it. Never waits."""
        size = len(event.body)
        if len(self._events) >= self._max_events or self._bytes + size > self._max_bytes:
            self._full.value += 1
            return
        self._bytes += size
        self._events.append(event)
        self._filled.set()

    def take(self, most: int) -> list[PayloadEvent]:
        """The oldest events, at most so many."""
        taken: list[PayloadEvent] = []
        while self._events and len(taken) < most:
            event = self._events.popleft()
            self._bytes -= len(event.body)
            taken.append(event)
        if not self._events:
            self._filled.clear()
        return taken

    async def wait_filled(self) -> None:
        """Returns when there is an event; whoever waits is ended by cancelling it."""
        await self._filled.wait()


class LoggedModel:
    """Implements `ServedModel`: a model whose payloads are logged."""

    def __init__(
        self,
        model: ServedModel,
        subject: LogSubject,
        policy: LogPolicy,
        queue: EventQueue,
        *,
        clock: Clock,
        now_text: Callable[[], str],
        new_id: Callable[[], str],
    ) -> None:
        self.name = model.name
        self.version = model.version
        self.model = model
        """The one whose payloads are logged."""
        self._recorder = _Recorder(subject, policy, queue, now_text)
        self._logs_requests = policy.mode in ("all", "request")
        self._logs_responses = policy.mode in ("all", "response")
        self._clock = clock
        self._new_id = new_id

    @property
    def parts(self) -> Sequence[ServedModel]:
        """The one whose payloads are logged."""
        return (self.model,)

    @property
    def status(self) -> ModelStatus:
        return self.model.status

    @property
    def is_ready(self) -> bool:
        return self.model.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self.model.metadata

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        event_id = call.header(b"ce-id").decode("latin-1") or self._new_id()
        if self._logs_requests:
            self._recorder.request(event_id, call)
        if not self._logs_responses or is_stream(call.codec):
            # The responses of a stream are not kept until its end, and so not logged.
            self.model.submit(call)
            return

        def deliver(body: bytes, aux: int, coding: int) -> None:
            call.coding = coding
            call.deliver(body, aux)
            self._recorder.response(event_id, call, body, aux, coding)

        # What is called refers to the caller's call, not to the step: a step that referred to
        # itself would stay in memory, body and all, until the collector comes by.
        step = SubCall(call, call.codec, call.aux, call.body, self._clock())
        self.model.submit(step.then("", deliver))


class _Recorder:
    """Makes events of what passes, in the order in which it passes."""

    def __init__(
        self, subject: LogSubject, policy: LogPolicy, queue: EventQueue, now_text: Callable[[], str]
    ) -> None:
        self._subject = subject
        self._queue = queue
        self._now_text = now_text
        self._headers = [(name, name.lower().encode()) for name in policy.metadata_headers]
        self._annotations = dict(policy.metadata_annotations)

    def request(self, event_id: str, call: Call) -> None:
        coding = call.codec >> 8 & 0xFF
        self._put(event_id, REQUEST_TYPE, call, call.body, call.aux, coding)

    def response(self, event_id: str, call: Call, body: bytes, aux: int, coding: int) -> None:
        self._put(event_id, RESPONSE_TYPE, call, body, aux, coding)

    def _put(
        self,
        event_id: str,
        kind: str,
        call: Call,
        body: bytes | bytearray,
        aux: int,
        coding: int,
    ) -> None:
        found = [(name, call.header(raw)) for name, raw in self._headers]
        event = PayloadEvent(
            event_id,
            kind,
            self._subject,
            self._now_text(),
            content_type_of(call.codec, aux),
            body,
            {1: "gzip", 2: "deflate"}.get(coding, ""),
            max(aux, 0),
            {name: [value.decode("latin-1")] for name, value in found if value},
            self._annotations,
        )
        self._queue.put(event)


def content_type_of(tag: int, aux: int) -> str:
    """The media type of a body, by its codec and whether binary tensors follow its JSON."""
    codec = tag & CONTENT_BITS & 0xFF
    if codec in (Codec.V2_GRPC, Codec.TFS_GRPC, Codec.TFS_EXAMPLES_GRPC):
        return "application/x-protobuf"
    if codec in (Codec.TFS_EXAMPLES_JSON, Codec.MLFLOW_JSON):
        return "application/json"
    if codec == Codec.MLFLOW_CSV:
        return "text/csv"
    if codec == Codec.MLFLOW_PARQUET:
        return "application/vnd.apache.parquet"
    return "application/octet-stream" if aux else "application/json"
