"""Server reflection (`grpc.reflection.v1` and `v1alpha`): which services there are, and what their
messages look like, for grpcurl and other clients that have no `.proto`.

The descriptors are built when somebody asks for the first time. Both versions have the same
messages, and an answer has the form of neither in particular.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from salver.server.grpc.fields import (
    MalformedMessageError,
    bytes_field,
    number_field,
    read_fields,
    text_field,
)
from salver.server.grpc.ports import Code, GrpcStream, StreamError, StreamHandler

if TYPE_CHECKING:
    from salver.protocol.service_files import ServiceFiles

_PATHS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    for version in ("v1", "v1alpha")
)
_HOST, _BY_NAME, _BY_SYMBOL, _BY_EXTENSION, _EXTENSIONS, _LIST = 1, 3, 4, 5, 6, 7


class Reflection:
    """Answers reflection streams about the methods of one server."""

    def __init__(self, paths: Collection[str]) -> None:
        """`paths` are those of all other methods that are served."""
        self._paths = frozenset((*paths, *_PATHS))
        self._files: ServiceFiles | None = None

    def methods(self) -> Mapping[str, StreamHandler]:
        """Handlers by path."""
        return dict.fromkeys(_PATHS, self.run)

    async def run(self, stream: GrpcStream) -> None:
        """Answers each message of the stream, in order."""
        while (message := await stream.receive()) is not None:
            try:
                await stream.send(self.answer(bytes(message)))
            except (MalformedMessageError, UnicodeDecodeError) as error:
                raise StreamError(
                    Code.INVALID_ARGUMENT, f"the message is no ServerReflectionRequest: {error}"
                ) from error

    def answer(self, request: bytes) -> bytes:
        """The ServerReflectionResponse. Raises `MalformedMessageError`, `UnicodeDecodeError`."""
        host, number, value = b"", 0, b""
        for field, content in read_fields(request):
            if not isinstance(content, bytes):
                raise MalformedMessageError(f"field {field} is no text")
            if field == _HOST:
                host = content
            elif field in (_BY_NAME, _BY_SYMBOL, _BY_EXTENSION, _EXTENSIONS, _LIST):
                number, value = field, content
        head = (bytes_field(1, host) if host else b"") + bytes_field(2, request)
        return head + self._said(number, value)

    def _said(self, number: int, value: bytes) -> bytes:
        files = self._described()
        if number == _LIST:
            services = (bytes_field(1, text_field(1, name)) for name in files.services)
            return bytes_field(6, b"".join(services))
        if number == _EXTENSIONS:
            name = value.decode()
            known = files.is_message(name)
            return bytes_field(5, text_field(1, name)) if known else _not_found(name)
        if number == _BY_EXTENSION:
            return _not_found("such an extension")
        if number not in (_BY_NAME, _BY_SYMBOL):
            return _error(
                Code.INVALID_ARGUMENT, "the request asks for nothing: see reflection.proto"
            )
        name = value.decode()
        found = files.named(name) if number == _BY_NAME else files.with_symbol(name)
        if found is None:
            return _not_found(name)
        return bytes_field(4, b"".join(bytes_field(1, each) for each in found))

    def _described(self) -> ServiceFiles:
        if self._files is None:
            from salver.protocol.service_files import ServiceFiles

            self._files = ServiceFiles(self._paths)
        return self._files


def _not_found(what: str) -> bytes:
    return _error(Code.NOT_FOUND, f"there is no {what[:200]} here: list the services")


def _error(code: Code, message: str) -> bytes:
    return bytes_field(7, number_field(1, int(code)) + text_field(2, message))
