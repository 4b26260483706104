"""Both ends of a worker's socket, without a worker process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from salver.backends.local.answering import Answers
from salver.backends.local.arena import ArenaReader, ArenaWriter, create_arena
from salver.backends.local.channel import WorkerChannel
from salver.backends.local.part_window import MOST_PARTS
from salver.protocol.frame import (
    Frame,
    FrameKind,
    FrameSplitter,
    Item,
    cancel_frame,
    parse_reply,
    request_head,
    taken_frame,
)
from salver.protocol.wire import EncodedResponse


class Ends:
    """A worker's channel and the bare socket that the gateway would have."""

    def __init__(self) -> None:
        self.gateway, worker = socket.socketpair()
        self.requests_fd, self.replies_fd = create_arena("requests"), create_arena("replies")
        self.requests = ArenaWriter(self.requests_fd)
        self.replies = ArenaReader(self.replies_fd)
        self.worker = worker
        self.channel = WorkerChannel(
            worker, ArenaReader(os.dup(self.requests_fd)), ArenaWriter(os.dup(self.replies_fd))
        )

    def close(self) -> None:
        self.gateway.close()
        self.worker.close()
        self.requests.close()
        self.replies.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def frame_of(bodies: list[bytes], *, is_shared: bool = False) -> bytes:
    table = [number for body in bodies for number in (1, 0, len(body))]
    size = sum(len(body) for body in bodies)
    head = request_head(3, FrameKind.BATCH, table, size, is_shared=is_shared)
    return head if is_shared else head + b"".join(bodies)


def received(ends: Ends) -> list[bytes]:
    frame = ends.channel.receive()
    assert frame is not None
    return [bytes(item.body) for item in ends.channel.items(frame)]


def test_frames_that_arrive_together_are_taken_one_by_one(ends: Ends) -> None:
    ends.gateway.sendall(frame_of([b"a", b"bc"]))
    assert received(ends) == [b"a", b"bc"]
    ends.gateway.sendall(frame_of([b"d"]))
    assert received(ends) == [b"d"]


def test_a_frame_larger_than_the_buffer_is_taken_whole(ends: Ends) -> None:
    import threading

    body = b"x" * 1_000_000
    sender = threading.Thread(target=ends.gateway.sendall, args=(frame_of([body]),))
    sender.start()
    assert received(ends) == [body]
    sender.join()


def test_bodies_in_shared_memory_are_found_there(ends: Ends) -> None:
    bodies = [b"x" * 100_000, b"y"]
    ends.requests.write(bodies, 100_001)
    ends.gateway.sendall(frame_of(bodies, is_shared=True))
    assert received(ends) == bodies


def test_a_closed_gateway_ends_the_worker_s_loop(ends: Ends) -> None:
    ends.gateway.close()
    assert ends.channel.receive() is None


def test_half_a_frame_and_then_nothing_ends_the_loop_too(ends: Ends) -> None:
    ends.gateway.sendall(frame_of([b"abcdef"])[:-3])
    ends.gateway.close()
    assert ends.channel.receive() is None


@pytest.mark.parametrize("size", [10, 200_000])
def test_answers_go_back_inline_or_through_shared_memory(ends: Ends, size: int) -> None:
    answers = Answers([Item(0, 7, b"z" * size)], rows=4, runs=1, compute_ns=99)
    ends.channel.reply(5, answers)
    frame = parse_reply(ends.gateway.recv(1 << 20))
    assert (frame.batch_id, frame.rows, frame.runs, frame.compute_ns) == (5, 4, 1, 99)
    assert frame.is_shared == (size > 100_000)
    if frame.is_shared:
        bodies = frame.shared_bodies(ends.replies.view(frame.shared_size))
    else:
        bodies = frame.bodies()
    assert [bytes(body) for body in bodies] == [b"z" * size]
    assert frame.table[:2] == (0, 7)


def test_a_worn_out_worker_says_so_in_its_last_answer(ends: Ends) -> None:
    ends.channel.reply(1, Answers([Item(9, 0, b"no memory")], must_recycle=True))
    assert parse_reply(ends.gateway.recv(1 << 20)).kind == FrameKind.RECYCLE


