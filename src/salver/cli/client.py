"""Talking to a server over HTTP/1.1: the only module of the command line that opens a socket.

Owns the connection (kept alive between requests), deadlines, TLS, the key, and the turning of
everything that can go wrong into one line that says what to do. Knows that the Kubernetes API
answers errors as `Status` and sends warnings as headers, and nothing else of its contents.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from salver.errors import CommandFailed, SettingsError

DEFAULT_SERVER = "http://127.0.0.1:8080"
_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_MOST_LINE_BYTES = 64 << 20

JSON_TYPE = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class ApiError(CommandFailed):
    """The server refused; `problems` has its message and then each cause that it names."""

    def __init__(self, status: int, reason: str, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.status = status
        self.reason = reason
        self.problems = problems


class Answer(NamedTuple):
    """A complete response whose status is below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `CommandFailed`."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            start = self.body[:60].decode("utf-8", "replace")
            raise CommandFailed(
                f"the server answered no JSON but {start!r}; is --server right?"
            ) from error


class Client:
    """One server. `on_warning` gets the text of every warning that it sends."""

    def __init__(
        self,
        server: str,
        *,
        api_key: str = "",
        timeout_s: float = 30.0,
        cacert: str = "",
        on_warning: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.server = server.rstrip("/") if "://" in server else f"http://{server.rstrip('/')}"
        self._host, self._port, self._prefix, self._is_tls = _split(self.server)
        self._api_key = api_key
        self._timeout_s = timeout_s or None
        self._tls = _tls_context(cacert) if self._is_tls else None
        self._on_warning = on_warning
        self._kept: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Closes the connection that is kept for the next request, if any."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON_TYPE,
        accept: str = JSON_TYPE,
    ) -> Answer:
        """One request and its whole answer. Raises `ApiError` for a status of 400 or more."""
        headers = self._headers(accept, content_type if body is not None else "")
        target = self._target(path, query)
        was_kept = self._kept is not None
        try:
            response = self._exchange(method, target, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            # A server may close an idle connection at any time; a new one settles it.
            self.close()
            if not was_kept or method not in _SAFE_TO_REPEAT:
                raise self._unreachable(error) from error
            response = self._exchange_or_fail(method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        return self._checked(response)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The JSON of a GET."""
        return self.send("GET", path, query=query).json()

    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = JSON_TYPE,
        idle_s: float | None = None,
    ) -> Iterator[bytes]:
        """The lines of an answer as they come, on a connection of their own.

        Ends when the server ends it. Raises `TimeoutError` if nothing came for `idle_s`.
        """
        connection = self._connect()
        try:
            try:
                connection.request(
                    "GET", self._target(path, query), headers=self._headers(accept, "")
                )
                # An answer that ends with the connection takes the socket from it.
                sock = connection.sock
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
            self._checked_head(response)
            sock.settimeout(idle_s)
            yield from _lines(response)
        finally:
            connection.close()

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._kept or self._connect()
        self._kept = connection
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        if response.will_close:
            self.close()
        return response, content

    def _exchange_or_fail(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            return self._exchange(method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error

    def _checked(self, exchanged: tuple[http.client.HTTPResponse, bytes]) -> Answer:
        response, content = exchanged
        for text in response.headers.get_all("Warning", []):
            self._on_warning(warning_text(text))
        if response.status >= 400:
            raise api_error(response.status, content, self.server)
        return Answer(response.status, dict(response.headers.items()), content)

    def _checked_head(self, response: http.client.HTTPResponse) -> None:
        if response.status >= 400:
            raise api_error(response.status, response.read(1 << 20), self.server)

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._tls
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _headers(self, accept: str, content_type: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": "salver"}
        if content_type:
            headers["Content-Type"] = content_type
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return headers

    def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        given = {key: value for key, value in (query or {}).items() if value != ""}
        return self._prefix + path + (f"?{urlencode(given)}" if given else "")

    def _unreachable(self, error: Exception) -> CommandFailed:
        if isinstance(error, TimeoutError):
            return CommandFailed(
                f"no answer from {self.server} within {self._timeout_s:g} s; "
                "allow more with --request-timeout"
            )
        hint = "check --server"
        if isinstance(error, ConnectionRefusedError) and self._host in _LOCAL_HOSTS:
            hint = "start one with: salver serve"
        elif isinstance(error, ssl.SSLCertVerificationError):
            hint = "give the authority that signed it with --cacert"
        elif isinstance(error, ssl.SSLError):
            hint = f"it may speak no TLS: try {self.server.replace('https:', 'http:', 1)}"
        return CommandFailed(f"cannot reach {self.server}: {_why(error)}; {hint}")


def api_error(status: int, content: bytes, server: str) -> ApiError:
    """The error that an answer stands for: a `Status`, an `{"error": ...}`, or only a number."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    message = str(fields.get("message") or fields.get("error") or "")
    reason = str(fields.get("reason") or "")
    if not message:
        message = f"{server} answered {status} {http.client.responses.get(status, '')}".strip()
    if status in (401, 403):
        message += "; give a key with --api-key or SALVER_API_KEY"
    details = fields.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return ApiError(status, reason, (message, *_cause_lines(causes or [], message)))


def _cause_lines(causes: list[Any], message: str) -> Iterator[str]:
    """One line for each cause that the message does not hold already."""
    for cause in causes:
        text = str(cause.get("message", "")) if isinstance(cause, dict) else str(cause)
        field = str(cause.get("field", "")) if isinstance(cause, dict) else ""
        if text and text not in message:
            yield f"  {field}: {text}" if field and field not in text else f"  {text}"


def warning_text(header: str) -> str:
    """What a `Warning: 299 - "text"` header says."""
    start, end = header.find('"'), header.rfind('"')
    if start < 0 or end <= start:
        return header
    return header[start + 1 : end].replace('\\"', '"').replace("\\\\", "\\")


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            line = response.readline(_MOST_LINE_BYTES)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            # Cut off: whoever reads asks again, and hears then why if the server is gone.
            return
        if not line:
            return
        yield line.rstrip(b"\r\n")


def _split(server: str) -> tuple[str, int | None, str, bool]:
    parts = urlsplit(server)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError([f"--server: {server!r} is no address; give such as {DEFAULT_SERVER}"])
    return host, port, parts.path.rstrip("/"), parts.scheme == "https"


def _tls_context(cacert: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cacert or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError([f"--cacert: {cacert}: {_why(error)}"]) from error


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError):
        return "it closed the connection without an answer"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"it speaks no HTTP ({type(error).__name__})"
