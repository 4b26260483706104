"""A real `salver serve` in a process of its own, for the end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx


class Server:
    """A running server; `url` and `grpc` are where it listens."""

    def __init__(self, process: subprocess.Popen[str], up: dict[str, Any], log: Path) -> None:
        self.process = process
        self.up = up
        self.url: str = up["http"]
        self.grpc: str = up["grpc"] or ""
        self.log = log

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def get(self, path: str, **extra: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **extra)

    def post(self, path: str, body: Any = None, **extra: Any) -> httpx.Response:
        if body is not None:
            extra["content"] = body if isinstance(body, bytes) else json.dumps(body)
            extra.setdefault("headers", {"content-type": "application/json"})
        return httpx.post(self.url + path, timeout=30, **extra)

    def put(self, path: str, body: Any) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return httpx.put(self.url + path, content=json.dumps(body), headers=headers, timeout=30)

    def delete(self, path: str) -> httpx.Response:
        return httpx.delete(self.url + path, timeout=30)

    def infer(self, model: str, rows: Any, datatype: str = "FP64", **extra: Any) -> httpx.Response:
        body = {
            "inputs": [
                {
                    "name": "input-0",
                    "shape": [len(rows), len(rows[0])],
                    "datatype": datatype,
                    "data": [value for row in rows for value in row],
                }
            ],
            **extra,
        }
        return self.post(f"/v2/models/{model}/infer", body)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        total = 0.0
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def descendants(self) -> list[int]:
        """The processes below the gateway: fork servers, then workers."""
        found: list[int] = []
        level = [self.process.pid]
        while level:
            children = []
            for pid in level:
                with contextlib.suppress(OSError):
                    for thread in Path(f"/proc/{pid}/task").iterdir():
                        text = (thread / "children").read_text()
                        children += [int(child) for child in text.split()]
            found += children
            level = children
        return found

    def workers(self) -> list[int]:
        """The worker processes: children of the fork servers."""
        direct = set()
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            direct |= {int(pid) for pid in (thread / "children").read_text().split()}
        return [pid for pid in self.descendants() if pid not in direct]

    def stop(self, timeout_s: float = 20.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "salver.cli.main", *arguments]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SALVER_")}


@contextlib.contextmanager
def serving(*arguments: str, start_timeout_s: float = 60.0) -> Iterator[Server]:
    """Starts `salver serve ARGUMENTS`, waits until it is up, stops it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                command(
                    "serve",
                    *arguments,
                    "--http-port",
                    "0",
                    "--log-format",
                    "json",
                    *(() if "--grpc-port" in arguments else ("--grpc-port", "0")),
                ),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                env=environment(),
                cwd=folder,
            )
        try:
            yield Server(process, wait_up(process, log, start_timeout_s), log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def wait_up(process: subprocess.Popen[str], log: Path, timeout_s: float) -> dict[str, Any]:
    """The announcement that the server prints once it is up."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        text = log.read_text()
        for line in text.splitlines():
            if '"serving"' in line and line.startswith("{"):
                announcement: dict[str, Any] = json.loads(line)
                return announcement
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}: {text}")
        time.sleep(0.01)
    raise AssertionError(f"the server was not up in {timeout_s} s: {log.read_text()}")


def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    """Polls until the condition holds; fails the test if it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(0.02)
