"""What is logged and traced of a request that is handed on whole: when it came, what it got."""

from __future__ import annotations

from types import TracebackType

from starlette.types import Message, Scope, Send

from salver.server.http.observe import answered_forward
from salver.server.observe import REQUEST_ID, RequestObserver
from salver.telemetry.trace import TRACEPARENT


class SeenForward:
    """One request, for as long as its context lasts; `send` takes its answer."""

    def __init__(self, observer: RequestObserver, name: str, scope: Scope, send: Send) -> None:
        """`name` is the service's."""
        self._observer = observer
        self._name = name
        self._scope = scope
        self._send = send
        self._status = 0
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.observation = observer.begin(
            headers.get(TRACEPARENT, b""), headers.get(REQUEST_ID, b"")
        )
        self._length = headers.get(b"content-length", b"")

    async def send(self, message: Message) -> None:
        """Passes the answer on, with the ids of the request and of its span."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            told = self.observation.headers()
            names = {name for name, _ in told}
            others = [each for each in message.get("headers", ()) if each[0] not in names]
            message = {**message, "headers": [*others, *told]}
        await self._send(message)

    def __enter__(self) -> SeenForward:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        size = int(self._length) if self._length.isdigit() else 0
        method, path = str(self._scope["method"]), str(self._scope["path"])
        answered = answered_forward(
            method, path, self._name, size, self._status, is_cut=kind is not None
        )
        self._observer.end(self.observation, answered)
