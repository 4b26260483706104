"""The gateway's accounts of one stream, on a clock and a loop made of lists."""

from __future__ import annotations

from collections.abc import Callable

from salver.backends.local.part_flow import PartFlow
from salver.engine.call import Call, PartSource
from salver.protocol.frame import FrameKind, parse_request


class PartsCall(Call):
    """Keeps its parts, and takes them when the test says so."""

    def __init__(self) -> None:
        super().__init__(1, 0, b"", arrived_s=0.0, deadline_s=30.0)
        self.parts: list[bytes] = []

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self.parts.append(body)


class Stage:
    def __init__(self) -> None:
        self.now_s = 5.0
        self.call = PartsCall()
        self.written: list[bytes] = []
        self.soon: list[Callable[[], None]] = []
        self.progress = 0
        self.left = 0
        self.flow = PartFlow(
            self.call,
            7,
            0,
            write=self.written.append,
            call_soon=self.soon.append,
            on_progress=self._on_progress,
            on_leave=self._on_leave,
            clock=lambda: self.now_s,
        )

    def _on_progress(self) -> None:
        self.progress += 1

    def _on_leave(self) -> None:
        self.left += 1

    def turn(self) -> None:
        soon, self.soon[:] = list(self.soon), []
        for callback in soon:
            callback()


def test_parts_reach_the_call_in_order_and_renew_its_deadline() -> None:
    stage = Stage()
    for number in range(3):
        stage.now_s += 10.0
        stage.flow.on_part(b"%d" % number, 0)
    assert stage.call.parts == [b"0", b"1", b"2"]
    assert stage.call.deadline_s == 35.0 + 30.0
    assert stage.progress == 3


def test_a_stream_that_has_begun_is_not_begun_anew_elsewhere() -> None:
    assert Stage().call.attempts == 1


def test_the_worker_hears_of_all_parts_taken_in_a_turn_at_once() -> None:
    stage = Stage()
    for _ in range(5):
        stage.flow.on_part(b"x", 0)
    for _ in range(3):
        stage.flow.taken()
    stage.turn()
    (frame,) = map(parse_request, stage.written)
    assert (frame.kind, frame.batch_id, frame.table) == (FrameKind.TAKEN, 7, (0, 3, 0))
    stage.flow.taken()
    stage.turn()
    assert parse_request(stage.written[1]).table == (0, 1, 0)


def test_no_more_parts_are_taken_than_have_come() -> None:
    stage = Stage()
    stage.flow.taken()
    stage.turn()
    assert stage.written == []


def test_what_is_overdue_is_the_models_next_part_or_its_readers_fault() -> None:
    stage = Stage()
    stage.flow.on_part(b"x", 0)
    assert "client read nothing" in stage.flow.overdue()
    stage.flow.taken()
    assert "gave no further response within 30.000 s" in stage.flow.overdue()


def test_whoever_leaves_is_passed_on() -> None:
    stage = Stage()
    stage.flow.leave()
    assert stage.left == 1
