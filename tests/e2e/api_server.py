"""The admin API alone, in a process of its own: its listener, its store, and no models.

`python -m tests.e2e.api_server [STATE_FILE]` prints its port; `serving_api` runs that.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.resources import JsonObject, ObjectRef
from salver.engine.directory import ModelDirectory
from salver.errors import ManifestError, ResourceNotFound
from salver.server.apis.routes import build_api_routes
from salver.server.http.listener import HttpListener
from salver.settings import ServeSettings
from salver.spec.kinds import RESOURCE_TYPES, ResourceType
from tests.fakes import FakeCatalog


class StrictAdmission:
    """Knows three fields of a predictor, and warns of a fourth."""

    KNOWN = ("minReplicas", "maxReplicas", "model", "sklearn", "logger")

    def admit(self, obj: JsonObject, old: JsonObject | None) -> tuple[JsonObject, Sequence[str]]:
        if obj["kind"] != "InferenceService":
            return obj, ()
        predictor = obj.get("spec", {}).get("predictor")
        if not isinstance(predictor, dict):
            raise ManifestError(["is required"], [("spec.predictor", "is required")])
        causes = [
            (f"spec.predictor.{name}", "no such field; did you mean minReplicas?")
            for name in predictor
            if name not in self.KNOWN
        ]
        if not isinstance(predictor.get("minReplicas", 0), int):
            causes.append(("spec.predictor.minReplicas", "must be an integer"))
        if causes:
            raise ManifestError([f"{field}: {message}" for field, message in causes], causes)
        warnings = ["spec.predictor.logger has no effect here"] if "logger" in predictor else []
        return obj, warnings


def schema_of(type: ResourceType, version: str) -> JsonObject:
    if type.kind != "InferenceService":
        return {"type": "object", "description": type.kind}
    return {
        "$ref": "#/$defs/Service",
        "$defs": {
            "Service": {
                "type": "object",
                "description": "A model and how it is served.",
                "properties": {"spec": {"$ref": "#/$defs/Spec"}},
            },
            "Spec": {
                "type": "object",
                "description": "What is wanted.",
                "properties": {
                    "predictor": {"type": "object", "description": "The part that predicts."}
                },
            },
        },
    }


async def read_logs(
    namespace: str, pod: str, *, follow: bool, tail: int | None
) -> AsyncIterator[bytes]:
    if pod != "iris-0":
        raise ResourceNotFound(f'pods "{pod}" not found')
    lines = [b"one\n", b"two\n", b"three\n"]
    for line in lines[-tail:] if tail is not None else lines:
        yield line


def add_pod(store: SqliteResourceStore) -> None:
    store.create(
        ObjectRef("", "pods", "default", "iris-0"),
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {},
            "spec": {"containers": [{"name": "kserve-container"}]},
            "status": {
                "phase": "Running",
                "containerStatuses": [{"name": "kserve-container", "ready": True}],
            },
        },
    )


async def main(path: Path | None) -> None:
    store = SqliteResourceStore(
        path, now=lambda: datetime.now(UTC), new_uid=lambda: str(uuid.uuid4())
    )
    add_pod(store)
    routes = build_api_routes(
        store, StrictAdmission(), RESOURCE_TYPES, schema_of=schema_of, read_logs=read_logs
    )
    settings = ServeSettings(http_port=0)
    app = Starlette(routes=routes)
    directory = ModelDirectory(FakeCatalog())
    listener = HttpListener(directory, app, settings, count_status=lambda status: None)
    await listener.start()
    print(listener.port, flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await listener.drain(5.0)
    store.close()


@contextlib.contextmanager
def serving_api(folder: Path) -> Iterator[str]:
    """The URL of a new server whose state lies in the folder; it must end without complaint."""
    log = folder / "log.txt"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.api_server", str(folder / "state" / "state.db")],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        assert port, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        server.stdout.close()
    assert server.returncode == 0
    assert "Traceback" not in log.read_text()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
