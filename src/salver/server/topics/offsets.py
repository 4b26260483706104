"""How far a Kafka partition has been handled, where messages end in any order. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

_Partition = TypeVar("_Partition", bound=Hashable)


class OffsetLedger(Generic[_Partition]):
    """The messages under way, by partition. What may be committed is the first that is not done."""

    def __init__(self) -> None:
        self._open: dict[_Partition, dict[int, bool]] = {}
        """Offsets in the order in which they came, and whether they are done."""
        self._next: dict[_Partition, int] = {}
        self._committed: dict[_Partition, int] = {}

    def begin(self, partition: _Partition, offset: int) -> None:
        """A message has come; a partition's come in the order of their offsets."""
        self._open.setdefault(partition, {})[offset] = False
        self._next[partition] = offset + 1

    def done(self, partition: _Partition, offset: int) -> None:
        """It has been handled. Of partitions that another server has by now, nothing is noted."""
        underway = self._open.get(partition)
        if underway is not None and offset in underway:
            underway[offset] = True

    def to_commit(self) -> Mapping[_Partition, int]:
        """The offsets to go on from after a restart, where they have moved."""
        moved: dict[_Partition, int] = {}
        for partition, underway in self._open.items():
            for offset in [*underway]:
                if not underway[offset]:
                    break
                del underway[offset]
            position = next(iter(underway), self._next[partition])
            if self._committed.get(partition) != position:
                moved[partition] = position
        return moved

    def committed(self, offsets: Mapping[_Partition, int]) -> None:
        """The broker has these."""
        self._committed.update(offsets)

    def forget(self, partition: _Partition) -> None:
        """The partition is another server's now."""
        self._open.pop(partition, None)
        self._next.pop(partition, None)
        self._committed.pop(partition, None)
