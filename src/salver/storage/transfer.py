"""One fetch under way: its deadline, its cancellation, how far it is.

Owns what threads of one fetch share. Refuses to know what is fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from salver.storage.ports import Interrupted

T = TypeVar("T")

_BACKOFF_S = (0.1, 0.4, 1.0, 2.0, 4.0)


class Cancelled(Exception):
    """Nobody waits for the fetch any more."""


class TimedOut(Interrupted):
    """The fetch took longer than it may; another one goes on where it was."""


class Transfer:
    """Shared by the threads of one fetch."""

    def __init__(self, uri: str, timeout_s: float, clock: Callable[[], float]) -> None:
        self.uri = uri
        self.total_bytes: int | None = None
        self._timeout_s = timeout_s
        self._clock = clock
        self._deadline = clock() + timeout_s
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._done_bytes = 0

    def begin(self) -> None:
        """Starts the time limit anew: waiting for a turn does not count."""
        self._deadline = self._clock() + self._timeout_s

    @property
    def done_bytes(self) -> int:
        """How much is on disk."""
        return self._done_bytes

    def advance(self, count: int) -> None:
        """Counts bytes; a negative number takes back what must be fetched again."""
        with self._lock:
            self._done_bytes += count

    def remaining_s(self) -> float:
        """The time left. Raises as `check` does."""
        self.check()
        return max(0.01, self._deadline - self._clock())

    def cancel(self) -> None:
        """Makes the next `check` of every thread raise."""
        self._cancelled.set()

    def check(self) -> None:
        """Raises `Cancelled`, or `TimedOut`."""
        if self._cancelled.is_set():
            raise Cancelled
        if self._clock() >= self._deadline:
            raise TimedOut(
                f"{self.uri}: not fetched within {self._timeout_s:g} s; what has come is kept, "
                "so try again, or raise the storage timeout"
            )

    def pause(self, attempt: int) -> None:
        """Waits before another attempt (counted from 0), longer each time."""
        self.wait(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])

    def wait(self, seconds: float) -> None:
        """Waits, no longer than the time left; raises as `check` does."""
        self._cancelled.wait(min(seconds, self.remaining_s()))
        self.check()


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Runs the work in a thread of its own, which does not keep the process from exiting."""
    future: Future[T] = Future()

    def run() -> None:
        # From now on it cannot be cancelled: whoever gives up on it lets it end by itself.
        future.set_running_or_notify_cancel()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def run_all(jobs: Iterable[Callable[[], None]], parallel: int, name: str) -> None:
    """Runs the jobs, so many at a time. After a failure no new one is begun; the first
    failure is raised when those that run have ended."""
    waiting = iter(jobs)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        while True:
            with lock:
                job = None if failures else next(waiting, None)
            if job is None:
                return
            try:
                job()
            except BaseException as error:
                failures.append(error)

    for future in [in_thread(work, f"{name}-{n}") for n in range(max(1, parallel))]:
        future.result()
    if failures:
        raise failures[0]
