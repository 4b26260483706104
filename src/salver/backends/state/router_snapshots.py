"""The snapshot beside a router's segments: what their records added up to, and how far.

There is one for all gateways. It only ever moves forward: whoever would write one that has seen
less of some segment than the present one leaves it. Only what the snapshot has seen is deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from salver.backends.state.router_segments import delete_unused, segments_in, sync_folder

_FILE = "snapshot.json"
_LOCK = "snapshot.lock"


class Snapshot(msgspec.Struct, frozen=True):
    """`offsets`: up to where each segment, by its name, is in it."""

    offsets: dict[str, int]
    body: msgspec.Raw


class Retention(msgspec.Struct, frozen=True):
    """What is kept of segments that the snapshot has seen: so many bytes, so long."""

    most_bytes: int = 256 << 20
    keep_s: float = 30 * 86400.0


def load(folder: Path) -> Snapshot | None:
    """The present one. Raises `OSError`, and `msgspec.MsgspecError` if it is damaged."""
    try:
        data = (folder / _FILE).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(data, type=Snapshot)


def store(folder: Path, offsets: Mapping[str, int], body: bytes) -> bool:
    """Replaces it, durably; False if the present one has seen more. Raises `OSError`."""
    with _locked(folder):
        present = load(folder)
        kept = {path.name for path in segments_in(folder)}
        if present is not None and any(
            offset > offsets.get(name, 0)
            for name, offset in present.offsets.items()
            if name in kept
        ):
            return False
        known = {name: offset for name, offset in offsets.items() if name in kept}
        data = msgspec.json.encode(Snapshot(known, msgspec.Raw(body)))
        new = folder / f"{_FILE}.new"
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / _FILE)
        sync_folder(folder)
    return True


def trim(folder: Path, retention: Retention, now_s: float) -> int:
    """Deletes the oldest segments beyond the bounds that are in the snapshot; how many."""
    with _locked(folder):
        present = load(folder)
        if present is None:
            return 0
        sizes = [(path, path.stat()) for path in segments_in(folder)]
        total = sum(stat.st_size for _, stat in sizes)
        deleted = 0
        for path, stat in sizes:
            is_over = total > retention.most_bytes or stat.st_mtime < now_s - retention.keep_s
            if not is_over or present.offsets.get(path.name, -1) < stat.st_size:
                continue
            if delete_unused(path):
                total -= stat.st_size
                deleted += 1
        return deleted


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
