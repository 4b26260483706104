"""Keeps a program running: asks it, starts it again when it dies, sooner or later.

Owns when it is started again, and what callers are told meanwhile. A thread waits for the end of
the process, so that one that dies between two requests is there again for the next. Knows
neither tensors nor commands: how a process is started is given.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from salver.errors import ModelFailed, Unavailable
from salver.runtimes.program_child import BrokenProtocol, Piece, ProgramChild, ProgramEnded
from salver.runtimes.program_frames import Message

logger = logging.getLogger("salver.worker")

FIRST_DELAY_S = 0.1
MOST_DELAY_S = 5.0
WORTH_WAITING_S = 1.0
"""Requests wait so long for the next start; if it is further off, they are told."""


class StartFailed(Exception):
    """The program did not come up; the text says why, after `its program`."""


def restart_delay_s(failures: int) -> float:
    """Seconds until the next start, after so many ends without an answer between."""
    if failures <= 1:
        return 0.0
    return min(MOST_DELAY_S, FIRST_DELAY_S * float(2 ** min(failures - 2, 16)))


class Supervisor:
    """A program that is there as long as it can be. Asked from one thread only."""

    def __init__(
        self,
        start: Callable[[], ProgramChild],
        *,
        label: str,
        is_idempotent: bool,
        clock: Callable[[], float],
    ) -> None:
        """Takes no process yet. `start` raises `StartFailed`."""
        self.restarts = 0
        self._start = start
        self._label = label
        self._attempts = 2 if is_idempotent else 1
        self._clock = clock
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._child: ProgramChild | None = None
        self._failures = 0
        self._cause = ""
        self._start_at_s = 0.0

    def begin(self, child: ProgramChild) -> None:
        """Takes over a process that has said hello."""
        self._child = child
        threading.Thread(target=self._watch, args=(child,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The present process, 0 if there is none."""
        child = self._child
        return child.pid if child is not None else 0

    def ask(
        self,
        lines: Sequence[Sequence[str]],
        body: Sequence[Piece],
        *,
        check: Callable[[Message], None],
    ) -> Message:
        """The message that answers this one; `check` raises `BrokenProtocol` if it does not.

        Asks a second process if the first dies, unless the model says that it may not. Raises
        `Unavailable` if there is no process that answers, `ModelFailed` for one that broke the
        protocol and has been ended for it.
        """
        with self._lock:
            for attempt in range(self._attempts):
                child = self._running()
                try:
                    child.send(lines, body)
                    message = child.receive()
                    check(message)
                except ProgramEnded as error:
                    self._lose(str(error))
                    if attempt + 1 == self._attempts:
                        raise Unavailable(
                            f"{self._label} did not answer: its program {error}; it is started "
                            "again: try again"
                        ) from error
                except BrokenProtocol as error:
                    self._lose(str(error))
                    raise ModelFailed(f"its program {error}") from error
                except MemoryError:
                    # What is left of the message would be taken for the beginning of the next.
                    self._lose("sent a message that its worker has no memory for")
                    raise
                else:
                    self._failures = 0
                    return message
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Ends the program; it has a moment to do so by itself."""
        self._closing.set()
        with self._lock:
            if self._child is not None:
                self._child.finish()
                self._child = None

    def _running(self) -> ProgramChild:
        """The process, started if there is none and it is time. Raises `Unavailable`."""
        if self._child is not None:
            return self._child
        delay_s = self._start_at_s - self._clock()
        if delay_s > WORTH_WAITING_S or (delay_s > 0 and self._closing.wait(delay_s)):
            raise Unavailable(
                f"{self._label} cannot answer: its program {self._cause}; it is started again in "
                f"{delay_s:.1f} s: try again"
            )
        return self._revived()

    def _revived(self) -> ProgramChild:
        self.restarts += 1
        try:
            child = self._start()
        except StartFailed as error:
            self._note(str(error))
            raise Unavailable(
                f"{self._label} cannot answer: its program {error}; see its log"
            ) from error
        self.begin(child)
        return child

    def _lose(self, cause: str) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
        self._note(cause)

    def _note(self, cause: str) -> None:
        self._failures += 1
        self._cause = cause
        delay_s = restart_delay_s(self._failures)
        self._start_at_s = self._clock() + delay_s
        logger.warning(
            "%s: its program %s; it is started again in %.1f s", self._label, cause, delay_s
        )

    # The thread that waits for the end of a process.

    def _watch(self, child: ProgramChild) -> None:
        cause = child.wait_end()
        while not self._closing.is_set():
            with self._lock:
                if self._closing.is_set():
                    return
                if self._child is child:
                    self._lose(cause)
                elif self._child is not None:
                    return  # A request was quicker; another thread watches that one.
                delay_s = self._start_at_s - self._clock()
                if delay_s <= 0 and self._has_revived():
                    return
            self._closing.wait(max(delay_s, FIRST_DELAY_S))

    def _has_revived(self) -> bool:
        try:
            self._revived()
        except Unavailable:
            return False
        return True
