"""The logs of all that runs, found by name and kept within bounds."""

from __future__ import annotations

import os
from pathlib import Path

from salver.backends.processes.kept_logs import KeptLogs


def test_a_log_outlives_its_writer_and_is_taken_up_by_the_next() -> None:
    logs = KeptLogs()
    log = logs.open("default", "iris-00001")
    log.feed(b"no weights\n")
    log.close()
    assert logs.find("default", "iris-00001") is log
    assert logs.open("default", "iris-00001") is log
    assert (log.read(), log.is_open) == (["no weights"], True)
    assert logs.find("shop", "iris-00001") is None


def test_those_closed_first_go_first_and_those_that_are_written_stay() -> None:
    logs = KeptLogs(most=3)
    logs.open("default", "written")
    for number in range(5):
        logs.open("default", f"m{number}").close()
    kept = [
        name for name in ("written", "m0", "m1", "m2", "m3", "m4") if logs.find("default", name)
    ]
    assert kept == ["written", "m3", "m4"]


def test_with_a_folder_lines_are_in_files_named_after_their_logs(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path)
    logs.open("shop", "iris-00002").feed(b"hello\n")
    logs.close()
    assert (tmp_path / "shop.iris-00002.log").read_text() == "hello\n"


def test_old_files_are_cleared_away(tmp_path: Path) -> None:
    for number in range(300):
        path = tmp_path / f"default.m{number}.log"
        path.write_text("")
        os.utime(path, (number, number))
    KeptLogs(tmp_path).open("default", "new")
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 256
    assert "default.m299.log" in left and "default.m0.log" not in left


def test_the_echo_says_which_log_a_line_is_of() -> None:
    heard: list[tuple[str, str]] = []
    logs = KeptLogs(echo=lambda name, line: heard.append((name, line)))
    logs.open("default", "iris-00001").feed(b"hello\n")
    assert heard == [("iris-00001", "hello")]
