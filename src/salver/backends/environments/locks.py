"""Holds on folders, by which the servers of one machine see what the others use.

The kernel keeps them, so they end with the process that has them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_shared(folder: Path) -> int:
    """A descriptor that, while it is open, keeps `try_lock` from succeeding."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def try_lock(folder: Path) -> int | None:
    """A descriptor that holds the folder alone, None if anybody else holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