def test_items_of_the_present_batch_can_be_cancelled_while_it_is_answered(ends: Ends) -> None:
    ends.gateway.sendall(frame_of([b"a", b"b", b"c"]))
    assert received(ends) == [b"a", b"b", b"c"]
    assert not ends.channel.is_cancelled(1)
    ends.gateway.sendall(cancel_frame(3, [1]) + cancel_frame(3, [2]))
    assert [ends.channel.is_cancelled(item) for item in range(3)] == [False, True, True]
    ends.gateway.sendall(frame_of([b"d", b"e"]))
    assert received(ends) == [b"d", b"e"]
    assert not ends.channel.is_cancelled(1)


def test_a_cancellation_that_comes_too_late_is_passed_over(ends: Ends) -> None:
    ends.gateway.sendall(cancel_frame(2, [0]) + frame_of([b"a"]))
    assert received(ends) == [b"a"]
    ends.gateway.sendall(cancel_frame(2, [0, 1]))
    assert not ends.channel.is_cancelled(0)
    ends.gateway.sendall(cancel_frame(3, [0]) + cancel_frame(3, [0]))
    ends.gateway.close()
    assert ends.channel.receive() is None


def test_a_large_frame_behind_a_late_cancellation_is_taken_whole(ends: Ends) -> None:
    import threading

    body = b"x" * 1_000_000
    sender = threading.Thread(
        target=ends.gateway.sendall, args=(cancel_frame(2, [0]) + frame_of([body]),)
    )
    sender.start()
    assert received(ends) == [body]
    sender.join()


PART = EncodedResponse(b"part", 2)


def sent_parts(ends: Ends) -> list[Frame]:
    ends.gateway.setblocking(False)
    try:
        data = ends.gateway.recv(1 << 20)
    except BlockingIOError:
        data = b""
    return [parse_reply(each) for each in FrameSplitter().feed(data)]


def test_parts_are_frames_of_their_own_with_the_number_of_their_item(ends: Ends) -> None:
    ends.gateway.sendall(frame_of([b"a"]))
    received(ends)
    assert ends.channel.wait_room(0)
    ends.channel.send_part(0, PART)
    ends.channel.send_part(0, PART)
    frames = sent_parts(ends)
    assert [frame.kind for frame in frames] == [FrameKind.PART] * 2
    assert [frame.batch_id for frame in frames] == [3, 3]
    assert [frame.table for frame in frames] == [(0, 2, 4)] * 2
    assert [frame.bodies() for frame in frames] == [[b"part"]] * 2


def fill(ends: Ends) -> None:
    ends.gateway.sendall(frame_of([b"a"]))
    received(ends)
    for _ in range(MOST_PARTS):
        assert ends.channel.wait_room(0)
        ends.channel.send_part(0, PART)


def test_a_worker_that_is_far_ahead_waits_until_parts_are_taken(ends: Ends) -> None:
    fill(ends)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(ends.channel.wait_room(0)))
    thread.start()
    thread.join(0.05)
    assert not results
    ends.gateway.sendall(taken_frame(2, 0, 5))
    ends.gateway.sendall(taken_frame(3, 0, 1))
    thread.join(5)
    assert results == [True]
    ends.channel.send_part(0, PART)
    assert len(sent_parts(ends)) == MOST_PARTS + 1


def test_a_worker_that_waits_for_a_reader_hears_that_it_has_left(ends: Ends) -> None:
    fill(ends)
    ends.gateway.sendall(cancel_frame(3, [0]))
    assert not ends.channel.wait_room(0)


def test_what_was_unread_of_one_stream_does_not_hold_up_the_next(ends: Ends) -> None:
    fill(ends)
    ends.gateway.sendall(taken_frame(3, 0, 2))
    head = request_head(4, FrameKind.BATCH, (1, 0, 1), 1, is_shared=False)
    ends.gateway.sendall(head + b"b")
    assert received(ends) == [b"b"]
    for _ in range(MOST_PARTS):
        assert ends.channel.wait_room(0)
        ends.channel.send_part(0, PART)
