"""What a forked worker adds to the machine's memory, read from /proc. Linux only.

Pages that a worker still shares with its fork server are not counted: they are there without
it, and unloading the model returns none of them. Owns the reading, no decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_COUNTED = (b"Private_Clean:", b"Private_Dirty:", b"Private_Hugetlb:", b"Pss_Shmem:")
"""Pages of its own, and its share of the arenas that the gateway has mapped too."""


def added_bytes(pid: int, *, proc: Path = _PROC) -> int:
    """What this process alone has; 0 if it is gone. The kernel walks its pages: milliseconds."""
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_bytes().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))


def largest_bytes(pids: Iterable[int]) -> int:
    """What the largest of these processes adds."""
    return max((added_bytes(pid) for pid in pids), default=0)
