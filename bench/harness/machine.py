"""What a table must say about where it was measured."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, cores, memory, system, Python and the load when the run began."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{_memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
    }


def sentence(facts: dict[str, str]) -> str:
    """The facts as a line under the table."""
    return (
        f"{facts['date']}, {facts['processor']}, {facts['cores']} cores, {facts['memory']}, "
        f"{facts['system']}, Python {facts['python']}; load before the run "
        f"{facts['load_before']}; the load generator runs on the same cores."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
