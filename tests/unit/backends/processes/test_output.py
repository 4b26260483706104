"""What a process has written."""

from __future__ import annotations

import asyncio
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
