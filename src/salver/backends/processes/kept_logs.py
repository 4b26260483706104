"""The logs of all that runs on this machine, found by namespace and name, within bounds.

A log is made when it is first asked for and outlives what has written into it, so that the
reason of a failure can still be read. Those that nobody has opened for long go first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from salver.backends.processes.output import OutputLog

logger = logging.getLogger("salver.logs")

_MOST_KEPT = 256
_MOST_FILES = 256
_CLEAR_EVERY = 32

Key = tuple[str, str]


class KeptLogs:
    """All logs. Without a folder they are in memory only.

    `echo` takes every line of every log, with the name of the log.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        echo: Callable[[str, str], object] | None = None,
        most: int = _MOST_KEPT,
    ) -> None:
        self._folder = folder
        self._echo = echo
        self._most = most
        self._logs: dict[Key, OutputLog] = {}
        self._made = 0

    def open(self, namespace: str, name: str) -> OutputLog:
        """The log of that name for somebody who is going to write, and closes it after."""
        key = namespace, name
        log = self._logs.pop(key, None)
        if log is None:
            log = OutputLog(self._path(key), echo=self._echo_of(name))
            self._make_room()
        self._logs[key] = log
        log.reopen()
        return log

    def find(self, namespace: str, name: str) -> OutputLog | None:
        """The log of that name, if anything has opened it."""
        return self._logs.get((namespace, name))

    def close(self) -> None:
        """Closes the files."""
        for log in self._logs.values():
            log.close()

    def _path(self, key: Key) -> Path | None:
        namespace, name = key
        return self._folder / f"{namespace}.{name.replace('/', '.')}.log" if self._folder else None

    def _echo_of(self, name: str) -> Callable[[str], object] | None:
        echo = self._echo
        return None if echo is None else lambda line: echo(name, line)

    def _make_room(self) -> None:
        for key in [key for key, log in self._logs.items() if not log.is_open]:
            if len(self._logs) < self._most:
                break
            del self._logs[key]
        if self._folder is not None and self._made % _CLEAR_EVERY == 0:
            _delete_oldest(self._folder, _MOST_FILES)
        self._made += 1


def _delete_oldest(folder: Path, most: int) -> None:
    """What is left of models that are gone, and of former runs, is bounded too."""
    try:
        found = sorted(folder.glob("*.log*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[most:]:
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("old logs in %s cannot be cleared away: %s", folder, error)
