"""The log of a router on a real folder: what survives, what is dropped, what is refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.backends.state import router_log, router_segments
from salver.backends.state.router_log import FileRouterLog, LogFiles, RouterLogs
from salver.backends.state.router_snapshots import Retention
from salver.engine.learning_ports import (
    Chosen,
    Opened,
    Record,
    Replayed,
    Rewarded,
    RouterName,
    Ruled,
)
from salver.errors import Unavailable

NAME = RouterName("default", "shop", "choose")
OPENED = Opened(1, "one", "ucb1", ("a", "b"), 1.0)


class Shelf:
    """Logs of one process; `turn` is the event loop's turn."""

    def __init__(self, folder: Path, gateway: str = "one", files: LogFiles | None = None) -> None:
        self.due: list[Callable[[], object]] = []
        self.logs = RouterLogs(
            folder, gateway, call_soon=self.due.append, files=files, now=lambda: 1000.0
        )

    def turn(self) -> None:
        due, self.due[:] = list(self.due), []
        for callback in due:
            callback()

    def open(self, name: RouterName = NAME) -> FileRouterLog:
        return self.logs.open(name)

    def begin(self, epoch: int = 1) -> FileRouterLog:
        log = self.open()
        log.replay()
        log.open_epoch(Opened(epoch, "one", "ucb1", ("a", "b"), 1.0))
        return log


def chosen(index: int) -> Chosen:
    return Chosen(f"id-{index}", "a", 0.5, float(index), b"12345678")


def records(replayed: list[Replayed]) -> list[Record]:
    return [each.record for each in replayed if not isinstance(each.record, Opened)]


def replayed(folder: Path) -> list[Record]:
    return records(list(Shelf(folder).open().replay().records))


def synced(log: FileRouterLog) -> str:
    """The outcome of one sync, without an event loop."""
    found: list[str] = []
    log.when_durable(found.append)
    settle(log)
    return found[0]


def settle(log: FileRouterLog) -> None:
    """Waits for what the thread had to do."""
    log._logs.thread.submit(int).result(10)


