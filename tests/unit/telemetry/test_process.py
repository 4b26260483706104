"""Reading /proc: of this very process, and of made-up ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

from salver.telemetry.process import (
    ProcessRef,
    process_families,
    proportional_bytes,
    read_usages,
)
from salver.telemetry.snapshot import render

GONE = ProcessRef(2**22 + 1, "worker", "iris/0")


def test_this_process_has_used_cpu_and_memory() -> None:
    (usage,) = read_usages([ProcessRef(os.getpid(), "gateway", "0")])
    assert 0 < usage.cpu_s <= time.process_time() + 1
    assert usage.resident_bytes > 5_000_000


def test_a_process_that_is_gone_is_left_out() -> None:
    assert read_usages([GONE]) == ()
    assert proportional_bytes(GONE.pid) is None


def test_a_command_name_with_parentheses_and_spaces_is_read_right(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    tail = ["S", *("0" for _ in range(10)), "300", "200", *("0" for _ in range(8)), "10"]
    (tmp_path / "7" / "stat").write_text("7 (a) b (c) " + " ".join(tail) + " 0 0\n")
    (usage,) = read_usages([ProcessRef(7, "worker", "x")], proc=tmp_path)
    assert usage.cpu_s == 500 / os.sysconf("SC_CLK_TCK")
    assert usage.resident_bytes == 10 * os.sysconf("SC_PAGE_SIZE")


def test_the_proportional_share_is_positive_and_no_more_than_the_resident_memory() -> None:
    share = proportional_bytes(os.getpid())
    (usage,) = read_usages([ProcessRef(os.getpid(), "gateway", "0")])
    assert share is not None
    assert 0 < share <= usage.resident_bytes


def test_usages_render_with_role_and_name() -> None:
    usages = read_usages([ProcessRef(os.getpid(), "gateway", "0"), GONE])
    text = render(process_families(usages)).decode()
    assert 'salver_process_cpu_seconds_total{role="gateway",process="0"}' in text
    assert 'salver_process_resident_memory_bytes{role="gateway",process="0"}' in text
    assert "iris/0" not in text
