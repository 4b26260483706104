"""Events as Parquet: segments in a folder, each complete when it appears.

`file:///log/x.parquet` becomes the folder `/log/x.parquet/` with one file a segment, which is
what readers of Parquet take a folder to be. Needs pyarrow (`salver[parquet]`), imported here
and only when the first segment is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from salver.backends.sinks.records import record_of
from salver.engine.payload_log import PayloadEvent

_MAX_ROWS = 10_000
_MAX_BYTES = 64 << 20
_MAX_AGE_S = 60.0
_TEXT_COLUMNS = (
    *("id", "type", "source", "time", "inferenceservicename", "namespace", "component"),
    *("endpoint", "metadata", "annotations", "datacontenttype", "data"),
)


class ParquetSegments:
    """Gathers rows; a segment is written when it is full, or old, or at the end."""

    def __init__(
        self, folder: Path, *, max_rows: int = _MAX_ROWS, max_age_s: float = _MAX_AGE_S
    ) -> None:
        self._folder = folder
        self._max_rows = max_rows
        self._max_age_s = max_age_s
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._since_s = 0.0
        self._number = 0

    def write(self, events: Sequence[PayloadEvent]) -> None:
        """See `files.EventWriter`."""
        import pyarrow  # noqa: F401  (so that its absence is told at the first event)

        if not self._rows:
            self._since_s = time.monotonic()
        for event in events:
            self._rows.append(record_of(event))
            self._bytes += len(event.body)
        if len(self._rows) >= self._max_rows or self._bytes >= _MAX_BYTES:
            self.flush()

    def is_due(self, now_s: float) -> bool:
        return bool(self._rows) and now_s - self._since_s >= self._max_age_s

    def flush(self) -> None:
        """Writes a segment of the rows gathered, under its name only once it is complete."""
        if not self._rows:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows, self._rows, self._bytes = self._rows, [], 0
        columns = {name: [row.get(name) for row in rows] for name in _TEXT_COLUMNS}
        fields = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        fields["data_base64"] = pa.array([row.get("data_base64") for row in rows], pa.string())
        fields["jsonlength"] = pa.array([row.get("jsonlength", 0) for row in rows], pa.int64())
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        name = f"{int(time.time() * 1000):013d}-{os.getpid()}-{self._number:06d}.parquet"
        partial = self._folder / f".{name}.partial"
        pq.write_table(pa.table(fields), partial, compression="zstd")
        partial.rename(self._folder / name)

    def close(self) -> None:
        self.flush()
