from hypothesis import given
from hypothesis import strategies as st

from salver.protocol.frame import (
    HEADER,
    FrameKind,
    FrameSplitter,
    frame_size,
    parse_reply,
    parse_request,
    reply_head,
    request_head,
)

U32 = st.integers(0, 2**32 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)
ITEMS = st.lists(st.tuples(U32, I32, st.binary(max_size=50)), max_size=20)


def table_of(items: list[tuple[int, int, bytes]]) -> list[int]:
    return [number for tag, aux, body in items for number in (tag, aux, len(body))]


def request_frame(items: list[tuple[int, int, bytes]], batch_id: int = 7) -> bytes:
    bodies = b"".join(body for _, _, body in items)
    return (
        request_head(batch_id, FrameKind.BATCH, table_of(items), len(bodies), is_shared=False)
        + bodies
    )


@given(ITEMS, U32)
def test_a_request_frame_comes_back_as_it_was(
    items: list[tuple[int, int, bytes]], batch_id: int
) -> None:
    data = request_frame(items, batch_id)
    assert frame_size(data) == len(data)
    frame = parse_request(data)
    assert (frame.batch_id, frame.kind, frame.is_shared) == (batch_id, FrameKind.BATCH, False)
    assert list(frame.table) == table_of(items)
    assert [bytes(body) for body in frame.bodies()] == [body for _, _, body in items]


@given(ITEMS, st.integers(0, 2**64 - 1), U32, U32)
def test_a_reply_frame_comes_back_with_its_facts(
    items: list[tuple[int, int, bytes]], compute_ns: int, rows: int, runs: int
) -> None:
    bodies = b"".join(body for _, _, body in items)
    head = reply_head(
        1,
        FrameKind.REPLY,
        table_of(items),
        len(bodies),
        is_shared=False,
        compute_ns=compute_ns,
        rows=rows,
        runs=runs,
    )
    frame = parse_reply(head + bodies)
    assert (frame.compute_ns, frame.rows, frame.runs) == (compute_ns, rows, runs)
    assert [bytes(body) for body in frame.bodies()] == [body for _, _, body in items]


def test_more_rows_than_a_frame_can_tell_are_told_as_the_most() -> None:
    head = reply_head(1, FrameKind.REPLY, (), 0, is_shared=False, rows=1 << 40)
    assert parse_reply(head).rows == 2**32 - 1


def test_a_shared_frame_carries_no_bodies_but_their_lengths() -> None:
    head = request_head(1, FrameKind.BATCH, (1, 0, 3, 2, 5, 4), 7, is_shared=True)
    assert frame_size(head) == len(head)
    frame = parse_request(head)
    shared = memoryview(b"abcdefg-rest")
    assert [bytes(body) for body in frame.shared_bodies(shared)] == [b"abc", b"defg"]


@given(st.lists(ITEMS, max_size=4), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_frames_survive_any_split_of_the_stream(
    frames: list[list[tuple[int, int, bytes]]], sizes: list[int]
) -> None:
    sent = [request_frame(items) for items in frames]
    stream = b"".join(sent)
    splitter = FrameSplitter()
    received: list[bytes] = []
    offset = 0
    index = 0
    while offset < len(stream):
        size = sizes[index % len(sizes)]
        received += splitter.feed(stream[offset : offset + size])
        offset += size
        index += 1
    assert received == sent


def test_half_a_header_is_kept_for_later() -> None:
    data = request_frame([(1, 0, b"x")])
    splitter = FrameSplitter()
    assert list(splitter.feed(data[: HEADER.size - 1])) == []
    assert list(splitter.feed(data[HEADER.size - 1 :])) == [data]
