"""What a sink of the payload log offers, and which URL means which sink."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from salver.engine.payload_log import EventQueue
from salver.errors import StartupError
from salver.telemetry.registry import Registry


class Sink(Protocol):
    """Takes events from its queue until it is closed."""

    @property
    def queue(self) -> EventQueue: ...

    def start(self) -> None:
        """Begins to take events; needs a running event loop."""

    async def close(self, timeout_s: float) -> None:
        """Writes what is queued, within the time given; the rest is dropped and counted."""


def sink_for(url: str, registry: Registry) -> Sink:
    """The sink of a URL: http(s), or file:///... ending in .jsonl or .parquet.

    Raises `StartupError` for any other.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        from salver.backends.sinks.http import HttpSink

        return HttpSink(url, EventQueue(registry, url))
    path = Path(unquote(parts.path))
    if parts.scheme == "file" and path.suffix in (".jsonl", ".ndjson", ".json"):
        from salver.backends.sinks.files import FileSink
        from salver.backends.sinks.json_lines import JsonLines

        return FileSink(JsonLines(path), EventQueue(registry, url))
    if parts.scheme == "file" and path.suffix == ".parquet":
        from salver.backends.sinks.files import FileSink
        from salver.backends.sinks.parquet import ParquetSegments

        return FileSink(ParquetSegments(path), EventQueue(registry, url))
    raise StartupError(
        f"the logger's url '{url}' is no sink: use http(s)://..., file:///....jsonl or "
        "file:///....parquet"
    )


class SinkPool:
    """One sink for each URL, shared by all services that log there."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._sinks: dict[str, Sink] = {}

    def queue_of(self, url: str) -> EventQueue:
        """The queue to put events into; its sink is started if it is new."""
        sink = self._sinks.get(url)
        if sink is None:
            sink = self._sinks[url] = sink_for(url, self._registry)
            sink.start()
        return sink.queue

    async def close(self, timeout_s: float) -> None:
        """Flushes and closes all of them."""
        for sink in self._sinks.values():
            await sink.close(timeout_s)
        self._sinks.clear()
