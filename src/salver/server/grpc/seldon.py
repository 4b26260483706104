"""`seldon.protos.*` over the directory: the services of a deployment and of single components.

A call's metadata `seldon` and `namespace` say which deployment is asked, as Ambassador's routes
do; without them it is the only one there is. `seldon-node` names a component within a graph.
Bodies go to the workers as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from salver.engine.directory import ModelDirectory
from salver.engine.seldon_paths import SELDON
from salver.errors import SalverError
from salver.protocol.operations import Operation, marked
from salver.protocol.seldon_meta import PUID_HEADER
from salver.protocol.seldon_metadata import graph_message, model_message
from salver.protocol.wire_codes import Codec
from salver.server.grpc.fields import MalformedMessageError, name_and_version
from salver.server.grpc.headers import header_of
from salver.server.grpc.ports import Metadata, UnaryHandler
from salver.server.grpc.service import GrpcCall, InferenceService
from salver.server.grpc.status import code_of, reason_of, status_message
from salver.server.seldon_facts import graph_facts, part_facts

_PACKAGE = "/seldon.protos."
_FEEDBACK = "send_feedback"
COMPONENT_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "Seldon/Predict": "predict",
        "Seldon/SendFeedback": _FEEDBACK,
        "Model/Predict": "predict",
        "Model/SendFeedback": _FEEDBACK,
        "Router/Route": "route",
        "Router/SendFeedback": _FEEDBACK,
        "Transformer/TransformInput": "transform_input",
        "OutputTransformer/TransformOutput": "transform_output",
        "Combiner/Aggregate": "aggregate",
        "Generic/TransformInput": "transform_input",
        "Generic/TransformOutput": "transform_output",
        "Generic/Route": "route",
        "Generic/Aggregate": "aggregate",
        "Generic/SendFeedback": _FEEDBACK,
    }
)
"""What a component is asked to do, by Seldon's services and their methods."""


class SeldonGrpcCall(GrpcCall):
    """A call of one of Seldon's services; its answer carries its id."""

    __slots__ = ()

    def deliver(self, body: bytes | memoryview, aux: int) -> None:
        name = PUID_HEADER.decode()
        if all(each != name for each, _ in self.added):
            own = self.header(PUID_HEADER) or self.service.new_id().encode()
            self.add_header(PUID_HEADER, own)
        super().deliver(body, aux)


class SeldonMethods:
    """Handlers of Seldon's services, beside those of an `InferenceService` on the same front."""

    def __init__(
        self, service: InferenceService, directory: ModelDirectory, *, timeout_s: float
    ) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._service = service
        self._directory = directory
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def methods(self) -> Mapping[str, UnaryHandler]:
        """Handlers by path."""
        found = {
            _PACKAGE + path: self._asked(each, _PACKAGE + path)
            for path, each in COMPONENT_METHODS.items()
        }
        found[_PACKAGE + "Seldon/ModelMetadata"] = self._told(self._model_metadata)
        found[_PACKAGE + "Model/Metadata"] = self._told(self._model_metadata)
        found[_PACKAGE + "Seldon/GraphMetadata"] = self._told(self._graph_metadata)
        return found

    def _asked(self, method: str, path: str) -> UnaryHandler:
        def handle(
            call_id: int, payload: bytes, time_left_s: float | None, metadata: Metadata
        ) -> None:
            service = self._service
            if service.is_oversized(call_id, payload):
                return
            node = _text(metadata, b"seldon-node")
            try:
                served = self._directory.find_seldon(_scope(metadata), node, method)
            except SalverError as error:
                self._fail(call_id, error)
                return
            now_s, deadline_s = service.span(time_left_s)
            call = SeldonGrpcCall(service, call_id, payload, now_s, deadline_s, metadata)
            codec = int(Codec.SELDON_GRPC)
            is_feedback = method == _FEEDBACK and not node
            call.codec = marked(codec, Operation.FEEDBACK) if is_feedback else codec
            service.submit(call, served, path)

        return handle

    def _told(self, tell: Callable[[bytes, Metadata], Awaitable[bytes]]) -> UnaryHandler:
        async def run(call_id: int, payload: bytes, metadata: Metadata) -> None:
            try:
                answer = await tell(payload, metadata)
            except (SalverError, MalformedMessageError) as error:
                self._fail(call_id, error)
            else:
                self._service.front.respond(call_id, answer)

        def handle(call_id: int, payload: bytes, _: float | None, metadata: Metadata) -> None:
            task = asyncio.get_running_loop().create_task(run(call_id, payload, metadata))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return handle

    async def _model_metadata(self, payload: bytes, metadata: Metadata) -> bytes:
        name, _ = name_and_version(payload)
        scope = _scope(metadata)
        return model_message(await part_facts(self._directory, scope, name, self._timeout_s))

    async def _graph_metadata(self, payload: bytes, metadata: Metadata) -> bytes:
        return graph_message(await graph_facts(self._directory, _scope(metadata), self._timeout_s))

    def _fail(self, call_id: int, error: SalverError | MalformedMessageError) -> None:
        if isinstance(error, MalformedMessageError):
            self._service.refuse_bytes(call_id, error, "SeldonModelMetadataRequest")
            return
        self._service.front.fail(call_id, code_of(error), status_message(str(error)))
        self._service.on_refused("grpc", reason_of(error))


def _scope(metadata: Metadata) -> str:
    name, namespace = _text(metadata, b"seldon"), _text(metadata, b"namespace")
    if not name:
        return ""
    return SELDON + (f"{namespace}/{name}" if namespace else name)


def _text(metadata: Metadata, key: bytes) -> str:
    return header_of(metadata, key).decode("latin-1")
