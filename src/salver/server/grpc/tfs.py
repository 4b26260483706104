"""`tensorflow.serving.PredictionService` and `ModelService` over the directory, for every model.

Reads the ModelSpec of a request and hands its bytes on; a worker parses them. A MultiInference is
one call for each of its tasks, whose answers are put one behind the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from salver.engine.call import Call
from salver.engine.directory import ModelDirectory
from salver.engine.on_demand import metadata_of
from salver.engine.ports import ModelCatalog, ServedModel
from salver.errors import ErrorKind, InvalidInput, ModelNotReady, SalverError
from salver.inference.metadata import ModelMetadata
from salver.protocol.wire_codes import FIRST_TASK_AUX, REGRESS_AUX, Codec
from salver.server.grpc import tfs_messages
from salver.server.grpc.fields import MalformedMessageError, bytes_field
from salver.server.grpc.headers import named_by
from salver.server.grpc.ports import Code, Metadata, UnaryHandler
from salver.server.grpc.service import GrpcCall, InferenceService
from salver.server.grpc.status import code_of, reason_of, status_message
from salver.server.tfs_facts import find, version_statuses
from salver.server.tfs_reload import reload

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_MULTI = _PREDICTION + "MultiInference"
_MOST_TASKS = 16
_METHODS: Mapping[str, tuple[Codec, int]] = MappingProxyType(
    {
        _PREDICTION + "Predict": (Codec.TFS_GRPC, 0),
        _PREDICTION + "Classify": (Codec.TFS_EXAMPLES_GRPC, 0),
        _PREDICTION + "Regress": (Codec.TFS_EXAMPLES_GRPC, REGRESS_AUX),
    }
)
Tell = Callable[[bytes, Metadata], Awaitable[bytes]]


class TfsMethods:
    """Handlers of TensorFlow Serving's services, beside those of an `InferenceService`."""

    def __init__(
        self, service: InferenceService, directory: ModelDirectory, *, timeout_s: float
    ) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._service = service
        self._directory = directory
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()

    def methods(self) -> Mapping[str, UnaryHandler]:
        """Handlers by path."""
        return {
            **{path: self._asked(path, *each) for path, each in _METHODS.items()},
            _MULTI: self._multi,
            _PREDICTION + "GetModelMetadata": self._told(self._metadata),
            _MODEL + "GetModelStatus": self._told(self._status),
            _MODEL + "HandleReloadConfigRequest": self._told(self._reload),
        }

    def _asked(self, path: str, codec: Codec, aux: int) -> UnaryHandler:
        def handle(
            call_id: int, payload: bytes, time_left_s: float | None, metadata: Metadata
        ) -> None:
            service = self._service
            if service.is_oversized(call_id, payload):
                return
            try:
                spec = tfs_messages.request_spec(payload)
                served = find(self._directory, spec, self._seen(metadata))
            except (SalverError, MalformedMessageError) as error:
                self._fail(call_id, error)
                return
            now_s, deadline_s = service.span(time_left_s)
            call = GrpcCall(service, call_id, payload, now_s, deadline_s, metadata)
            call.codec, call.aux = int(codec), aux
            service.submit(call, served, path)

        return handle

    def _multi(
        self, call_id: int, payload: bytes, time_left_s: float | None, metadata: Metadata
    ) -> None:
        service = self._service
        if service.is_oversized(call_id, payload):
            return
        try:
            served = self._of_tasks(payload, metadata)
        except (SalverError, MalformedMessageError) as error:
            self._fail(call_id, error)
            return
        now_s, deadline_s = service.span(time_left_s)
        whole = GrpcCall(service, call_id, payload, now_s, deadline_s, metadata)
        whole.codec = int(Codec.TFS_EXAMPLES_GRPC)
        service.submit(whole, _Tasks(served), _MULTI)

    def _of_tasks(self, payload: bytes, metadata: Metadata) -> list[ServedModel]:
        """The model of each task, which must be the same one. Raises `RequestError`."""
        specs = tfs_messages.task_specs(payload)
        if not 0 < len(specs) <= _MOST_TASKS:
            raise InvalidInput(
                f"the request has {len(specs)} tasks: send from 1 to {_MOST_TASKS} of them"
            )
        if len({spec.name for spec in specs}) > 1:
            raise InvalidInput("the tasks of the request name several models: send one for each")
        catalog = self._seen(metadata)
        return [find(self._directory, spec, catalog) for spec in specs]

    def _seen(self, metadata: Metadata) -> ModelCatalog:
        return named_by(metadata, self._directory)

    def _told(self, tell: Tell) -> UnaryHandler:
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

    async def _metadata(self, payload: bytes, metadata: Metadata) -> bytes:
        wanted = tfs_messages.metadata_fields(payload)
        unknown = next((each for each in wanted if each != "signature_def"), None)
        if not wanted or unknown is not None:
            fact = "none" if unknown is None else repr(unknown[:64])
            raise InvalidInput(f"the request has {fact} in metadata_field: send 'signature_def'")
        spec = tfs_messages.request_spec(payload)
        served = find(self._directory, spec, self._seen(metadata))
        found = await metadata_of(served, self._timeout_s)
        return tfs_messages.metadata_response(spec.name, served.version, found)

    async def _status(self, payload: bytes, metadata: Metadata) -> bytes:
        spec = tfs_messages.request_spec(payload)
        found = version_statuses(self._directory, spec, self._seen(metadata))
        return tfs_messages.status_response(found)

    async def _reload(self, payload: bytes, metadata: Metadata) -> bytes:
        models = tfs_messages.declared_models(payload)
        if models is None:
            raise InvalidInput("the request has no model_config_list: send the list of all models")
        async with self._reloading:
            await reload(self._directory, models)
        return bytes_field(1, b"")

    def _fail(self, call_id: int, error: SalverError | MalformedMessageError) -> None:
        if isinstance(error, MalformedMessageError):
            self._service.refuse_bytes(call_id, error, "message of TensorFlow Serving's")
            return
        self._service.front.fail(call_id, _code(error), status_message(str(error)))
        self._service.on_refused("grpc", reason_of(error))


