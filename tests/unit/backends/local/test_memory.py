"""What a forked process adds is what it has written itself, not what it shares."""

from __future__ import annotations

import os
from pathlib import Path

from salver.backends.local.memory import added_bytes, largest_bytes

MIB = 1 << 20


def test_a_process_that_is_gone_adds_nothing() -> None:
    assert added_bytes(1 << 30) == 0
    assert largest_bytes([]) == 0


def test_shared_pages_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps_rollup").write_text(
        "00400000-7fff rollup\nRss: 900 kB\nPss: 400 kB\nPss_Shmem: 8 kB\nShared_Clean: 500 kB\n"
        "Private_Clean: 20 kB\nPrivate_Dirty: 300 kB\nPrivate_Hugetlb: 0 kB\n"
    )
    assert added_bytes(7, proc=tmp_path) == 328 * 1024


def test_a_forked_child_adds_only_what_it_writes() -> None:
    inherited = bytearray(os.urandom(1) * (32 * MIB))
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        own = bytearray(b"x" * (8 * MIB))
        os.write(ready_write, b"r")
        os.close(done_write)
        os.read(done_read, 1)
        os._exit(len(own) & 0)
    os.read(ready_read, 1)
    size = added_bytes(pid)
    for end in (ready_read, ready_write, done_read, done_write):
        os.close(end)
    os.waitpid(pid, 0)
    assert 8 * MIB <= size < 24 * MIB, len(inherited)
