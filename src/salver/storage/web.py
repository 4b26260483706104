"""A small HTTP client for downloads, blocking, on the standard library.

Owns redirects (never from https to http; secrets only to the host they are for), proxies,
certificates, and which failures are worth another try. Refuses to keep anything.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from salver.errors import StorageError
from salver.storage.ports import Checksum, Interrupted, SourceChanged, Unreachable
from salver.storage.transfer import Transfer
from salver.storage.uris import shown

READ_TIMEOUT_S = 30.0
_MOST_REDIRECTS = 10
_CHUNK = 1 << 18
_MOST_JSON_BYTES = 64 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_AGENT = {"User-Agent": "salver", "Accept-Encoding": "identity"}


class Answer:
    """A response whose head has come. `url` is where it came from in the end."""

    def __init__(self, status: int, url: str, headers: Any, stream: IO[bytes]) -> None:
        self.status = status
        self.url = url
        self._headers = headers
        self._stream = stream

    def header(self, name: str) -> str:
        """A header's value; empty if it is not there."""
        value = self._headers.get(name)
        return str(value) if value is not None else ""

    def headers(self, name: str) -> list[str]:
        """All values of a header."""
        return [str(value) for value in self._headers.get_all(name) or []]

    @property
    def length(self) -> int | None:
        """The announced length of this body."""
        text = self.header("Content-Length")
        return int(text) if text.isdigit() else None

    def chunks(self, uri: str, transfer: Transfer) -> Iterator[bytes]:
        """The body. Raises `Interrupted` if it breaks off."""
        while True:
            transfer.check()
            try:
                chunk = self._stream.read1(_CHUNK)  # type: ignore[attr-defined]
            except (OSError, http.client.HTTPException) as error:
                transfer.check()
                raise Interrupted(
                    f"{uri}: the connection broke off ({_reason(error)}); try again"
                ) from error
            if not chunk:
                return
            yield chunk

    def read_all(self, uri: str, transfer: Transfer) -> bytes:
        """The whole body of an answer that is small."""
        whole = bytearray()
        for chunk in self.chunks(uri, transfer):
            whole += chunk
            if len(whole) > _MOST_JSON_BYTES:
                raise StorageError(f"{uri}: the answer is endless; is it the right address?")
        if self.length is not None and len(whole) < self.length:
            raise Interrupted(f"{uri}: the connection broke off; try again")
        return bytes(whole)

    def close(self) -> None:
        """Hangs up."""
        with suppress(OSError):
            self._stream.close()


