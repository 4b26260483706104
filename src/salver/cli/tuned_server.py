"""A `salver serve` of the tuner's own: started with the settings to be tried, ended after."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from salver.errors import CommandFailed

_POLL_S = 0.05
_COMPILE_WAIT_S = 4.0
_STOP_S = 15.0


class TunedServer(NamedTuple):
    """Where it listens, and a request that its model answers."""

    host: str
    port: int
    path: str
    sample: bytes


@contextlib.contextmanager
def tuned_server(
    target: str, flags: Sequence[str], *, start_timeout_s: float
) -> Iterator[TunedServer]:
    """The server, ready and its model compiled. Raises `CommandFailed` with its own words."""
    with tempfile.TemporaryDirectory(prefix="salver-tune-") as folder:
        log = Path(folder) / "log"
        own = ("--http-port", "0", "--grpc-port", "-1", "--log-format", "json")
        command = [sys.executable, "-m", "salver.cli.main", "serve", target, *own, *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=output)
        try:
            yield _ready(process, log, start_timeout_s)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[bytes], log: Path, timeout_s: float) -> TunedServer:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        event = next((each for each in _events(log) if each.get("event") == "serving"), None)
        if event is not None:
            return _described(event)
        if process.poll() is not None:
            raise CommandFailed(f"tune: the server has ended: {_last_words(log)}")
        time.sleep(_POLL_S)
    raise CommandFailed(f"tune: the server was not ready within {timeout_s:.0f} s")


def _described(event: dict[str, Any]) -> TunedServer:
    """From what a server says once it is up: its address, and a curl line with a sample."""
    models: list[dict[str, Any]] = event.get("models") or []
    if len(models) != 1:
        raise CommandFailed(f"tune: the target holds {len(models)} models; name one model")
    words = shlex.split(str(event["try"]))
    base = urlsplit(event["http"])
    sample = words[words.index("-d") + 1] if "-d" in words else ""
    _await_compiled(event["http"], str(models[0]["name"]))
    path = f"/v2/models/{quote(str(models[0]['name']), safe='')}/infer"
    return TunedServer(base.hostname or "127.0.0.1", base.port or 80, path, sample.encode())


def _await_compiled(url: str, name: str) -> None:
    """Engines are built beside the first requests: what is measured is what comes after."""
    deadline_s = time.monotonic() + _COMPILE_WAIT_S
    address = f"{url}/salver/v1/models/{quote(name, safe='')}"
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                versions = json.load(answer)["versions"]
        except (OSError, ValueError, urllib.error.URLError):
            return
        if not any((each.get("compiled") or {}).get("is_pending") for each in versions):
            return
        time.sleep(_POLL_S)


def _events(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing; run salver serve to see why"
