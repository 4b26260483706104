"""The small methods: liveness, readiness, metadata, repository, health; and the refused ones.

Requests and responses are a few strings, so they are read and written with `fields.py`.
Each method is a function from request bytes to response bytes; loading and unloading take
time and run as tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from salver import __version__
from salver.engine.model_facts import facts_of, facts_of_versions
from salver.engine.on_demand import metadata_of
from salver.engine.ports import ModelCatalog, ModelStatus
from salver.engine.shared_memory import RegionExistsError
from salver.errors import ErrorKind, ModelNotFound, SalverError
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.controls import NotAllowedError, ServerControls
from salver.server.extensions import EXTENSIONS
from salver.server.grpc import fields
from salver.server.grpc.controls import ControlMethod, control_methods
from salver.server.grpc.ports import Code, GrpcFront, Metadata, UnaryHandler
from salver.server.grpc.shared_memory import SharedMemoryMethods
from salver.server.grpc.statistics import config_response, statistics_response
from salver.server.grpc.status import code_of, reason_of, status_message
from salver.server.model_config import config_of
from salver.server.repository import check_load_parameters
from salver.server.statistics import figures_of

_HEALTH = "/grpc.health.v1.Health/"
_SERVICE = "inference.GRPCInferenceService"
_SERVING, _NOT_SERVING = 1, 2

Method = Callable[[bytes], bytes]
SlowMethod = Callable[[bytes], Awaitable[bytes]]


class ControlMethods:
    """Every unary method but ModelInfer."""

    def __init__(
        self,
        front: GrpcFront,
        catalog: ModelCatalog,
        *,
        on_refused: Callable[[str, str], None],
        timeout_s: float = 30.0,
        memory: SharedMemoryMethods | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        controls: ServerControls | None = None,
    ) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._memory = memory or SharedMemoryMethods(None, lambda: False)
        self._extensions = extensions
        self._controls = controls
        self._front = front
        self._catalog = catalog
        self._on_refused = on_refused
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def methods(self, prefix: str) -> Mapping[str, UnaryHandler]:
        """Handlers by path."""
        quick: dict[str, Method] = {
            "ServerLive": lambda _: fields.number_field(1, 1),
            "ServerReady": lambda _: fields.number_field(1, self._catalog.is_ready),
            "ServerMetadata": lambda _: _server_metadata(self._extensions),
            "ModelReady": self._model_ready,
            "RepositoryIndex": self._repository_index,
            "ModelStatistics": self._model_statistics,
            **self._memory.methods(),
        }
        slow: dict[str, SlowMethod] = {
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        controls = self._controls
        guarded = control_methods(controls, self._catalog) if controls is not None else {}
        return {
            **{prefix + name: self._answered(method) for name, method in quick.items()},
            **{prefix + name: self._guarded(method) for name, method in guarded.items()},
            **{prefix + name: self._answered_later(method) for name, method in slow.items()},
            _HEALTH + "Check": self._answered(self._health),
            _HEALTH + "Watch": self._refused("Watch", "call Check again and again"),
        }

    def _answered(self, method: Method) -> UnaryHandler:
        def handle(call_id: int, payload: bytes, _: float | None, metadata: Metadata) -> None:
            try:
                answer = method(payload)
            except (SalverError, fields.MalformedMessageError) as error:
                self._fail(call_id, error)
            else:
                self._front.respond(call_id, answer)

        return handle

    def _guarded(self, method: ControlMethod) -> UnaryHandler:
        def handle(call_id: int, payload: bytes, left_s: float | None, metadata: Metadata) -> None:
            def check_change() -> None:
                assert self._controls is not None
                # No page in a browser speaks gRPC, so its host is of no matter.
                headers = {"host": "localhost", **_texts_of(metadata)}
                self._controls.check_change(self._front.peer, headers)

            answered = self._answered(lambda message: method(message, check_change))
            answered(call_id, payload, left_s, metadata)

        return handle

    def _answered_later(self, method: SlowMethod) -> UnaryHandler:
        async def run(call_id: int, payload: bytes) -> None:
            try:
                answer = await method(payload)
            except (SalverError, fields.MalformedMessageError) as error:
                self._fail(call_id, error)
            else:
                self._front.respond(call_id, answer)

        def handle(call_id: int, payload: bytes, _: float | None, metadata: Metadata) -> None:
            task = asyncio.get_running_loop().create_task(run(call_id, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return handle

    def _refused(self, name: str, hint: str) -> UnaryHandler:
        message = f"{name} is not offered by Salver; {hint}"

        def handle(call_id: int, payload: bytes, _: float | None, metadata: Metadata) -> None:
            self._front.fail(call_id, Code.UNIMPLEMENTED, message)
            self._on_refused("grpc", ErrorKind.UNSUPPORTED.reason)

        return handle

    def _fail(self, call_id: int, error: SalverError | fields.MalformedMessageError) -> None:
        if isinstance(error, fields.MalformedMessageError):
            code = Code.INVALID_ARGUMENT
            message = f"the request is no protobuf message: {error}; encode it with the .proto"
            reason = ErrorKind.INVALID_INPUT.reason
        else:
            code, message, reason = code_of(error), str(error), reason_of(error)
            if isinstance(error, RegionExistsError):
                code = Code.ALREADY_EXISTS
            elif isinstance(error, NotAllowedError):
                code = Code.UNAUTHENTICATED if error.needs_key else Code.PERMISSION_DENIED
                reason = "not_allowed"
        self._front.fail(call_id, code, status_message(message))
        self._on_refused("grpc", reason)

    def _model_ready(self, payload: bytes) -> bytes:
        served = self._catalog.find(*fields.name_and_version(payload))
        return fields.number_field(1, served.is_ready)

    async def _model_metadata(self, payload: bytes) -> bytes:
        name, version = fields.name_and_version(payload)
        served = self._catalog.find(name, version)
        versions = self._catalog.versions(name)
        metadata = await metadata_of(served, self._timeout_s)
        return _model_metadata(name, tuple(versions), metadata)

    async def _model_config(self, payload: bytes) -> bytes:
        name, version = fields.name_and_version(payload)
        served = self._catalog.find(name, version)
        metadata = await metadata_of(served, self._timeout_s)
        return config_response(config_of(name, metadata, next(iter(facts_of(served)), None)))

    def _model_statistics(self, payload: bytes) -> bytes:
        name, version = fields.name_and_version(payload)
        names = [name] if name else [each.name for each in self._catalog.statuses()]
        found = [
            figures_of(facts)
            for each in dict.fromkeys(names)
            for facts in facts_of_versions(self._catalog, each, version)
        ]
        return statistics_response(found)

    def _repository_index(self, payload: bytes) -> bytes:
        ready_only = any(number == 2 and value for number, value in fields.read_fields(payload))
        return b"".join(
            fields.bytes_field(1, _index_entry(status))
            for status in self._catalog.statuses()
            if status.state == "READY" or not ready_only
        )

    async def _load(self, payload: bytes) -> bytes:
        check_load_parameters(_parameter_names(payload))
        name = _repository_model(payload)
        await self._catalog.load(name)
        return _loaded(name)

    async def _unload(self, payload: bytes) -> bytes:
        name = _repository_model(payload)
        await self._catalog.unload(name)
        return _loaded(name)

    def _health(self, payload: bytes) -> bytes:
        service, _ = fields.name_and_version(payload)
        if service not in ("", _SERVICE):
            raise ModelNotFound(
                f"no service {service!r} here; ask for {_SERVICE!r}, or leave the name empty"
            )
        is_serving = self._catalog.is_ready and not self._catalog.is_draining
        return fields.number_field(1, _SERVING if is_serving else _NOT_SERVING)


def _texts_of(metadata: Metadata) -> dict[str, str]:
    """The metadata that are text, as headers."""
    return {key: value for key, value in metadata if isinstance(value, str)}


def _repository_model(payload: bytes) -> str:
    """KServe sends the model's name in field 1; Triton a repository there, the name in 2."""
    first, second = fields.name_and_version(payload)
    return second or first


