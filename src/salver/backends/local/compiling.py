"""Compiling in a worker that serves already: requests first, engines between them.

Owns when the compiler gets time and what the gateway is told of it. The worker has one thread: a
request that comes meanwhile waits for one piece of the compiler's work, some milliseconds mostly.
"""

from __future__ import annotations

import msgspec

from salver.backends.local.answering import Answerer
from salver.backends.local.channel import WorkerChannel
from salver.backends.local.worker_messages import WorkerFacts
from salver.protocol.frame import FrameKind
from salver.runtimes.ports import CompilesLater

_AGAIN_S = 0.2
"""How soon to look again whether another worker has done the work."""


class _Leave(BaseException):
    """The gateway has gone, or the process is worn out. No compiler's `except` is to catch it."""


class Compiling:
    """One model's compiling, and its facts for the gateway."""

    def __init__(self, model: CompilesLater, answerer: Answerer, channel: WorkerChannel) -> None:
        self._model = model
        self._answerer = answerer
        self._channel = channel
        channel.on_asked = self.tell

    def tell(self) -> None:
        """Sends the facts."""
        facts = WorkerFacts(self._model.compile_report, self._model.counts)
        self._channel.send_text(FrameKind.FACTS, msgspec.json.encode(facts))

    def run(self) -> bool:
        """Compiles, answering what comes meanwhile. False: the worker is to end."""
        try:
            self._serve()
            while not self._model.compile_on(self._serve):
                # Another worker compiles the same model, and will leave its verdict.
                self._channel.await_news(_AGAIN_S)
                self._serve()
        except _Leave:
            return False
        self.tell()
        return True

    def _serve(self) -> None:
        channel = self._channel
        while channel.await_news(0.0):
            frame = None if channel.is_at_end else channel.receive()
            if frame is None:
                raise _Leave
            answers = self._answerer.answer(channel.items(frame))
            channel.reply(frame.batch_id, answers)
            if answers.must_recycle:
                raise _Leave