def _code(error: SalverError) -> Code:
    # A label that may not move yet: the client's order is wrong, not the server at rest.
    is_early = isinstance(error, ModelNotReady) and str(error).startswith("label ")
    return Code.FAILED_PRECONDITION if is_early else code_of(error)


class _Tasks:
    """The models of several tasks, asked together: each gets the request as one call of its own."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = models
        self.name = models[0].name
        self.version = models[0].version
        self.status = models[0].status
        self.is_ready = models[0].is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self._models[0].metadata

    def submit(self, call: Call) -> None:
        """Asks for all tasks; the first that fails is the answer."""
        gathered = _Gathered(call, len(self._models))
        for index, model in enumerate(self._models):
            model.submit(_TaskCall(gathered, index))


class _Gathered:
    """The answers of a request's tasks."""

    def __init__(self, call: Call, count: int) -> None:
        self.call = call
        self._answers: list[bytes | None] = [None] * count
        self._is_over = False

    def deliver(self, index: int, body: bytes) -> None:
        self._answers[index] = bytes(body)
        found = [each for each in self._answers if each is not None]
        if len(found) == len(self._answers) and not self._is_over:
            self._is_over = True
            # Protobuf's messages joined are one message with the results of all.
            self.call.deliver(b"".join(found), 0)

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self._is_over:
            self._is_over = True
            self.call.fail(kind, message)


class _TaskCall(Call):
    """One task of a request."""

    __slots__ = ("_gathered", "_index")

    def __init__(self, gathered: _Gathered, index: int) -> None:
        whole = gathered.call
        super().__init__(
            whole.codec,
            FIRST_TASK_AUX - index,
            whole.body,
            arrived_s=whole.arrived_s,
            deadline_s=whole.deadline_s,
        )
        self._gathered = gathered
        self._index = index

    def deliver(self, body: bytes, aux: int) -> None:
        self._gathered.deliver(self._index, body)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._gathered.fail(kind, message)

    def header(self, name: bytes) -> bytes:
        return self._gathered.call.header(name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._gathered.call.headers()
