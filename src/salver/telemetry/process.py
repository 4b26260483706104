"""CPU time and memory of this server's processes, read from /proc.

Linux only; a process that is gone is left out. Reads files and nothing else: which processes
are whose, the caller knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from salver.telemetry.snapshot import Family, Labels, Sample, Snapshot

_PROC = Path("/proc")


class ProcessRef(msgspec.Struct, frozen=True):
    """A process and what it is: `role` is gateway or worker, `name` e.g. `iris/0`."""

    pid: int
    role: str
    name: str


class ProcessUsage(msgspec.Struct, frozen=True):
    """What a process has used: CPU seconds so far, resident bytes now."""

    process: ProcessRef
    cpu_s: float
    resident_bytes: int


def read_usages(processes: Iterable[ProcessRef], *, proc: Path = _PROC) -> tuple[ProcessUsage, ...]:
    """The usage of those processes that are still there. About 40 us each."""
    usages = (_read_usage(process, proc) for process in processes)
    return tuple(usage for usage in usages if usage is not None)


def _read_usage(process: ProcessRef, proc: Path) -> ProcessUsage | None:
    try:
        stat = (proc / str(process.pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command name is in parentheses and may hold spaces and parentheses itself.
    fields = stat[stat.rindex(b")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    return ProcessUsage(
        process,
        ticks / os.sysconf("SC_CLK_TCK"),
        int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def proportional_bytes(pid: int, *, proc: Path = _PROC) -> int | None:
    """The process's memory, shared pages divided by their users (PSS); None if unreadable.

    The kernel walks all pages for this: milliseconds for a large process, so never per request.
    """
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def process_families(usages: Sequence[ProcessUsage]) -> Snapshot:
    """The usages as metric families."""
    labels: list[Labels] = [
        (("role", usage.process.role), ("process", usage.process.name)) for usage in usages
    ]
    cpu = tuple(Sample(of, usage.cpu_s) for of, usage in zip(labels, usages, strict=True))
    memory = tuple(
        Sample(of, float(usage.resident_bytes)) for of, usage in zip(labels, usages, strict=True)
    )
    return (
        Family(
            "salver_process_cpu_seconds_total",
            "CPU seconds used by a process of this server.",
            "counter",
            samples=cpu,
        ),
        Family(
            "salver_process_resident_memory_bytes",
            "Resident memory of a process of this server.",
            "gauge",
            samples=memory,
        ),
    )
