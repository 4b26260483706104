"""Structured logs on the standard library: text for people, JSON lines for machines.

A log line is an event (a fixed phrase) and fields. `configure` is called once, by the
composition root; modules take `logging.getLogger(__name__)` and say `log_event`. Loggers
outside Salver keep working: what they say becomes an event without fields.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal, TextIO

LogFormat = Literal["text", "json"]

ACCESS_LOGGER = "salver.access"
ROOT = "salver"
"""The logger of all that is Salver's."""
_FIELDS = "salver_fields"
_MAX_REQUEST_ID_LENGTH = 128
_MOST_WAITING = 10_000


def configure(level: str, log_format: str, stream: TextIO | None = None) -> logging.Handler:
    """Sends Salver's logs, and other libraries' warnings, to `stream` (stderr by default).

    Calling it again replaces the handler it returned before.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.set_name(ROOT)
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == ROOT]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger(ROOT).setLevel(level.upper())
    return handler


def log_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Logs the event with its fields; costs next to nothing if the level is off."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", event, extra={_FIELDS: fields})


def log_failure(
    logger: logging.Logger, event: str, error: BaseException, /, **fields: object
) -> None:
    """Logs an unexpected exception with its traceback."""
    logger.error("%s", event, exc_info=error, extra={_FIELDS: fields})


def log_request(
    logger: logging.Logger,
    *,
    request_id: str,
    protocol: str,
    target: str,
    status: int,
    duration_s: float,
    **fields: object,
) -> None:
    """The access log's line for one request; further fields: model, bytes, trace id."""
    log_event(
        logger,
        logging.INFO,
        "request",
        request_id=request_id,
        protocol=protocol,
        target=target,
        status=status,
        duration_ms=round(duration_s * 1000, 3),
        **fields,
    )


def accepted_request_id(header: str | None) -> str | None:
    """A caller's request id if it may be logged and echoed: short, printable ASCII."""
    if not header or len(header) > _MAX_REQUEST_ID_LENGTH:
        return None
    return header if header.isascii() and header.isprintable() else None


class Echo:
    """Copies what models print to stderr, from a thread of its own.

    Whoever reads stderr slowly makes lines be left out, and nobody wait.
    """

    def __init__(self, log_format: str, stream: TextIO | None = None) -> None:
        self.dropped = 0
        self._is_json = log_format == "json"
        self._stream = stream or sys.stderr
        self._lines: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def __call__(self, source: str, line: str) -> None:
        """Takes one line without its end; `source` says where it comes from."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="echo", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait(self._shown(source, line))
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float) -> None:
        """Waits until what there is has been written, at most so long."""
        deadline_s = time.monotonic() + timeout_s
        while self._lines.unfinished_tasks and time.monotonic() < deadline_s:
            time.sleep(0.005)

    def _shown(self, source: str, line: str) -> str:
        if not self._is_json or line.startswith('{"ts":'):
            return line
        fields = {"ts": _now_text(), "level": "info", "event": line, "logger": "salver.model"}
        return json.dumps({**fields, "source": source})

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1  # Nobody reads stderr any more.
            finally:
                self._lines.task_done()


def _now_text() -> str:
    now_s = time.time()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
    return f"{seconds}.{int(now_s * 1000) % 1000:03d}Z"


class TextFormatter(logging.Formatter):
    """`12:03:04.123 info  model loaded  model=iris seconds=0.41`, in local time.

    With `is_dated`, dates and times are those of UTC, as ISO 8601 has them.
    """

    def __init__(self, *, is_dated: bool = False) -> None:
        super().__init__()
        self._is_dated = is_dated

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self._clock(record)} {record.levelname.lower():<7} "
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in _fields(record).items())
        line = head + _one_line(record.getMessage()) + (f"  {pairs}" if pairs else "")
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line

    def _clock(self, record: logging.LogRecord) -> str:
        millis = f"{int(record.msecs):03d}"
        if self._is_dated:
            return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{millis}Z"
        return f"{time.strftime('%H:%M:%S', time.localtime(record.created))}.{millis}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `ts`, `level`, `event`, `logger`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "ts": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        for key, value in _fields(record).items():
            line.setdefault(key, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, _FIELDS, {})
    return fields


def _shown(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if text and text.isprintable() and not any(mark in text for mark in ' "='):
        return text
    return _one_line(json.dumps(text, ensure_ascii=False))


def _one_line(text: str) -> str:
    # A message may quote what a caller sent: no caller may write a log line of his own.
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
