"""Files of traces: whole JSON at every moment, so many traces a file, and a bound on disk."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from salver.telemetry.trace_file import TraceFiles

LONG_S = 60.0


def traces(count: int) -> list[bytes]:
    return [b'{"id":%d},{"id":%d,"timestamps":[]}' % (each, each) for each in range(count)]


def ids(path: Path) -> list[Any]:
    return [each["id"] for each in json.loads(path.read_bytes())][::2]


def test_all_traces_go_into_one_file_by_default(tmp_path: Path) -> None:
    files = TraceFiles(tmp_path / "deep" / "t.json", flush_every_s=LONG_S)
    for trace in traces(3):
        files.record(trace, 0)
    files.close(5)
    assert ids(tmp_path / "deep" / "t.json") == [0, 1, 2]
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["t.json"]


def test_a_file_that_is_added_to_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("of a former run")
    files = TraceFiles(path, flush_every_s=LONG_S)
    for number, trace in enumerate(traces(3)):
        files.record(trace, 0)
        files.write_waiting()
        assert ids(path) == list(range(number + 1))
    files.close(5)


def test_with_a_frequency_each_file_has_so_many(tmp_path: Path) -> None:
    files = TraceFiles(tmp_path / "t.json", flush_every_s=LONG_S)
    for trace in traces(5):
        files.record(trace, 2)
    files.close(5)
    assert [ids(tmp_path / f"t.json.{each}") for each in range(3)] == [[0, 1], [2, 3], [4]]


def test_what_waits_for_its_file_is_written_when_the_settings_change(tmp_path: Path) -> None:
    files = TraceFiles(tmp_path / "t.json", flush_every_s=LONG_S)
    first, second, third = traces(3)
    files.record(first, 2)
    files.flush()
    files.record(second, 2)
    files.record(third, 2)
    files.close(5)
    assert [ids(tmp_path / f"t.json.{each}") for each in range(2)] == [[0], [1, 2]]


def test_what_would_take_too_much_disk_is_dropped_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = TraceFiles(tmp_path / "t.json", most_bytes=16 << 10, flush_every_s=LONG_S)
    for trace in traces(9):
        files.record(trace, 1)
    files.close(5)
    written = list(tmp_path.iterdir())
    # Short as they are, each takes a block of the disk.
    assert len(written) == 4
    assert files.dropped.value == 9 - len(written)
    assert caplog.text.count("all the disk they may") == 1


def test_a_folder_that_cannot_be_written_costs_traces_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = TraceFiles(tmp_path / "file" / "t.json", flush_every_s=LONG_S)
    files.record(traces(1)[0], 0)
    files.close(5)
    assert files.dropped.value == 1


@pytest.mark.parametrize("frequency", [0, 1])
def test_a_disk_that_is_full_for_a_while_leaves_whole_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, frequency: int
) -> None:
    files = TraceFiles(tmp_path / "t.json", flush_every_s=LONG_S)
    first, second, third, fourth = traces(4)
    long = second[:-1] + b',"data":"' + b"x" * 4096 + b'"}'
    files.record(first, frequency)
    files.write_waiting()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        for each in (long, long):
            files.record(each, frequency)
            files.write_waiting()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files.dropped.value == 2
    assert caplog.text.count("could not be written") == 1
    for each in (third, fourth):
        files.record(each, frequency)
        files.write_waiting()
    files.close(5)
    names = [f"t.json.{each}" for each in range(3)] if frequency else ["t.json"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    assert [each for name in names for each in ids(tmp_path / name)] == [0, 2, 3]


def test_without_traces_nothing_is_made(tmp_path: Path) -> None:
    files = TraceFiles(tmp_path / "deep" / "t.json")
    files.flush()
    files.close(5)
    assert not (tmp_path / "deep").exists()


def test_a_disk_that_is_too_slow_costs_traces_and_no_memory(tmp_path: Path) -> None:
    files = TraceFiles(tmp_path / "t.json", flush_every_s=LONG_S)
    large = b'{"id":1,"data":"' + b"x" * (1 << 20) + b'"}'
    for _ in range(40):
        files.record(large, 0)
    assert files.dropped.value == 40 - 32
    files.close(5)
    assert len(json.loads((tmp_path / "t.json").read_bytes())) == 32
