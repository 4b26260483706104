"""What tests of queues play: a loop whose time stands still, workers, and calls that remember."""

from __future__ import annotations

from collections.abc import Callable

from salver.engine.call import Call
from salver.engine.queue import ModelQueue
from salver.errors import ErrorKind


class Loop:
    """A scheduler whose time moves only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.soon: list[Callable[[], object]] = []
        self.later: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self.later.append((self.now_s + delay, callback))

    def run(self, until_s: float | None = None) -> None:
        if until_s is not None:
            self.now_s = until_s
        due = [callback for at_s, callback in self.later if at_s <= self.now_s]
        self.later = [entry for entry in self.later if entry[0] > self.now_s]
        soon, self.soon = self.soon, []
        for callback in soon + due:
            callback()


class Worker:
    """A replica that keeps its batch until told to answer or to die."""

    def __init__(self, queue: ModelQueue) -> None:
        self.queue = queue
        self.batches: list[list[Call]] = []

    def send(self, batch: list[Call]) -> None:
        self.batches.append(batch)

    def answer(self) -> None:
        batch = self.batches[-1]
        self.queue.on_idle(self, len(batch))
        for call in batch:
            call.deliver(b"answer", 0)

    def die(self) -> None:
        self.queue.on_lost(self.batches[-1], "did not answer: its worker was killed by signal 9")


class RecordedCall(Call):
    """Writes down what became of it."""

    def __init__(
        self,
        *,
        arrived_s: float = 0.0,
        deadline_s: float = 1e9,
        body: bytes = b"body",
        codec: int = 1,
    ) -> None:
        super().__init__(codec, 0, body, arrived_s=arrived_s, deadline_s=deadline_s)
        self.outcomes: list[object] = []
        self.messages: list[str] = []

    def deliver(self, body: bytes, aux: int) -> None:
        self.outcomes.append(body)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.outcomes.append(kind)
        self.messages.append(message)
