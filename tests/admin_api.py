"""A small stand-in of the admin API: keeps objects in memory, answers as Kubernetes would.

For the tests of the command line, which need a server that says what the test wants it to.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from salver.cli.three_way import merge
from salver.spec.kinds import RESOURCE_TYPES, ResourceType

Json = dict[str, Any]
Key = tuple[str, str, str]


class AdminApi:
    """What the stand-in has; a test may put objects in and look at what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.warning = ""
        self.refusal: tuple[int, Json] | None = None
        self.version = 0
        self._history: list[tuple[int, str, Key, Json]] = []
        self._changed = threading.Condition()

    def put(self, obj: Json, event: str = "") -> Json:
        """Stores an object, as if a client or a controller had."""
        with self._changed:
            self.version += 1
            metadata = {"namespace": "default", **obj["metadata"]}
            metadata["resourceVersion"] = str(self.version)
            metadata.setdefault("creationTimestamp", "2026-11-21T08:00:00Z")
            stored = {**obj, "metadata": metadata}
            key = (_plural(obj), metadata["namespace"], metadata["name"])
            kind = event or ("MODIFIED" if key in self.objects else "ADDED")
            self.objects[key] = stored
            self._history.append((self.version, kind, key, stored))
            self._changed.notify_all()
            return stored

    def remove(self, key: Key) -> Json | None:
        """Deletes an object."""
        with self._changed:
            gone = self.objects.pop(key, None)
            if gone is not None:
                self.version += 1
                self._history.append((self.version, "DELETED", key, gone))
                self._changed.notify_all()
            return gone

    def changes(self, version: int, deadline_s: float) -> Iterator[tuple[int, str, Key, Json]]:
        """The changes since a version, as they come."""
        while True:
            with self._changed:
                found = [each for each in self._history if each[0] > version]
                if not found:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0:
                        return
                    self._changed.wait(left_s)
                    continue
            for each in found:
                yield each
                version = each[0]

    def bodies(self, method: str) -> list[Any]:
        """What was sent with that method."""
        return [body for how, _, body in self.asked if how == method]


def _plural(obj: Json) -> str:
    return next(each.plural for each in RESOURCE_TYPES if each.kind == obj["kind"])


def _status(code: int, reason: str, message: str) -> tuple[int, Json]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Nagle's algorithm and delayed acknowledgements would cost 40 ms for each event.
    disable_nagle_algorithm = True
    api: AdminApi

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        body = json.loads(raw) if raw else None
        self.api.asked.append((self.command, self.path, body))
        self.api.headers.append(dict(self.headers.items()))
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self.api.refusal is not None:
            self._answer(*self.api.refusal)
        elif parts.path in self.api.pages:
            self._send(200, *self.api.pages[parts.path])
        else:
            self._resource(parts.path.strip("/").split("/"), query, body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815  # http.server asks

    def _resource(self, parts: list[str], query: dict[str, str], body: Any) -> None:
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        known = next((each for each in RESOURCE_TYPES if rest[:1] == [each.plural]), None)
        if known is None:
            self._answer(*_status(404, "NotFound", "the server has no such resource"))
        elif len(rest) == 1 and self.command == "GET":
            self._list(known, namespace, query)
        elif len(rest) == 1:
            self._create(known, namespace, body, query)
        else:
            self._one(known, (known.plural, namespace or "default", rest[1]), rest[2:], body, query)

    def _create(self, known: ResourceType, namespace: str, body: Json, query: Json) -> None:
        key = (known.plural, namespace or "default", body["metadata"]["name"])
        if key in self.api.objects:
            self._answer(*_status(409, "AlreadyExists", f"{key[2]} is there already"))
        else:
            self._answer(201, body if "dryRun" in query else self.api.put(body))

    def _one(
        self, known: ResourceType, key: Key, sub: list[str], body: Any, query: dict[str, str]
    ) -> None:
        found = self.api.objects.get(key)
        if found is None and not self.headers.get("Content-Type", "").startswith(
            "application/apply-patch"
        ):
            group = f".{known.group}" if known.group else ""
            message = f'{known.plural}{group} "{key[2]}" not found'
            self._answer(*_status(404, "NotFound", message))
        elif self.command == "DELETE":
            self._answer(200, found if "dryRun" in query else self.api.remove(key))
        elif self.command == "PATCH" and sub == ["scale"]:
            self._answer(200, body)
        elif self.command == "PATCH":
            after = merge(found or {}, body)
            self._answer(200, after if "dryRun" in query else self.api.put(after))
        elif _TABLE in self.headers.get("Accept", ""):
            assert found is not None
            self._answer(200, _table([found]))
        else:
            self._answer(200, found)

    def _list(self, known: ResourceType, namespace: str, query: dict[str, str]) -> None:
        def is_wanted(key: Key, obj: Json) -> bool:
            fields = _pairs(query.get("fieldSelector", ""))
            labels = _pairs(query.get("labelSelector", ""))
            return (
                key[0] == known.plural
                and namespace in ("", key[1])
                and fields.get("metadata.name", key[2]) == key[2]
                and labels.items() <= (obj["metadata"].get("labels") or {}).items()
            )

        is_table = _TABLE in self.headers.get("Accept", "")
        if query.get("watch"):
            self._watch(is_wanted, query, is_table)
            return
        items = [obj for key, obj in self.api.objects.items() if is_wanted(key, obj)]
        metadata = {"resourceVersion": str(self.api.version)}
        if is_table:
            self._answer(200, {**_table(items), "metadata": metadata})
        else:
            self._answer(200, {"kind": "List", "metadata": metadata, "items": items})

    def _watch(self, is_wanted: Any, query: dict[str, str], is_table: bool) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        deadline_s = time.monotonic() + float(query.get("timeoutSeconds", 1))
        with contextlib.suppress(OSError):
            for _, kind, key, obj in self.api.changes(int(query["resourceVersion"]), deadline_s):
                if is_wanted(key, obj):
                    event = {"type": kind, "object": _table([obj]) if is_table else obj}
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, code: int, body: Any) -> None:
        self._send(code, "application/json", json.dumps(body).encode())

    def _send(self, code: int, content_type: str, content: bytes) -> None:
        self.send_response(code)
        if self.api.warning:
            self.send_header("Warning", f'299 - "{self.api.warning}"')
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


_TABLE = "as=Table"


def _pairs(selector: str) -> dict[str, str]:
    parts = (part.partition("=") for part in selector.split(",") if part)
    return {key: value for key, _, value in parts}


def _table(objects: list[Json]) -> Json:
    def ready(obj: Json) -> str:
        conditions = (obj.get("status") or {}).get("conditions") or []
        return next((each["status"] for each in conditions if each["type"] == "Ready"), "")

    names = [("Name", 0), ("URL", 0), ("Ready", 0), ("Revision", 1), ("Age", 0)]
    return {
        "kind": "Table",
        "metadata": {},
        "columnDefinitions": [
            {"name": name, "type": "string", "priority": priority} for name, priority in names
        ],
        "rows": [
            {
                "cells": [
                    obj["metadata"]["name"],
                    (obj.get("status") or {}).get("url", ""),
                    ready(obj),
                    f"{obj['metadata']['name']}-predictor-00001",
                    "3m",
                ],
                "object": {"metadata": obj["metadata"]},
            }
            for obj in objects
        ],
    }


@contextlib.contextmanager
def admin_api() -> Iterator[tuple[AdminApi, str]]:
    """The stand-in and its address, on a port that the system picks."""
    api = AdminApi()
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield api, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