class WebClient:
    """Opens URLs."""

    def __init__(
        self, environ: Mapping[str, str], *, ca_pem: str = "", verifies: bool = True
    ) -> None:
        self._environ = environ
        self._ca_pem = ca_pem
        self._verifies = verifies

    @contextmanager
    def get(
        self,
        url: str,
        transfer: Transfer,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> Iterator[Answer]:
        """The answer to a GET, redirects followed. `secrets` are headers for this host alone.

        Raises `StorageError`, a kind of it that says what to do, for a status not accepted.
        """
        url, own = _without_user(url)
        answer = self._follow(url, {**(headers or {})}, {**own, **(secrets or {})}, transfer)
        try:
            if answer.status not in accept:
                raise _failure(answer, transfer.uri)
            yield answer
        finally:
            answer.close()

    def _follow(
        self, url: str, headers: dict[str, str], secrets: dict[str, str], transfer: Transfer
    ) -> Answer:
        home = _origin(url)
        for _ in range(_MOST_REDIRECTS):
            private = secrets if _origin(url) == home else {}
            answer = self._open(url, {**_AGENT, **headers, **private}, transfer)
            target = answer.header("Location")
            if answer.status not in _REDIRECTS or not target:
                return answer
            answer.close()
            following = urljoin(url, target)
            if urlsplit(following).scheme not in ("http", "https"):
                raise StorageError(f"{transfer.uri}: it redirects to {shown(following)}; refused")
            if url.startswith("https:") and not following.startswith("https:"):
                raise StorageError(
                    f"{transfer.uri}: it redirects from https to {shown(following)}, which is not "
                    "encrypted; refused"
                )
            url = following
        raise StorageError(
            f"{transfer.uri}: it redirects more than {_MOST_REDIRECTS} times; refused"
        )

    def _open(self, url: str, headers: dict[str, str], transfer: Transfer) -> Answer:
        request = urllib.request.Request(url, headers=headers)
        timeout_s = min(READ_TIMEOUT_S, transfer.remaining_s())
        try:
            found = self._opener(url).open(request, timeout=timeout_s)
            return Answer(found.status, url, found.headers, found)
        except urllib.error.HTTPError as error:
            return Answer(error.code, url, error.headers, error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            transfer.check()
            raise _contact_failure(error, url, transfer.uri) from error

    def _opener(self, url: str) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context() if url.startswith("https:") else None
        if context is not None and self._ca_pem:
            context.load_verify_locations(cadata=self._ca_pem)
        if context is not None and not self._verifies:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return urllib.request.build_opener(
            _NoRedirects(),
            urllib.request.ProxyHandler(_proxies(self._environ, url)),
            urllib.request.HTTPSHandler(context=context),
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _proxies(environ: Mapping[str, str], url: str) -> dict[str, str]:
    host = urlsplit(url).hostname or ""
    no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if urllib.request.proxy_bypass_environment(host, {"no": no_proxy}):  # type: ignore[attr-defined]
        return {}
    names = {"http": ("http_proxy",), "https": ("https_proxy", "HTTPS_PROXY")}
    return {
        scheme: environ[name]
        for scheme, each in names.items()
        for name in each
        if environ.get(name)
    }


def checksum_of(answer: Answer) -> Checksum | None:
    """The checksum of the whole file, if the answer's headers have one. (`Content-MD5` may be
    that of a part.)"""
    for value in [*answer.headers("Repr-Digest"), *answer.headers("Digest")]:
        for word in value.split(","):
            name, _, text = word.strip().partition("=")
            if name.lower() == "sha-256":
                return _from_base64("sha256", text.strip(":"))
    for name, algorithm in (("x-amz-checksum-sha256", "sha256"), ("Content-MD5", "md5")):
        if answer.header(name) and answer.status == 200:
            return _from_base64(algorithm, answer.header(name))
    for value in answer.headers("x-goog-hash"):
        for word in value.split(","):
            if word.strip().startswith("md5="):
                return _from_base64("md5", word.strip()[4:])
    for name, algorithm in (("x-checksum-sha256", "sha256"), ("x-checksum-sha1", "sha1")):
        if answer.header(name):
            return Checksum(algorithm, answer.header(name).lower())
    return None


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _from_base64(algorithm: str, text: str) -> Checksum | None:
    try:
        return Checksum(algorithm, base64.b64decode(text, validate=True).hex())
    except ValueError:
        return None


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    if not parts.username:
        return url, {}
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    secret = basic(unquote(parts.username), unquote(parts.password or ""))
    return bare, {"Authorization": secret}


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no byte for {READ_TIMEOUT_S:g} s"
    return str(inner) or type(inner).__name__


def _contact_failure(error: Exception, url: str, uri: str) -> StorageError:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(inner, ssl.SSLCertVerificationError):
        return StorageError(
            f"{uri}: the certificate of {host} is not trusted ({inner.verify_message}); give the "
            "certificate of its authority"
        )
    if isinstance(inner, OSError | http.client.HTTPException):
        return Unreachable(f"{uri}: {host} cannot be reached ({_reason(error)}); is it up?")
    return StorageError(f"{uri}: {_reason(error)}; check the address")


def _failure(answer: Answer, uri: str) -> StorageError:
    host, status = urlsplit(answer.url).netloc.rpartition("@")[2], answer.status
    if status in (404, 410):
        return StorageError(f"{uri}: there is nothing, {host} says ({status}); check the path")
    if status in (401, 403, 407):
        return StorageError(
            f"{uri}: {host} refuses access ({status}); check the credentials and what they permit"
        )
    if status in (412, 416):
        return SourceChanged(f"{uri}: it has changed while it was fetched; fetch it again")
    if status in (408, 425, 429) or status >= 500:
        return Interrupted(f"{uri}: {host} cannot serve it now ({status}); try again later")
    return StorageError(f"{uri}: {host} answers {status}; check the address")
