"""When a program is started again, and what callers are told meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from salver.errors import ModelFailed, Unavailable
from salver.runtimes.program_child import BrokenProtocol, ProgramEnded
from salver.runtimes.program_frames import Message
from salver.runtimes.program_supervisor import (
    MOST_DELAY_S,
    StartFailed,
    Supervisor,
    restart_delay_s,
)

ANSWER = Message((("answer", "1"),))


class FakeChild:
    """Answers as it is told to: a message, or an error to raise."""

    pid = 1

    def __init__(self, *results: Any) -> None:
        self._results = list(results)
        self.ended = threading.Event()
        self.is_killed = False

    def send(self, lines: Any, body: Any) -> None:
        """Takes it."""

    def receive(self) -> Message:
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Message)
        return result

    def wait_end(self) -> str:
        self.ended.wait(30)
        return "exited with code 1"

    def kill(self) -> None:
        self.is_killed = True
        self.ended.set()

    def finish(self) -> None:
        self.kill()


class World:
    """A supervisor whose next processes are given."""

    def __init__(self, *children: Any, is_idempotent: bool = True) -> None:
        self.now_s = 100.0
        self.children = list(children)
        self.started = threading.Semaphore(0)
        self.supervisor = Supervisor(
            self._start, label="model 'm'", is_idempotent=is_idempotent, clock=lambda: self.now_s
        )
        self.supervisor.begin(self.children.pop(0))

    def _start(self) -> Any:
        self.started.release()
        child = self.children.pop(0) if self.children else StartFailed("was not ready")
        if isinstance(child, Exception):
            raise child
        return child

    def ask(self) -> Message:
        return self.supervisor.ask([("request", "1")], [], check=lambda message: None)


def ended() -> ProgramEnded:
    return ProgramEnded("was killed by signal 9")


def test_the_first_start_is_immediate_and_later_ones_come_slower() -> None:
    delays = [restart_delay_s(failures) for failures in range(1, 9)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MOST_DELAY_S]


def test_a_request_whose_program_dies_is_answered_by_the_next() -> None:
    first, second = FakeChild(ended()), FakeChild(ANSWER)
    world = World(first, second)
    assert world.ask() is ANSWER
    assert first.is_killed
    world.supervisor.close()


def test_a_request_that_kills_two_is_refused_with_the_cause() -> None:
    world = World(FakeChild(ended()), FakeChild(ended()))
    with pytest.raises(Unavailable, match="model 'm' did not answer: its program was killed by"):
        world.ask()
    world.supervisor.close()


def test_a_request_that_must_not_be_repeated_is_asked_once() -> None:
    world = World(FakeChild(ended()), FakeChild(ANSWER, ANSWER), is_idempotent=False)
    with pytest.raises(Unavailable, match="killed by signal 9"):
        world.ask()
    assert world.ask() is ANSWER
    world.supervisor.close()


def test_a_program_that_breaks_the_protocol_is_ended_and_the_next_answers() -> None:
    first = FakeChild(BrokenProtocol("wrote 'hi'"))
    world = World(first, FakeChild(ANSWER))
    with pytest.raises(ModelFailed, match="its program wrote 'hi'"):
        world.ask()
    assert first.is_killed
    assert world.ask() is ANSWER
    world.supervisor.close()


def test_a_message_that_memory_does_not_hold_leaves_nothing_of_itself() -> None:
    first, second = FakeChild(MemoryError()), FakeChild(ANSWER)
    world = World(first, second)
    with pytest.raises(MemoryError):
        world.ask()
    assert first.is_killed
    assert world.ask() == ANSWER


def test_a_program_that_dies_between_requests_is_started_without_one() -> None:
    first, second = FakeChild(), FakeChild(ANSWER)
    world = World(first, second)
    first.ended.set()
    assert world.started.acquire(timeout=10)
    assert world.ask() is ANSWER
    world.supervisor.close()


def test_requests_are_refused_at_once_while_the_next_start_is_far_off() -> None:
    failing = [StartFailed("was not ready") for _ in range(50)]
    world = World(FakeChild(ended()), *failing)
    world.supervisor._failures = 6
    with pytest.raises(Unavailable, match=r"signal 9; it is started again in 3.2 s: try again"):
        world.ask()
    world.supervisor.close()


def test_a_start_that_fails_is_told_with_its_reason() -> None:
    world = World(FakeChild(ended()), StartFailed("exited with code 3 before it was ready"))
    with pytest.raises(Unavailable, match="exited with code 3 before it was ready; see its log"):
        world.ask()
    world.supervisor.close()


def test_closing_ends_the_program_and_starts_no_other() -> None:
    child = FakeChild()
    world = World(child, FakeChild())
    world.supervisor.close()
    assert child.is_killed
    assert not world.started.acquire(timeout=0.05)
