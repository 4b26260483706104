"""One worker process as the gateway sees it: a socket, two arenas, one batch in flight."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import msgspec

from salver.backends.local.arena import ArenaReader, ArenaWriter, create_arena
from salver.backends.local.environment import Environment, cause_of_end
from salver.backends.local.output_pipe import OutputPipe
from salver.backends.local.part_flow import PartFlow
from salver.backends.local.region_files import distrust
from salver.backends.local.worker_messages import CacheCounts, LoadOrder, LoadReport, WorkerFacts
from salver.control.lifecycle import ReplicaEvent, ReplicaState, next_state
from salver.engine.call import Call
from salver.engine.queue import Clock
from salver.errors import ErrorKind
from salver.protocol.frame import (
    INLINE_LIMIT_BYTES,
    Frame,
    FrameKind,
    FrameSplitter,
    ask_frame,
    cancel_frame,
    parse_reply,
    request_head,
)
from salver.protocol.operations import Operation, is_stream, operation_of

logger = logging.getLogger("salver.supervisor")

_SOCKET_BUFFER_BYTES = 1 << 20
_CAUSE_WAIT_S = 1.0
"""How long after its socket a worker may close before its requests are told that it has ended. The
fork server says why within a millisecond, unless the machine is busy or there is much to free."""
_KINDS = {int(kind): kind for kind in ErrorKind}
_CANCELLED = (Operation.STEP, Operation.STREAM)
"""What a worker looks up from now and then, to see whether somebody still waits."""


class ReplicaOwner(Protocol):
    """The model whose replica this is."""

    def on_loaded(self, replica: LocalReplica, report: LoadReport) -> None: ...

    def on_load_failed(self, replica: LocalReplica, reason: str) -> None: ...

    def on_answered(
        self, replica: LocalReplica, batch: list[Call], rows: int, compute_ns: int
    ) -> None: ...

    def on_refused(self, kind: ErrorKind) -> None: ...

    def on_facts(self, replica: LocalReplica, facts: WorkerFacts) -> None: ...

    def on_cache(self, replica: LocalReplica, counts: CacheCounts) -> None: ...

    def on_part(self, call: Call, *, is_first: bool) -> None: ...

    def on_left(self, call: Call) -> None: ...

    def on_closed(self, replica: LocalReplica) -> None: ...

    def on_died(self, replica: LocalReplica, batch: list[Call], cause: str) -> None: ...

    def on_gone(self, replica: LocalReplica) -> None: ...

    def on_output(self, source: str, data: bytes) -> None: ...

    def on_output_end(self, source: str) -> None: ...

    def on_details(self, source: str, text: str) -> None: ...


class LocalReplica(asyncio.Protocol):
    """Implements the engine's `Replica` port over a worker process of this machine."""

    def __init__(
        self, owner: ReplicaOwner, order: LoadOrder, environment: Environment, clock: Clock
    ) -> None:
        self.order = order
        self.state = ReplicaState.STARTING
        self.pid = 0
        self.since_s = clock()
        """When the present batch was sent, or the load began."""
        self._owner = owner
        self._environment = environment
        self._batch: list[Call] = []
        self._batch_id = 0
        self._cancelled: set[int] = set()
        """Items of the present batch that the worker has been told to leave."""
        self._flow: PartFlow | None = None
        """The stream that the worker is at, or one that it was at before."""
        self._splitter = FrameSplitter()
        self._cause = "worker has ended"
        self._write: Callable[[bytes], None]
        self._was_killed = False
        self._has_ended = False
        self._has_loaded = False
        self._report: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._requests: ArenaWriter
        self._replies: ArenaReader
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._output: OutputPipe
        self._source = ""
        """Its process id, by which its output is told from others'."""
        self._unattributed: list[bytes] = []

    async def start(self) -> None:
        """Has the worker forked and sends it its order; `on_loaded` or another event follows."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        requests_fd, replies_fd = create_arena("requests"), create_arena("replies")
        self._requests, self._replies = ArenaWriter(requests_fd), ArenaReader(replies_fd)
        self._output = OutputPipe(self._loop, self._on_output)
        self.since_s = self._clock()
        fds = [theirs.fileno(), requests_fd, replies_fd, self._output.write_fd]
        self._environment.fork(self, fds)
        self._output.start()
        theirs.close()
        ours.setblocking(False)
        await self._loop.create_connection(lambda: self, sock=ours)
        if self.state is ReplicaState.DEAD:
            # Retired before it was connected. Not closed in `connection_made`: uvloop would close
            # the descriptor there and then, and once more with the socket, which it only lets go
            # of from here on; by then, the number may be another file's.
            self._close()

    # The engine's port.

    def send(self, batch: list[Call]) -> None:
        """Sends a batch to the worker, through shared memory if it is large."""
        self._batch = batch
        self._batch_id = (self._batch_id + 1) & 0xFFFFFFFF
        self.since_s = self._clock()
        if self._cancelled:
            self._cancelled = set()
        table: list[int] = []
        parts: list[bytes | bytearray] = [b""]
        size = 0
        for call in batch:
            body = call.body
            length = len(body)
            table += (call.codec, call.aux, length)
            parts.append(body)
            size += length
        is_shared = size > INLINE_LIMIT_BYTES
        head = request_head(self._batch_id, FrameKind.BATCH, table, size, is_shared=is_shared)
        if is_shared:
            self._requests.trim()
            self._requests.write(parts, size)
            self._write(head)
        else:
            parts[0] = head
            self._write(b"".join(parts))

    def cancel_abandoned(self) -> None:
        """Tells the worker for which items of its batch nobody waits; to be called now and then.

        Only those of several steps or parts are told of: between two of them the worker looks.
        """
        left = [
            index
            for index, call in enumerate(self._batch)
            if call.is_abandoned
            and index not in self._cancelled
            and operation_of(call.codec) in _CANCELLED
        ]
        transport = self._transport
        if left and transport is not None and not transport.is_closing():
            self._cancelled.update(left)
            self._write(cancel_frame(self._batch_id, left))
            for index in left:
                if is_stream(self._batch[index].codec):
                    self._owner.on_left(self._batch[index])

    @property
    def stream(self) -> PartFlow | None:
        """The stream that the worker is at, once it has given a part."""
        flow = self._flow
        return flow if flow is not None and self._batch and self._is_at(flow) else None

    def _is_at(self, flow: PartFlow) -> bool:
        return flow.batch_id == self._batch_id

    def ask(self) -> None:
        """Asks the worker what it has done so far; `on_facts` follows."""
        transport = self._transport
        if self.state is ReplicaState.READY and transport is not None:
            self._write(ask_frame())

    @property
    def has_loaded(self) -> bool:
        """The model is in the worker: it has been ready, whatever became of it since."""
        return self._has_loaded

    @property
    def batch(self) -> list[Call]:
        """The calls that the worker is at; empty when it is idle."""
        return self._batch

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.state is ReplicaState.DEAD:
            return
        text = msgspec.json.encode(self.order)
        head = request_head(0, FrameKind.LOAD, (0, 0, len(text)), len(text), is_shared=False)
        self._write = self._transport.write
        self._write(head + text)

    def data_received(self, data: bytes) -> None:
        for data_frame in self._splitter.feed(data):
            self._on_frame(parse_reply(data_frame))

    def connection_lost(self, exc: Exception | None) -> None:
        self._requests.close()
        self._replies.close()
        if self.state is ReplicaState.DEAD:
            return
        self.state = next_state(self.state, ReplicaEvent.EXITED)
        if self._has_ended:
            self._report_death()
        else:
            # The fork server is about to say why; if it does not, requests are waiting.
            self._owner.on_closed(self)
            self._report = self._loop.call_later(_CAUSE_WAIT_S, self._report_death)

    def _report_death(self) -> None:
        batch, self._batch = self._batch, []
        self._owner.on_died(self, batch, self._cause)

    @property
    def was_killed(self) -> bool:
        """It was ended from here, since it did not answer."""
        return self._was_killed

    # What the fork server reports.

    def on_forked(self, pid: int) -> None:
        self.pid = pid
        self._source = str(pid)
        for data in self._unattributed:
            self._on_output(data)
        self._unattributed.clear()

    def on_ended(self, status: int) -> None:
        if not self._was_killed:
            self._cause = f"worker {cause_of_end(status)}"
        self._output.finish()
        self._owner.on_output_end(self._source)
        self._has_ended = True
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS:
            self._distrust_clients()
        self.pid = 0
        self._owner.on_gone(self)
        if self._report is not None:
            self._report.cancel()
            self._report = None
            self._report_death()

    def _distrust_clients(self) -> None:
        """Memory has been taken away from under the worker, most likely by the client it was of."""
        folder = self.order.regions
        if folder and distrust(Path(folder)):
            logger.warning(
                "a worker of model '%s' was ended by SIGBUS: a client has shortened memory that it "
                "shares, or /dev/shm is full; from now on clients' memory is copied, not mapped",
                self.order.name,
            )

    def on_failed(self, reason: str) -> None:
        """No worker comes: the fork server cannot even start."""
        if self._report is not None:
            # Its socket told of an end before this told why.
            self._report.cancel()
            self._report = None
        elif self.state is ReplicaState.STARTING:
            self.state = next_state(self.state, ReplicaEvent.LOAD_FAILED)
            self._close()
        else:
            return
        self._owner.on_load_failed(self, reason)
        self._owner.on_gone(self)

    def _on_output(self, data: bytes) -> None:
        if self._source:
            self._owner.on_output(self._source, data)
        else:
            # It prints before the fork server has told its process id.
            self._unattributed.append(data)

    # Frames from the worker.

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind in (FrameKind.REPLY, FrameKind.RECYCLE):
            self._on_reply(frame)
        elif frame.kind == FrameKind.PART:
            self._on_part(frame)
        elif frame.kind == FrameKind.CACHE:
            self._owner.on_cache(self, msgspec.json.decode(frame.bodies()[0], type=CacheCounts))
        elif frame.kind == FrameKind.FACTS:
            facts = msgspec.json.decode(frame.bodies()[0], type=WorkerFacts)
            self._owner.on_facts(self, facts)
        elif self.state is not ReplicaState.STARTING:
            return  # It was retired while it loaded.
        elif frame.kind == FrameKind.LOADED:
            report = msgspec.json.decode(frame.bodies()[0], type=LoadReport)
            self.state = next_state(self.state, ReplicaEvent.LOADED)
            self._has_loaded = True
            self._owner.on_loaded(self, report)
        elif frame.kind == FrameKind.LOAD_FAILED:
            self.state = next_state(self.state, ReplicaEvent.LOAD_FAILED)
            self._close()
            text = str(frame.bodies()[0], "utf-8", "replace")
            reason, _, details = text.partition("\0")
            self._owner.on_details(self._source, details)
            self._owner.on_load_failed(self, reason)

    def _on_reply(self, frame: Frame) -> None:
        batch, self._batch = self._batch, []
        table = frame.table
        if frame.is_shared:
            # Copied out before the next batch goes to the worker, which may overwrite it.
            view = self._replies.view(frame.shared_size)
            bodies = [bytes(body) for body in frame.shared_bodies(view)]
        else:
            # Slices of bytes are bytes.
            bodies = cast(list[bytes], frame.bodies())
        if frame.kind == FrameKind.RECYCLE:
            self.state = next_state(self.state, ReplicaEvent.RETIRED)
        # The next batch goes out before these answers, so that the worker never waits for them.
        self._owner.on_answered(self, batch, frame.rows, frame.compute_ns)
        for call, tag, aux, body in zip(batch, table[0::3], table[1::3], bodies, strict=True):
            try:
                if tag == 0:
                    call.deliver(body, aux)
                elif tag & 0xFF:
                    self._owner.on_refused(_KINDS[tag & 0xFF])
                    call.fail(_KINDS[tag & 0xFF], str(body, "utf-8", "replace"))
                else:
                    call.coding = tag >> 8
                    call.deliver(body, aux)
            except Exception:
                # One caller's trouble must not leave the rest of the batch without answers.
                logger.exception("an answer of model '%s' was not delivered", self.order.name)

    def _on_part(self, frame: Frame) -> None:
        item, aux, _ = frame.table
        if frame.batch_id != self._batch_id or item >= len(self._batch):
            return
        call = self._batch[item]
        if call.is_abandoned:
            self.cancel_abandoned()
            return
        flow = self._flow
        is_first = flow is None or not self._is_at(flow)
        if flow is None or is_first:
            flow = self._flow = self._new_flow(call, item)
        self._owner.on_part(call, is_first=is_first)
        try:
            flow.on_part(cast(bytes, frame.bodies()[0]), aux)
        except Exception:
            logger.exception("a part of model '%s' was not delivered", self.order.name)

    def _new_flow(self, call: Call, item: int) -> PartFlow:
        batch_id = self._batch_id
        return PartFlow(
            call,
            batch_id,
            item,
            write=partial(self._write_to, batch_id),
            call_soon=self._loop.call_soon,
            on_progress=partial(self._on_progress, batch_id),
            on_leave=self.cancel_abandoned,
            clock=self._clock,
        )

    def _write_to(self, batch_id: int, data: bytes) -> None:
        """Writes about a batch, unless the worker has answered it meanwhile."""
        transport = self._transport
        is_at_it = bool(self._batch) and batch_id == self._batch_id
        if is_at_it and transport is not None and not transport.is_closing():
            self._write(data)

    def _on_progress(self, batch_id: int) -> None:
        if batch_id == self._batch_id:
            self.since_s = self._clock()

    # Ends.

    def retire(self) -> None:
        """Takes no more batches; ends at once if idle, else after the present one."""
        if self.state is ReplicaState.DEAD or self.state is ReplicaState.RETIRING:
            return
        self.state = next_state(self.state, ReplicaEvent.RETIRED)
        if not self._batch:
            self.finish()

    def finish(self) -> None:
        """A retiring replica has answered its last batch, or a starting one is not needed."""
        if self.state is ReplicaState.RETIRING:
            self.state = next_state(self.state, ReplicaEvent.FINISHED)
        self._close()

    def kill(self, cause: str) -> None:
        """Ends a worker that does not answer; `on_died` follows."""
        logger.warning("killing worker %d of model '%s': it %s", self.pid, self.order.name, cause)
        self._cause = f"worker {cause} and was killed"
        self._was_killed = True
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
