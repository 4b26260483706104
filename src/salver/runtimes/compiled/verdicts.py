"""What compiling found out about a model, kept on disk for the next load.

Owns the files: a verdict by its key (see `verdict_keys.py`), and a lock beside it while somebody
compiles. A verdict is a hint, never a must: what cannot be read or written is as if it were not
there.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from salver.inference.compilation import CompileReport
from salver.runtimes.compiled.choosing import ChoiceTable

logger = logging.getLogger("salver.compiled")
_MOST, _PRUNED_TO = 2000, 1500
MOST_BEGUN = 3
ENDED_WORKERS = f"its worker ended {MOST_BEGUN} times while it was compiled; not tried again"


class KeptVerdict(msgspec.Struct, frozen=True):
    """`tables` are by kind of input; `guards` by engine and kind, as places in `GUARDS`; `typical`
    are the outputs' typical sizes. `tries`: how often the model was compiled for this."""

    report: CompileReport
    tables: Mapping[str, ChoiceTable] = {}
    guards: Mapping[str, Mapping[str, int]] = {}
    typical: Mapping[str, float | list[float]] = {}
    tries: int = 1

    @classmethod
    def refused(cls, mode: str, reason: str) -> KeptVerdict:
        return cls(CompileReport(mode, f"the framework answers: {reason}"))

    def with_tries(self, tries: int) -> KeptVerdict:
        return msgspec.structs.replace(self, tries=tries)


class Turn:
    """The right to compile, for as long as the file is locked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def begin(self) -> int:
        """Notes that we begin; how many did before and never came to an end."""
        found = len(os.pread(self._descriptor, 64, 0))
        os.pwrite(self._descriptor, b"1", found)
        return found


class VerdictFolder:
    """Verdicts in a folder, the oldest of which are dropped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> KeptVerdict | None:
        path = self._folder / f"{key}.json"
        try:
            verdict = msgspec.json.decode(path.read_bytes(), type=KeptVerdict)
            os.utime(path)
        except (OSError, msgspec.MsgspecError):
            return None
        return verdict

    def write(self, key: str, verdict: KeptVerdict) -> None:
        part = self._folder / f"{key}.{os.getpid()}.part"
        try:
            part.write_bytes(msgspec.json.encode(verdict))
            part.replace(self._folder / f"{key}.json")
            self._prune()
        except OSError as error:
            logger.debug("a verdict on compiling cannot be kept: %s", error)

    @contextlib.contextmanager
    def turn(self, key: str) -> Iterator[Turn | None]:
        """The turn, None if it is another process's. It ends with the process that has it."""
        path = self._folder / f"{key}.lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            logger.debug("verdicts on compiling cannot be kept: %s", error)
            yield Turn(os.memfd_create("turn"))
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            yield None
            return
        try:
            yield Turn(descriptor)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def _prune(self) -> None:
        paths = list(self._folder.glob("*.json"))
        if len(paths) > _MOST:
            paths.sort(key=lambda path: path.stat().st_mtime)
            for path in paths[: len(paths) - _PRUNED_TO]:
                path.unlink(missing_ok=True)