def test_a_choice_is_written_when_the_loop_turns(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    log = shelf.begin()
    log.append(chosen(1))
    log.append(chosen(2))
    assert replayed(tmp_path) == []
    shelf.turn()
    assert replayed(tmp_path) == [chosen(1), chosen(2)]


def test_a_reward_is_written_at_once_and_behind_the_choices_before_it(tmp_path: Path) -> None:
    log = Shelf(tmp_path).begin()
    reward = Rewarded("id-1", "a", 1.0, 2.0)
    log.append(chosen(1))
    log.append_now([reward])
    assert replayed(tmp_path) == [chosen(1), reward]


def test_every_kind_of_record_comes_back_as_it_was(tmp_path: Path) -> None:
    log = Shelf(tmp_path).begin()
    written: list[Record] = [
        chosen(1),
        Rewarded("ä", "b", -2.5, 3.0, b"\0\xff"),
        Ruled("shares", {"a": 0.25, "b": 0.75}, 4.0),
    ]
    log.append_now(written)
    replay = Shelf(tmp_path).open().replay()
    assert [each.record for each in replay.records] == [OPENED, *written]
    assert {each.epoch for each in replay.records} == {1}


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_torn_last_record_is_dropped_and_told_of(tmp_path: Path, cut: int) -> None:
    log = Shelf(tmp_path).begin()
    log.append_now([chosen(1), chosen(2)])
    path = next(tmp_path.rglob("*.log"))
    whole = path.read_bytes()
    length = len(router_segments.packed_record(chosen(2)))
    path.write_bytes(whole[: len(whole) - min(cut, length - 1)])
    replay = Shelf(tmp_path).open().replay()
    assert records(list(replay.records)) == [chosen(1)]
    assert replay.torn == 1


def test_what_comes_after_damage_is_not_believed(tmp_path: Path) -> None:
    log = Shelf(tmp_path).begin()
    log.append_now([chosen(1), chosen(2), chosen(3)])
    path = next(tmp_path.rglob("*.log"))
    data = bytearray(path.read_bytes())
    length = len(router_segments.packed_record(chosen(3)))
    data[len(data) - 2 * length + 12] ^= 1
    path.write_bytes(data)
    assert replayed(tmp_path) == [chosen(1)]


def test_a_segment_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    log = Shelf(tmp_path, files=LogFiles(segment_bytes=400)).begin()
    for index in range(40):
        log.append_now([chosen(index)])
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.log")]
    assert len(sizes) > 3 and max(sizes) <= 400
    assert replayed(tmp_path) == [chosen(index) for index in range(40)]


def test_gateways_see_what_the_others_write_and_not_their_own(tmp_path: Path) -> None:
    one, two = Shelf(tmp_path, "one").begin(), Shelf(tmp_path, "two").begin()
    one.append_now([chosen(1)])
    two.append_now([chosen(2)])
    assert records(list(one.news())) == [chosen(2)]
    assert records(list(two.news())) == [chosen(1)]
    assert list(one.news()) == []
    two.append_now([chosen(3)])
    assert records(list(one.news())) == [chosen(3)]


def test_half_a_record_of_another_gateway_is_waited_for(tmp_path: Path) -> None:
    one, two = Shelf(tmp_path, "one").begin(), Shelf(tmp_path, "two").begin()
    one.append_now([chosen(1)])
    list(two.news())
    path = next(tmp_path.rglob("*.log"))
    data = router_segments.packed_record(chosen(2))
    with path.open("ab") as file:
        file.write(data[:9])
        file.flush()
        assert list(two.news()) == []
        file.write(data[9:])
    assert records(list(two.news())) == [chosen(2)]


def test_a_snapshot_says_what_it_has_seen(tmp_path: Path) -> None:
    log = Shelf(tmp_path).begin()
    log.append_now([chosen(1)])
    log.save(b'{"sum":1}')
    log.append_now([chosen(2)])
    settle(log)
    replay = Shelf(tmp_path).open().replay()
    assert replay.snapshot == b'{"sum":1}'
    seen = {each.record: each.is_folded for each in replay.records}
    assert (seen[chosen(1)], seen[chosen(2)]) == (True, False)


def test_a_snapshot_that_has_seen_less_does_not_replace_one_that_has_seen_more(
    tmp_path: Path,
) -> None:
    one, two = Shelf(tmp_path, "one").begin(), Shelf(tmp_path, "two").begin()
    one.append_now([chosen(1)])
    one.save(b'"one"')
    settle(one)
    # It has not read the news: what is in the first snapshot would be lost behind it.
    two.append_now([chosen(2)])
    two.save(b'"two"')
    settle(two)
    assert Shelf(tmp_path).open().replay().snapshot == b'"one"'
    list(two.news())
    two.save(b'"both"')
    settle(two)
    assert Shelf(tmp_path).open().replay().snapshot == b'"both"'


def test_old_segments_go_once_a_snapshot_has_seen_them(tmp_path: Path) -> None:
    files = LogFiles(segment_bytes=400, retention=Retention(most_bytes=1000))
    log = Shelf(tmp_path, files=files).begin()
    for index in range(100):
        log.append_now([chosen(index)])
    before = len(list(tmp_path.rglob("*.log")))
    log.save(b"1")
    settle(log)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.log")]
    assert before > 10 and sum(sizes) <= 1000
    assert replayed(tmp_path)[-1] == chosen(99)


def test_a_segment_that_another_gateway_has_open_is_not_deleted(tmp_path: Path) -> None:
    files = LogFiles(retention=Retention(most_bytes=0))
    two = Shelf(tmp_path, "two").begin()
    two.append_now([chosen(2)])
    one = Shelf(tmp_path, "one", files).begin()
    list(one.news())
    one.save(b"1")
    settle(one)
    two.append_now([chosen(3)])
    assert chosen(3) in replayed(tmp_path)


def test_an_orderly_stop_brings_everything_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)
    log = shelf.begin()
    on_disk: list[bytes] = []

    def synced_file(descriptor: int) -> None:
        on_disk.append(Path(f"/proc/self/fd/{descriptor}").read_bytes())

    monkeypatch.setattr(router_segments.os, "fdatasync", synced_file)
    told: list[str] = []
    log.append_now([chosen(1)])
    log.when_durable(told.append)
    log.append(chosen(2))
    log.save(b'"all"')
    log.close()
    shelf.logs.close()
    assert told == [""]
    replay = Shelf(tmp_path).open().replay()
    assert records(list(replay.records)) == [chosen(1), chosen(2)]
    assert replay.snapshot == b'"all"'
    assert on_disk[-1] == next(tmp_path.rglob("*.log")).read_bytes()


