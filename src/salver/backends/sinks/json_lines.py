"""Events as JSON lines: one CloudEvent a line in its JSON format. Rotates by size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import orjson

from salver.backends.sinks.records import record_of
from salver.engine.payload_log import PayloadEvent

_MAX_FILE_BYTES = 256 << 20


class JsonLines:
    """Appends to one file; a full one is renamed (`x.1.jsonl`, `x.2.jsonl`, ...)."""

    def __init__(self, path: Path, *, max_file_bytes: int = _MAX_FILE_BYTES) -> None:
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._file: BinaryIO | None = None

    def write(self, events: Sequence[PayloadEvent]) -> None:
        """See `files.EventWriter`."""
        lines = b"".join(_line(event) for event in events)
        file = self._opened()
        if file.tell() and file.tell() + len(lines) > self._max_file_bytes:
            self._rotate()
            file = self._opened()
        file.write(lines)
        file.flush()

    def is_due(self, now_s: float) -> bool:
        return False

    def flush(self) -> None:
        """Nothing to do: every write is flushed."""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        return self._file

    def _rotate(self) -> None:
        self.close()
        number = 1
        while (name := self._path.with_suffix(f".{number}{self._path.suffix}")).exists():
            number += 1
        self._path.rename(name)


def _line(event: PayloadEvent) -> bytes:
    record = record_of(event)
    data = record.get("data")
    if data is not None:
        try:
            # As it was sent: numbers keep their digits, NaN its name.
            json.loads(data)
            record["data"] = orjson.Fragment(" ".join(data.splitlines()).encode())
        except ValueError:
            record["data"] = data
    return orjson.dumps(record) + b"\n"
