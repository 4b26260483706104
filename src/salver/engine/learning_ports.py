"""What routers that learn write down, and where: the records, and the port of the log.

Every record stands for itself and is folded into sums, so the order in which the records of
several gateways are read does not matter. What must be kept apart are *epochs*: a reset, or
another algorithm, begins a new one, and records of earlier epochs teach nothing any more.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec


class RouterName(msgspec.Struct, frozen=True, order=True):
    """A router: a choosing step of a graph."""

    namespace: str
    graph: str
    step: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.graph}/{self.step}"


class Opened(msgspec.Struct, frozen=True, tag="o", array_like=True):
    """The first record of what one gateway writes in one epoch."""

    epoch: int
    gateway: str
    identity: str
    """The algorithm, and what it sees: see `learned_router.identity_of`."""
    arms: tuple[str, ...]
    at_s: float


class Chosen(msgspec.Struct, frozen=True, tag="c", array_like=True):
    """A choice. `context`: doubles, little-endian."""

    id: str
    arm: str
    propensity: float
    at_s: float
    context: bytes = b""


class Rewarded(msgspec.Struct, frozen=True, tag="r", array_like=True):
    """A reward, with all that the algorithm needs to learn from it."""

    id: str
    arm: str
    reward: float
    at_s: float
    context: bytes = b""


class Ruled(msgspec.Struct, frozen=True, tag="m", array_like=True):
    """From now on the router learns from its rewards but follows this: `mode` is learning, best
    (frozen: explores no more), shares (frozen: keeps these shares) or promoted (one arm)."""

    mode: str
    shares: dict[str, float]
    at_s: float


Record = Opened | Chosen | Rewarded | Ruled


class Replayed(msgspec.Struct, frozen=True):
    """A record read back. `is_folded`: the snapshot knows it already."""

    record: Record
    epoch: int
    is_folded: bool = False


class Replay(msgspec.Struct, frozen=True):
    """All that is kept of a router: the newest snapshot (empty: none), then records."""

    snapshot: bytes
    records: Sequence[Replayed]
    torn: int = 0
    """How many files ended in the middle of a record, which was dropped: a crash does that."""


class RouterLog(Protocol):
    """The log of one router. Several gateways may have one each on the same folder."""

    def replay(self) -> Replay:
        """What was there before; called once, first."""

    def open_epoch(self, opened: Opened) -> None:
        """What is appended from now on belongs to this epoch."""

    def append(self, record: Record) -> None:
        """Is with the operating system when the event loop has turned. Never raises: what a full
        disk loses is counted in `lost`."""

    def append_now(self, records: Sequence[Record]) -> None:
        """Is with the operating system when it returns. Raises `Unavailable`, and then none of
        them is there."""

    def when_durable(self, done: Callable[[str], object]) -> None:
        """Calls back from the event loop once all that was appended is on disk, with an empty
        text, or with why it cannot be."""

    def news(self) -> Sequence[Replayed]:
        """What other gateways have appended since it was last asked, or replayed."""

    def save(self, snapshot: bytes) -> None:
        """Keeps a snapshot of all that was appended, replayed and told by `news`, and forgets
        what is too old; done later, in a thread."""

    def history(self, choices: int, epoch: int) -> Iterator[Replayed]:
        """The newest records of the epoch, oldest first: enough for so many choices, with all of
        their rewards. May be read in a thread."""

    @property
    def lost(self) -> int: ...

    def close(self) -> None:
        """Takes nothing any more; all that was appended will be on disk."""


OpenLog = Callable[[RouterName], RouterLog]


class MemoryRouterLog:
    """A log that ends with the process, for servers that keep no state."""

    def __init__(self, most_records: int = 100_000) -> None:
        self._most = most_records
        self._records: list[Replayed] = []
        self._epoch = 0
        self.lost = 0

    def replay(self) -> Replay:
        return Replay(b"", ())

    def open_epoch(self, opened: Opened) -> None:
        self._epoch = opened.epoch
        self.append(opened)

    def append(self, record: Record) -> None:
        self._records.append(Replayed(record, self._epoch))
        if len(self._records) > self._most + self._most // 8:
            del self._records[: len(self._records) - self._most]

    def append_now(self, records: Sequence[Record]) -> None:
        for record in records:
            self.append(record)

    def when_durable(self, done: Callable[[str], object]) -> None:
        done("")

    def news(self) -> Sequence[Replayed]:
        return ()

    def save(self, snapshot: bytes) -> None:
        """There is nothing to start from again."""

    def history(self, choices: int, epoch: int) -> Iterator[Replayed]:
        return iter([each for each in self._records[-self._most :] if each.epoch == epoch])

    def close(self) -> None:
        """Nothing is kept."""


def packed(context: array[float]) -> bytes:
    """A context as records have it."""
    return context.tobytes()


def unpacked(context: bytes) -> array[float]:
    """Undoes `packed`."""
    found = array("d")
    found.frombytes(context)
    return found
