"""A worker process: loads one model, then answers batches until its socket closes.

One thread, blocking reads: a prediction blocks anyway, and an event loop here would only
add to every batch. Model code runs nowhere else.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import time
import traceback
from pathlib import Path

import msgspec

from salver.backends.local.answering import Answerer, Answers
from salver.backends.local.arena import ArenaReader, ArenaWriter
from salver.backends.local.worker_messages import LoadOrder, LoadReport
from salver.errors import SalverError
from salver.protocol.frame import (
    HEADER,
    INLINE_LIMIT_BYTES,
    Frame,
    FrameKind,
    Item,
    frame_size,
    parse_request,
    reply_head,
)
from salver.protocol.wire import ModelIdentity
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.registry import runtime_named
from salver.runtimes.warmup import warmup_request
from salver.telemetry import logs

logger = logging.getLogger("salver.worker")

_WORKER_OOM_SCORE = "500"
"""If the machine itself runs out of memory, workers go before the gateway does."""


def run(connection: socket.socket, requests_fd: int, replies_fd: int) -> None:
    """The worker's whole life; returns when the gateway closes the socket."""
    channel = _Channel(connection, ArenaReader(requests_fd), ArenaWriter(replies_fd))
    frame = channel.receive()
    if frame is None:
        return
    order = msgspec.json.decode(frame.bodies()[0], type=LoadOrder)
    logs.configure(order.log_level, order.log_format)
    _limit_memory(order.memory_bytes)
    try:
        answerer, report = load(order)
    except SalverError as error:
        channel.send_text(FrameKind.LOAD_FAILED, str(error).encode())
        return
    except Exception as error:
        logger.exception("model '%s' could not be loaded", order.name)
        reason = traceback.format_exception_only(error)[-1].strip()
        channel.send_text(FrameKind.LOAD_FAILED, reason.encode())
        return
    channel.send_text(FrameKind.LOADED, msgspec.json.encode(report))
    while (frame := channel.receive()) is not None:
        answers = answerer.answer(channel.items(frame))
        channel.reply(frame.batch_id, answers)
        if answers.must_recycle:
            return


def load(order: LoadOrder) -> tuple[Answerer, LoadReport]:
    """Loads and warms up the model: afterwards it has answered one request of its own shape.

    Raises `ArtifactError` with the reason if it cannot be loaded.
    """
    started_s = time.perf_counter()
    source = ModelSource(
        name=order.name,
        path=Path(order.path),
        runtime=order.runtime,
        attribute=order.attribute,
        threads=order.threads,
        batch_requested=order.batch_requested,
    )
    model = runtime_named(order.runtime).load(source)
    loaded_s = time.perf_counter()
    _warm_up(model, order.name)
    identity = ModelIdentity(order.name, order.version, model.metadata)
    answerer = Answerer(
        model, identity, max_rows=order.max_rows, max_body_bytes=order.max_body_bytes
    )
    warm_s = time.perf_counter()
    return answerer, LoadReport(model.metadata, loaded_s - started_s, warm_s - loaded_s)


def _warm_up(model: LoadedModel, name: str) -> None:
    request = warmup_request(model.metadata)
    if request is None:
        return
    try:
        model.predict(request)
    except Exception as error:
        # A model may rightly refuse zeros; what counts is that its code has run once.
        logger.warning("model '%s' refused its warm-up request: %s", name, error)


def _limit_memory(memory_bytes: int) -> None:
    if memory_bytes > 0:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    try:
        Path("/proc/self/oom_score_adj").write_text(_WORKER_OOM_SCORE)
    except OSError:
        logger.debug("oom_score_adj cannot be set here")


class _Channel:
    """The worker's end of the socket, blocking."""

    def __init__(
        self, connection: socket.socket, requests: ArenaReader, replies: ArenaWriter
    ) -> None:
        self._socket = connection
        self._requests = requests
        self._replies = replies
        self._buffer = bytearray(256 << 10)

    def receive(self) -> Frame | None:
        """The next frame; its payload is valid until the next call. None: gateway gone."""
        filled = 0
        needed = HEADER.size
        view = memoryview(self._buffer)
        while filled < needed:
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
                    larger = bytearray(needed)
                    larger[:filled] = view[:filled]
                    self._buffer = larger
                    view = memoryview(larger)
        return parse_request(view[:needed])

    def items(self, frame: Frame) -> list[Item]:
        """The frame's items, views into the frame or into shared memory."""
        table = frame.table
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
            self._send(head)
        else:
            self._send(b"".join((head, *bodies)))

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