def test_a_log_that_is_closed_takes_nothing_and_says_so(tmp_path: Path) -> None:
    log = Shelf(tmp_path).begin()
    log.close()
    log.append(chosen(1))
    with pytest.raises(Unavailable, match="default/shop/choose is served no more"):
        log.append_now([chosen(2)])
    assert log.lost == 1
    assert replayed(tmp_path) == []


def test_who_asks_after_the_stop_still_gets_an_answer(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    log = shelf.begin()
    log.append_now([chosen(1)])
    log.close()
    shelf.logs.close()
    told: list[str] = []
    log.when_durable(told.append)
    assert told == [""]


class FullDisk:
    """`os.write` on a disk with room for so many bytes more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = memoryview(data)[: self.room]
        self.room -= len(taken)
        return self._write(descriptor, taken)


def test_a_full_disk_refuses_the_reward_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)
    log = shelf.begin()
    log.append_now([chosen(1)])
    disk = FullDisk(20)
    monkeypatch.setattr(router_segments.os, "write", disk)
    with pytest.raises(Unavailable, match=r"No space left on device .*free some space"):
        log.append_now([chosen(2)])
    log.append(chosen(3))
    shelf.turn()
    assert log.lost == 1
    disk.room = 1 << 20
    log.append_now([chosen(4)])
    assert replayed(tmp_path) == [chosen(1), chosen(4)]


def test_a_disk_that_is_full_from_the_start_leaves_no_empty_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Shelf(tmp_path).begin()
    monkeypatch.setattr(router_segments.os, "write", FullDisk(0))
    for _ in range(3):
        with pytest.raises(Unavailable):
            log.append_now([chosen(1)])
    assert list(tmp_path.rglob("*.log")) == []


def test_a_sync_that_fails_is_told_and_what_it_may_have_lost_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Shelf(tmp_path).begin()
    log.append_now([chosen(1)])

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(router_segments.os, "fdatasync", broken)
        assert "Input/output error" in synced(log)
    assert synced(log) == ""
    # Twice, since nobody knows whether the first is there; who reads it counts it once.
    assert replayed(tmp_path) == [chosen(1), chosen(1)]


def test_those_who_wait_at_the_same_time_share_a_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path)
    log = shelf.begin()
    syncs: list[int] = []
    monkeypatch.setattr(router_segments.os, "fdatasync", syncs.append)
    blocked = shelf.logs.thread.submit(os.read, *pipe_end())
    found: list[str] = []
    for index in range(10):
        log.append_now([chosen(index)])
        log.when_durable(found.append)
    os.write(WRITE_END.pop(), b"x")
    blocked.result(10)
    shelf.logs.thread.submit(int).result(10)
    assert found == [""] * 10
    assert len(syncs) == 1


WRITE_END: list[int] = []


def pipe_end() -> tuple[int, int]:
    read, write = os.pipe()
    WRITE_END.append(write)
    return read, 1


def test_names_of_routers_cannot_leave_the_folder(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "routers")
    for step in ("..", ".", "a/b", "a%2Fb", "é"):
        log = shelf.open(RouterName("default", "g", step))
        log.replay()
        log.open_epoch(OPENED)
        log.append_now([chosen(1)])
    folders = {path.parent for path in tmp_path.rglob("*.log")}
    assert len(folders) == 5
    assert all(len(path.relative_to(tmp_path).parts) == 4 for path in folders)


def test_a_damaged_snapshot_is_told_with_its_folder(tmp_path: Path) -> None:
    Shelf(tmp_path).begin()
    folder = tmp_path / "default" / "shop" / "choose"
    (folder / "snapshot.json").write_text("{")
    with pytest.raises(
        Unavailable, match=r"snapshot of router default/shop/choose in .*put a copy"
    ):
        Shelf(tmp_path).open().replay()


def test_a_snapshot_spares_reading_what_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Shelf(tmp_path, files=LogFiles(segment_bytes=400)).begin()
    for index in range(100):
        log.append_now([chosen(index)])
    log.save(b"1")
    settle(log)
    monkeypatch.setattr(router_log, "_REPLAYED_BYTES", 900)
    found = replayed(tmp_path)
    assert 0 < len(found) < 20
    assert found[-1] == chosen(99)
