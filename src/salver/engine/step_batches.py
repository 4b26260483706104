"""Calls of one step from several requests, held back so that they reach the model together.

A model's own queue batches what happens to wait; a step with a `batch` waits on purpose: for so
many calls, or for so long after the first. What is let go in one turn of the loop goes to a worker
as one batch. Owns nothing of what a batch is predicted as.
"""

from __future__ import annotations

import logging

from salver.engine.call import Call
from salver.engine.ports import ServedModel
from salver.engine.queue import Scheduler
from salver.errors import ErrorKind

logger = logging.getLogger("salver.graphs")


class StepBatch:
    """The calls of one step that wait for others."""

    def __init__(self, size: int, window_s: float, scheduler: Scheduler) -> None:
        """`size` 0: as many as come in the window."""
        self._size = size
        self._window_s = window_s
        self._scheduler = scheduler
        self._waiting: list[tuple[ServedModel, Call]] = []
        self._round = 0

    @property
    def waiting(self) -> int:
        """Calls that are held back now."""
        return len(self._waiting)

    def add(self, model: ServedModel, call: Call) -> None:
        """Holds the call back, or lets all go if that was the last that was missing."""
        self._waiting.append((model, call))
        if len(self._waiting) == self._size:
            self._let_go()
        elif len(self._waiting) == 1:
            number = self._round
            self._scheduler.call_later(self._window_s, lambda: self._on_window(number))

    def _on_window(self, number: int) -> None:
        # A batch that was full before its window was over has gone already.
        if number == self._round:
            self._let_go()

    def _let_go(self) -> None:
        self._round += 1
        waiting, self._waiting = self._waiting, []
        for model, call in waiting:
            if not call.is_abandoned:
                try:
                    model.submit(call)
                except Exception as error:
                    # A model that breaks its contract must not become the others' trouble.
                    logger.exception("model '%s': submit raised", model.name)
                    call.fail(ErrorKind.MODEL_FAILED, f"a fault of the server: {error}")
