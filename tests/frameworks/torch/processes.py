"""What the kernel knows of a process."""

from __future__ import annotations

from pathlib import Path


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def memory_of(pid: int) -> dict[str, int]:
    """`Private`, `Shared` and `Pss`, in bytes."""
    found = {"Private": 0, "Shared": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        for name in found:
            if line.startswith((f"{name}_", f"{name}:")) and not line.startswith("Pss_"):
                found[name] += int(line.split()[1]) << 10
    return found
