from collections.abc import Iterator

import pytest

from salver.backends.local.arena import KEEP_BYTES, ArenaReader, ArenaWriter, create_arena


@pytest.fixture
def ends() -> Iterator[tuple[ArenaWriter, ArenaReader]]:
    import os

    fd = create_arena("test")
    writer, reader = ArenaWriter(fd), ArenaReader(os.dup(fd))
    yield writer, reader
    writer.close()
    reader.close()


def test_what_one_end_writes_the_other_sees_without_a_copy(
    ends: tuple[ArenaWriter, ArenaReader],
) -> None:
    writer, reader = ends
    writer.write([b"abc", bytearray(b"de")], 5)
    view = reader.view(5)
    assert bytes(view) == b"abcde"
    writer.write([b"xyz"], 3)
    assert bytes(view) == b"xyzde"
    assert view.readonly


def test_the_reader_follows_when_the_writer_grows(ends: tuple[ArenaWriter, ArenaReader]) -> None:
    writer, reader = ends
    writer.write([b"small"], 5)
    old = reader.view(5)
    big = bytes(range(256)) * 20_000
    writer.write([big], len(big))
    assert bytes(reader.view(len(big))) == big
    assert bytes(old) == big[:5]


def test_memory_beyond_what_is_kept_goes_back(ends: tuple[ArenaWriter, ArenaReader]) -> None:
    writer, reader = ends
    size = KEEP_BYTES + (4 << 20)
    writer.write([b"\x01" * size], size)
    writer.trim()
    view = reader.view(size)
    assert view[KEEP_BYTES - 1] == 1
    assert view[KEEP_BYTES] == 0
