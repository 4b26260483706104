"""The worker's end of its socket: frames in, frames out, blocking."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable

from salver.backends.local.answering import Answers
from salver.backends.local.arena import ArenaReader, ArenaWriter
from salver.backends.local.part_window import PartWindow
from salver.backends.local.polling import PollPolicy
from salver.protocol.frame import (
    HEADER,
    INLINE_LIMIT_BYTES,
    Frame,
    FrameKind,
    Item,
    frame_size,
    parse_request,
    part_head,
    reply_head,
)
from salver.protocol.wire import EncodedResponse

_BUFFER_BYTES = 256 << 10
_NEWS = (FrameKind.CANCEL, FrameKind.TAKEN, FrameKind.ASK)
"""What the gateway sends about a batch that is under way, and its question for facts."""


class WorkerChannel:
    """The worker's end of the socket, blocking."""

    def __init__(
        self, connection: socket.socket, requests: ArenaReader, replies: ArenaWriter
    ) -> None:
        self._socket = connection
        self._requests = requests
        self._replies = replies
        self._buffer = bytearray(_BUFFER_BYTES)
        self._polling = PollPolicy()
        self._last_length = 0
        self._batch_id = 0
        self._filled = 0
        self._cancelled: set[int] = set()
        self._window = PartWindow()
        self._window_batch_id = 0
        self.on_asked: Callable[[], object] = lambda: None
        """Called when the gateway asks for the worker's facts."""
        self.preface = b""
        """A frame that goes before the next reply, in the same write; empty: none."""

    def receive(self) -> Frame | None:
        """The next frame; its payload is valid until the next call. None: gateway gone."""
        filled = self._poll(memoryview(self._buffer))
        frame = self._read_on(filled)
        while frame is not None and frame.kind in _NEWS:
            if frame.kind == FrameKind.ASK:
                self.on_asked()
            # Else it came too late: the batch was answered already. The next frame may be behind.
            filled = self._filled - frame.offset
            self._buffer[:filled] = self._buffer[frame.offset : self._filled]
            frame = self._read_on(filled or self._poll(memoryview(self._buffer)))
        if frame is not None:
            self._batch_id = frame.batch_id
            self._cancelled.clear()
        return frame

    def is_cancelled(self, item: int) -> bool:
        """Whether nobody waits any more for that item of the present batch.

        While the worker is at a batch, the gateway sends nothing else.
        """
        while self._has_news():
            self._read_news()
        return item in self._cancelled

    def wait_room(self, item: int) -> bool:
        """Waits until another part of the stream may be sent; False: nobody waits for it.

        Without a time limit of its own: the gateway keeps the time, and cancels. A stream is alone
        in its batch, so there is one window.
        """
        if self._window_batch_id != self._batch_id:
            self._window_batch_id = self._batch_id
            self._window.clear()
        while not self.is_cancelled(item):
            if not self._window.is_full:
                return True
            self._read_news()
        return False

    def send_part(self, item: int, response: EncodedResponse) -> None:
        """Sends one response of a stream."""
        size = len(response.body)
        self._window.sent(size)
        head = part_head(self._batch_id, item, response.json_length, size)
        self._send(head + response.body)

    def _read_news(self) -> None:
        """Takes in one frame about the present batch, waiting for it if need be."""
        try:
            head = self._socket.recv(HEADER.size, socket.MSG_WAITALL)
            if len(head) < HEADER.size:
                os._exit(0)  # As in `_send`.
            rest = self._socket.recv(frame_size(head) - HEADER.size, socket.MSG_WAITALL)
        except OSError:
            os._exit(0)
        frame = parse_request(head + rest)
        if frame.batch_id != self._batch_id:
            return
        if frame.kind == FrameKind.TAKEN:
            self._window.taken(sum(frame.table[1::3]))
        else:
            self._cancelled.update(frame.table[0::3])

    def _has_news(self) -> bool:
        try:
            head = self._socket.recv(HEADER.size, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except OSError:
            return False
        return len(head) == HEADER.size

    def await_news(self, timeout_s: float) -> bool:
        """Whether something comes within that time: a frame, or the gateway's end."""
        return bool(select.select([self._socket], (), (), timeout_s)[0])

    @property
    def is_at_end(self) -> bool:
        """The gateway has gone."""
        try:
            return not self._socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _read_on(self, filled: int) -> Frame | None:
        """The frame of which the buffer holds the beginning."""
        view = memoryview(self._buffer)
        needed = frame_size(view) if filled >= HEADER.size else HEADER.size
        if needed > len(view):
            view = self._grown(filled, needed)
        while 0 < filled < needed:
            try:
                count = self._socket.recv_into(view[filled:])
            except OSError:
                return None
            if count == 0:
                return None
            filled += count
            if filled >= HEADER.size:
                needed = frame_size(view)
                if needed > len(view):
                    view = self._grown(filled, needed)
        self._filled = filled
        return parse_request(view[:needed]) if filled else None

    def _grown(self, filled: int, needed: int) -> memoryview:
        larger = bytearray(needed)
        larger[:filled] = self._buffer[:filled]
        self._buffer = larger
        return memoryview(larger)

    def _poll(self, view: memoryview) -> int:
        """Looks for the next frame without sleeping, if the policy says so; bytes received."""
        started_s = time.perf_counter()
        end_s = started_s + self._polling.next_s(self._last_length)
        now_s = started_s
        while now_s < end_s:
            try:
                count = self._socket.recv_into(view, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                # Whoever wants this core goes first.
                os.sched_yield()
                now_s = time.perf_counter()
            except OSError:
                return 0
            else:
                self._polling.record(now_s - started_s, polled=True, found=True)
                return count
        return self._sleep(view, started_s, polled=end_s > started_s)

    def _sleep(self, view: memoryview, started_s: float, *, polled: bool) -> int:
        try:
            count = self._socket.recv_into(view)
        except OSError:
            return 0
        gap_s = time.perf_counter() - started_s
        self._polling.record(gap_s, polled=polled, found=False)
        return count

    def items(self, frame: Frame) -> list[Item]:
        """The frame's items, views into the frame or into shared memory."""
        table = frame.table
        self._last_length = len(table) // 3
        if frame.is_shared:
            bodies = frame.shared_bodies(self._requests.view(frame.shared_size))
        else:
            bodies = frame.bodies()
        return [Item(*row) for row in zip(table[0::3], table[1::3], bodies, strict=True)]

    def reply(self, batch_id: int, answers: Answers) -> None:
        """Sends the answers, through shared memory if they are large."""
        table: list[int] = []
        size = 0
        for tag, aux, body in answers.items:
            length = len(body)
            table += (tag, aux, length)
            size += length
        is_shared = size > INLINE_LIMIT_BYTES
        kind = FrameKind.RECYCLE if answers.must_recycle else FrameKind.REPLY
        head = reply_head(
            batch_id,
            kind,
            table,
            size,
            is_shared=is_shared,
            compute_ns=answers.compute_ns,
            rows=answers.rows,
            runs=answers.runs,
        )
        bodies = [item.body for item in answers.items]
        if is_shared:
            self._replies.trim()
            self._replies.write(bodies, size)
            self._send(self.preface + head)
        else:
            self._send(b"".join((self.preface, head, *bodies)))

    def announce(self, kind: FrameKind, text: bytes) -> None:
        """Has a frame of one item go before the next replies, until it is announced anew."""
        head = reply_head(0, kind, (0, 0, len(text)), len(text), is_shared=False)
        self.preface = head + text

    def send_text(self, kind: FrameKind, text: bytes) -> None:
        """Sends a reply frame of one item outside any batch."""
        head = reply_head(0, kind, (0, 0, len(text)), len(text), is_shared=False)
        self._send(head + text)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            # The gateway is gone, and with it every reason to live.
            os._exit(0)