def _parameter_names(payload: bytes) -> list[str]:
    """The keys of a repository request's parameters (field 3, a map)."""
    return [
        key.decode(errors="replace")
        for number, entry in fields.read_fields(payload)
        if number == 3 and isinstance(entry, bytes)
        for part, key in fields.read_fields(entry)
        if part == 1 and isinstance(key, bytes)
    ]


def _loaded(name: str) -> bytes:
    """KServe's response (name, done); Triton's has no fields, and its clients ignore these."""
    return fields.text_field(1, name) + fields.number_field(2, 1)


def _server_metadata(extensions: Sequence[str]) -> bytes:
    return b"".join(
        (
            fields.text_field(1, "salver"),
            fields.text_field(2, __version__),
            *(fields.text_field(3, extension) for extension in extensions),
        )
    )


def _model_metadata(name: str, versions: tuple[str, ...], metadata: ModelMetadata) -> bytes:
    return b"".join(
        (
            fields.text_field(1, name),
            *(fields.bytes_field(2, version.encode()) for version in versions),
            fields.text_field(3, metadata.platform),
            *(fields.bytes_field(4, _tensor_metadata(tensor)) for tensor in metadata.inputs),
            *(fields.bytes_field(5, _tensor_metadata(tensor)) for tensor in metadata.outputs),
        )
    )


def _tensor_metadata(tensor: TensorMetadata) -> bytes:
    return b"".join(
        (
            fields.text_field(1, tensor.name),
            fields.text_field(2, tensor.datatype),
            fields.integers_field(3, tensor.shape),
        )
    )


def _index_entry(status: ModelStatus) -> bytes:
    return b"".join(
        (
            fields.text_field(1, status.name),
            fields.text_field(2, status.version),
            fields.text_field(3, status.state),
            fields.text_field(4, status.reason),
        )
    )
