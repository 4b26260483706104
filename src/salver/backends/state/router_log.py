"""The logs of routers that learn, in the state directory: `engine/learning_ports.RouterLog`.

A choice is written when the loop turns, in one write with all others of that turn: it outlives
this process before its answer can have come back. A reward is written at once, so that a full
disk is its answer, and acknowledged after an `fdatasync` that all who wait at the same time
share. Every process writes files of its own and reads everybody's. One thread serves all routers:
syncs, snapshots, and deleting what is too old.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from salver.backends.state import router_snapshots
from salver.backends.state.router_folders import IsThere, Owner, RouterFolders
from salver.backends.state.router_segments import (
    SegmentReader,
    SegmentWriter,
    packed_record,
    segments_in,
    sync_folder,
)
from salver.backends.state.router_snapshots import Retention
from salver.engine.learning_ports import Chosen, Opened, Record, Replay, Replayed, RouterName
from salver.errors import Unavailable

logger = logging.getLogger("salver.state")

_CLAIM_TIMEOUT_S = 5.0
_MOST_BUFFERED = 1 << 20
_REPLAYED_BYTES = 16 << 20
"""Of what a snapshot has seen, so much is read at the start, for the choices in it."""


_Waiter = tuple[asyncio.AbstractEventLoop | None, Callable[[str], object]]


class LogFiles(msgspec.Struct, frozen=True):
    """How large a segment grows, and what is kept."""

    segment_bytes: int = 8 << 20
    retention: Retention = Retention()


class RouterLogs:
    """All routers' logs below one folder, as this process, `gateway`, writes them."""

    def __init__(
        self,
        folder: Path,
        gateway: str,
        *,
        call_soon: Callable[[Callable[[], object]], object],
        files: LogFiles | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folders = RouterFolders(folder)
        self.gateway = gateway
        self.call_soon = call_soon
        self.files = files or LogFiles()
        self.now = now
        self.thread = ThreadPoolExecutor(1, "salver-routers")

    def open(self, name: RouterName) -> FileRouterLog:
        """The router's log. Raises `StartupError`."""
        return FileRouterLog(self.folders.of_router(name), str(name), self)

    def claim(self, namespace: str, graph: str, owner: Owner) -> None:
        """What the graph learns is this owner's; see `router_folders.py`. Raises `StartupError`."""
        if not self.folders.is_of(namespace, graph, owner):
            # What the thread still has to do there is about the owner before.
            self.thread.submit(int).result(_CLAIM_TIMEOUT_S)
            self.folders.claim(namespace, graph, owner)

    def release(self, namespace: str, graph: str, is_there: IsThere) -> None:
        """The graph's logs are closed. If its owner is there no more, they are deleted."""
        owner = self.folders.release(namespace, graph)
        if owner is not None and not owner.keeps and not is_there(owner):
            self.thread.submit(self.folders.delete, namespace, graph)

    def leave(self, owner: Owner, graphs: Sequence[str]) -> None:
        """The owner is gone, and had claimed none of these names since the start, or no more."""
        self.thread.submit(self.folders.leave, owner, graphs)

    def close(self) -> None:
        """After all logs are closed: waits for what the thread still has to do."""
        self.thread.shutdown()


class FileRouterLog:
    """See `RouterLog`."""

    def __init__(self, folder: Path, name: str, logs: RouterLogs) -> None:
        self.lost = 0
        self._folder = folder
        self._name = name
        self._logs = logs
        self._opened: Opened | None = None
        self._writer: SegmentWriter | None = None
        self._retired: list[SegmentWriter] = []
        self._own: dict[str, int] = {}
        self._readers: dict[str, SegmentReader] = {}
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._is_flush_due = False
        self._number = 0
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._unsynced: list[bytes] = []
        self._is_closed = False
        self._again: list[bytes] = []
        """What a failed sync may have lost: written again before anything else."""

    # Reading.

    def replay(self) -> Replay:
        try:
            snapshot = router_snapshots.load(self._folder)
        except (OSError, msgspec.MsgspecError) as error:
            raise Unavailable(
                f"the snapshot of router {self._name} in {self._folder} cannot be read "
                f"({error}): put a copy back, or move the folder away to begin anew"
            ) from error
        offsets = snapshot.offsets if snapshot is not None else {}
        paths = segments_in(self._folder)
        skipped = self._skipped(paths, offsets)
        records: list[Replayed] = []
        torn = 0
        for path in paths:
            reader = self._readers[path.name] = SegmentReader(path)
            if path.name in skipped:
                reader.skip(offsets[path.name])
                continue
            records += reader.read(folded_to=offsets.get(path.name, 0))
            torn += reader.is_torn
        return Replay(bytes(snapshot.body) if snapshot is not None else b"", records, torn)

    def _skipped(self, paths: Sequence[Path], offsets: dict[str, int]) -> set[str]:
        """The segments that the snapshot has seen whole, but for the newest."""
        skipped, room = set(), _REPLAYED_BYTES
        for path in reversed(paths):
            size = path.stat().st_size
            room -= size
            if room < 0 and offsets.get(path.name, -1) >= size:
                skipped.add(path.name)
        return skipped

    def news(self) -> Sequence[Replayed]:
        found: list[Replayed] = []
        for path in segments_in(self._folder):
            if path.name in self._own:
                continue
            reader = self._readers.get(path.name)
            if reader is None:
                reader = self._readers[path.name] = SegmentReader(path)
            if reader.has_more():
                found += reader.read()
        return found

    def history(self, choices: int, epoch: int) -> Iterator[Replayed]:
        found: list[list[Replayed]] = []
        for path in reversed(segments_in(self._folder)):
            records = SegmentReader(path).read()
            if records and records[0].epoch < epoch:
                # A segment is of one epoch, and those before it are no newer.
                break
            found.append([each for each in records if each.epoch == epoch])
            choices -= sum(isinstance(each.record, Chosen) for each in records)
            if choices <= 0:
                break
        return itertools.chain.from_iterable(reversed(found))

    # Writing.

    def open_epoch(self, opened: Opened) -> None:
        self._flush()
        self._opened = opened
        self._retire()

    def append(self, record: Record) -> None:
        if self._is_closed:
            # Of a request that was still amid its steps when the graph went.
            self.lost += 1
            return
        if self._buffered > _MOST_BUFFERED:
            self._flush()
        data = packed_record(record)
        self._buffer.append(data)
        self._buffered += len(data)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._logs.call_soon(self._flush)

    def append_now(self, records: Sequence[Record]) -> None:
        if not records:
            return
        if self._is_closed:
            raise Unavailable(f"router {self._name} is served no more: nothing is learned")
        self._flush()
        data = b"".join([packed_record(record) for record in records])
        try:
            self._write(data)
        except OSError as error:
            raise Unavailable(
                f"router {self._name} cannot keep what it is told: {error.strerror or error} in "
                f"{self._folder}; free some space and send it again"
            ) from error
        with self._lock:
            self._unsynced.append(data)

    def _flush(self) -> None:
        self._is_flush_due = False
        self._write_again()
        if not self._buffer:
            return
        records, self._buffer, self._buffered = self._buffer, [], 0
        try:
            self._write(b"".join(records))
        except OSError as error:
            if not self.lost:
                logger.error("router %s: choices cannot be logged: %s", self._name, error)
            self.lost += len(records)

    def _write_again(self) -> None:
        with self._lock:
            again, self._again = self._again, []
        if not again:
            return
        try:
            self._write(b"".join(again))
        except OSError as error:
            logger.error("router %s: rewards cannot be written again: %s", self._name, error)
            with self._lock:
                self._again = again + self._again
        else:
            with self._lock:
                self._unsynced = again + self._unsynced

    def _write(self, data: bytes) -> None:
        writer = self._writer
        if writer is not None and writer.size + len(data) > self._logs.files.segment_bytes:
            self._retire()
            writer = None
        if writer is None:
            writer = self._new_segment()
        try:
            writer.write(data)
        except OSError:
            if not writer.is_sound:
                self._retire()
            raise
        self._own[writer.path.name] = writer.size

    def _new_segment(self) -> SegmentWriter:
        assert self._opened is not None, "open_epoch comes first"
        self._number += 1
        begun = int(self._logs.now() * 1e9)
        name = f"{begun:020d}-{self._logs.gateway}-{os.getpid()}-{self._number:06d}.log"
        writer = SegmentWriter(self._folder / name)
        self._own[name] = 0
        try:
            writer.write(packed_record(self._opened))
        except OSError:
            writer.close()
            writer.path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._writer = writer
        self._own[name] = writer.size
        return writer

    def _retire(self) -> None:
        """The segment gets no more records; it is closed once it is on disk."""
        with self._lock:
            if self._writer is not None:
                self._retired.append(self._writer)
                self._writer = None

    # Durability.

    def when_durable(self, done: Callable[[str], object]) -> None:
        self._flush()
        with self._lock:
            is_first = not self._waiting
            self._waiting.append((_running_loop(), done))
        if not is_first:
            return
        try:
            self._logs.thread.submit(self._sync)
        except RuntimeError:
            # The server ends, and the thread has ended: who still waits has it done here.
            self._sync()

    def _sync(self) -> None:
        """In the thread. Those who come while it runs have a sync of their own."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            retired, self._retired = self._retired, []
            writer = self._writer
            unsynced, self._unsynced = self._unsynced, []
            problem = self._not_durable("no space to write it again") if self._again else ""
        try:
            for each in [*retired, *([writer] if writer is not None else [])]:
                each.sync()
            if retired or writer is not None:
                sync_folder(self._folder)
        except OSError as error:
            problem = self._not_durable(error.strerror or str(error))
            # Nobody knows what is on disk: all goes into a new file. Rewards that are there
            # twice count once, as their ids say.
            self._retire()
            with self._lock:
                self._again = unsynced + self._again
        for each in retired:
            each.close()
        for loop, done in waiting:
            _call(loop, done, problem)

    def _not_durable(self, fact: str) -> str:
        return (
            f"router {self._name} could not bring it to disk: {fact}; see that the disk of "
            f"{self._folder} works and has space, and send it again"
        )

    # Snapshots.

    def save(self, snapshot: bytes) -> None:
        self._flush()
        offsets = {name: reader.offset for name, reader in self._readers.items()} | self._own
        self._logs.thread.submit(self._save, offsets, snapshot)

    def _save(self, offsets: dict[str, int], snapshot: bytes) -> None:
        try:
            # What the snapshot has seen must not be lost behind it.
            self._sync()
            if router_snapshots.store(self._folder, offsets, snapshot):
                router_snapshots.trim(self._folder, self._logs.files.retention, self._logs.now())
        except (OSError, msgspec.MsgspecError) as error:
            logger.error("router %s: no snapshot can be taken: %s", self._name, error)

    def close(self) -> None:
        self._flush()
        self._is_closed = True
        self._retire()
        self._logs.thread.submit(self._sync)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _call(
    loop: asyncio.AbstractEventLoop | None, done: Callable[[str], object], problem: str
) -> None:
    """From the loop that asked, or in this thread if there is none."""
    if loop is None:
        done(problem)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(done, problem)
