"""What a process has written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from salver.backends.processes.output import OutputLog


def test_lines_are_whole_however_they_were_cut() -> None:
    log = OutputLog()
    for piece in (b"on", b"e\r\ntwo\nth", b"ree"):
        log.feed(piece)
    assert log.read() == ["one", "two"]
    log.end()
    assert (log.read(2), log.read()) == (["two", "three"], ["one", "two", "three"])


def test_a_line_without_end_is_cut_before_it_fills_the_memory() -> None:
    log = OutputLog()
    log.feed(b"x" * 100_000)
    assert [len(line) for line in log.read()] == [16 << 10] * 6


def test_the_file_is_bounded_and_one_former_file_is_kept(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "a" / "m.log", max_file_bytes=100)
    for number in range(30):
        log.feed(b"line %02d\n" % number)
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "a").iterdir()}
    assert sizes.keys() == {"m.log", "m.log.1"}
    assert max(sizes.values()) <= 100
    assert (tmp_path / "a" / "m.log").read_text().endswith("line 29\n")


def test_followers_get_the_last_lines_and_those_to_come() -> None:
    async def scenario() -> None:
        log = OutputLog()
        log.feed(b"old\nlast\n")
        seen = []
        follow = log.follow(1)
        async for line in follow:
            seen.append(line)
            if len(seen) == 1:
                log.feed(b"new\n")
            else:
                break
        await follow.aclose()  # type: ignore[attr-defined]
        assert seen == ["last", "new"]

    asyncio.run(scenario())


def test_each_source_keeps_its_own_lines_whole() -> None:
    log = OutputLog()
    log.feed(b"one, be", "11")
    log.feed(b"two\n", "22")
    log.feed(b"gun\n", "11")
    assert log.read() == ["two", "one, begun"]
    assert (log.read(source="11"), log.has("22"), log.has("33")) == (["one, begun"], True, False)


def test_lines_in_memory_are_bounded_by_their_bytes_too() -> None:
    log = OutputLog(max_bytes=1000)
    for number in range(100):
        log.feed(b"%099d\n" % number)
    assert len(log.read()) == 10
    assert log.read(0) == []


def test_a_follower_comes_to_an_end_with_its_source_and_with_the_log() -> None:
    async def lines(log: OutputLog, source: str, act: Callable[[], None]) -> list[str]:
        found = []
        asyncio.get_running_loop().call_soon(act)
        async for line in log.follow(source=source):
            found.append(line)
        return found

    async def scenario() -> None:
        log = OutputLog()
        log.feed(b"mine\n", "11")
        log.feed(b"another's\nand half", "22")
        assert await lines(log, "11", lambda: log.end("11")) == ["mine"]
        assert await lines(log, "", log.close) == ["mine", "another's", "and half"]

    asyncio.run(scenario())


def test_a_slow_follower_is_told_how_much_it_has_missed() -> None:
    async def scenario() -> None:
        log = OutputLog()
        follow = log.follow(0)
        reading = asyncio.ensure_future(anext(follow))
        await asyncio.sleep(0)
        log.feed(b"line\n" * 10_004)
        log.close()
        found = [await reading, *[line async for line in follow]]
        assert found[-1] == "salver: 6 lines left out: they came faster than they were read"
        assert found.count("line") == 9_998

    asyncio.run(scenario())


def test_a_disk_that_cannot_be_written_costs_the_file_and_no_line(tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("")
    log = OutputLog(tmp_path / "no-folder" / "m.log")
    log.feed(b"one\ntwo\n")
    assert log.read() == ["one", "two"]
    log.close()


def test_every_line_is_echoed() -> None:
    heard: list[str] = []
    log = OutputLog(echo=heard.append)
    log.feed(b"one\ntw")
    log.note("stopped")
    log.keep("for the log alone")
    assert log.read()[-1] == "for the log alone"
    assert heard == ["one", "tw", "salver: stopped"]
