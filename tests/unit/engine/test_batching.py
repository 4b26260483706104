from collections import deque

import pytest

from salver.engine.batching import BatchLimits, take_batch, wait_s
from salver.engine.call import Call
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import Codec

WINDOW = BatchLimits(max_requests=4, max_delay_s=0.010)


def call(body: bytes = b"x", *, arrived_s: float = 0.0, deadline_s: float = 100.0) -> Call:
    return Call(1, 0, body, arrived_s=arrived_s, deadline_s=deadline_s)


def test_without_a_window_an_idle_replica_never_waits() -> None:
    assert wait_s(1, 0.0, 0.0, BatchLimits()) == 0.0


@pytest.mark.parametrize(
    ("queued", "now_s", "expected"),
    [(1, 0.000, 0.010), (1, 0.004, 0.006), (1, 0.010, 0.0), (1, 5.0, 0.0), (4, 0.0, 0.0)],
)
def test_a_window_lasts_from_the_oldest_arrival_until_the_batch_is_full(
    queued: int, now_s: float, expected: float
) -> None:
    assert wait_s(queued, 0.0, now_s, WINDOW) == pytest.approx(expected)


def test_a_batch_takes_the_oldest_up_to_the_limit_of_requests() -> None:
    calls = [call() for _ in range(6)]
    queue = deque(calls)
    batch, expired = take_batch(queue, WINDOW, 1.0)
    assert (batch, expired, list(queue)) == (calls[:4], [], calls[4:])


def test_a_batch_ends_before_the_body_that_exceeds_the_bytes() -> None:
    calls = [call(b"x" * 6), call(b"x" * 6), call(b"x")]
    queue = deque(calls)
    batch, _ = take_batch(queue, BatchLimits(max_bytes=10), 1.0)
    assert batch == calls[:1]


def test_a_body_larger_than_the_limit_goes_alone_rather_than_never() -> None:
    queue = deque([call(b"x" * 100)])
    batch, _ = take_batch(queue, BatchLimits(max_bytes=10), 1.0)
    assert len(batch) == 1


def test_expired_calls_come_back_and_abandoned_ones_vanish() -> None:
    late, gone, good = call(deadline_s=1.0), call(), call()
    gone.is_abandoned = True
    batch, expired = take_batch(deque([late, gone, good]), BatchLimits(), 2.0)
    assert (batch, expired) == ([good], [late])


def test_a_call_that_lost_its_worker_goes_alone() -> None:
    first, second, third = call(), call(), call()
    second.attempts = 1
    queue = deque([first, second, third])
    assert take_batch(queue, BatchLimits(), 0.0)[0] == [first]
    assert take_batch(queue, BatchLimits(), 0.0)[0] == [second]
    assert take_batch(queue, BatchLimits(), 0.0)[0] == [third]


def test_a_stream_goes_alone() -> None:
    first, second, third = call(), call(), call()
    second.codec = marked(int(Codec.GENERATE_JSON), Operation.STREAM)
    queue = deque([first, second, third])
    batches = [take_batch(queue, BatchLimits(), 0.0)[0] for _ in range(3)]
    assert batches == [[first], [second], [third]]


def test_a_step_of_a_graph_does_not_go_alone() -> None:
    first, second = call(), call()
    second.codec = marked(int(Codec.V2_JSON), Operation.STEP)
    assert take_batch(deque([first, second]), BatchLimits(), 0.0)[0] == [first, second]
