"""The queue with a virtual clock: every call that enters leaves exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.queue_stage import Loop, RecordedCall, Worker

from salver.engine.batching import BatchLimits
from salver.engine.queue import ModelQueue
from salver.errors import ErrorKind
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

NO_WINDOW = BatchLimits()


def make_queue(loop: Loop, limits: BatchLimits = NO_WINDOW, max_queued: int = 100) -> ModelQueue:
    metrics = ModelMetrics(Registry(), "iris", "1")
    return ModelQueue(
        "model 'iris'",
        limits,
        max_queued=max_queued,
        metrics=metrics,
        scheduler=loop,
        clock=loop.time,
    )


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def queue(loop: Loop) -> ModelQueue:
    return make_queue(loop)


def submit(queue: ModelQueue, count: int) -> list[RecordedCall]:
    calls = [RecordedCall() for _ in range(count)]
    for call in calls:
        queue.submit(call)
    return calls


def test_requests_of_one_turn_of_the_loop_go_together(loop: Loop, queue: ModelQueue) -> None:
    worker = Worker(queue)
    queue.add(worker)
    calls = submit(queue, 3)
    assert worker.batches == []
    loop.run()
    assert worker.batches == [calls]


def test_requests_collect_while_the_replica_is_busy(loop: Loop, queue: ModelQueue) -> None:
    worker = Worker(queue)
    queue.add(worker)
    submit(queue, 1)
    loop.run()
    waiting = submit(queue, 2) + submit(queue, 1)
    loop.run()
    assert len(worker.batches) == 1
    worker.answer()
    assert worker.batches[1] == waiting
    assert (queue.queued, queue.in_flight) == (0, 3)


def test_two_idle_replicas_share_what_exceeds_one_batch(loop: Loop) -> None:
    queue = make_queue(loop, BatchLimits(max_requests=2))
    workers = [Worker(queue), Worker(queue)]
    for worker in workers:
        queue.add(worker)
    submit(queue, 3)
    loop.run()
    assert [len(worker.batches[0]) for worker in workers] == [2, 1]


def test_a_window_holds_a_lone_request_until_it_closes(loop: Loop) -> None:
    queue = make_queue(loop, BatchLimits(max_requests=4, max_delay_s=0.010))
    worker = Worker(queue)
    queue.add(worker)
    submit(queue, 1)
    loop.run()
    assert worker.batches == []
    loop.run(until_s=0.010)
    assert [len(batch) for batch in worker.batches] == [1]


def test_a_full_batch_does_not_wait_for_the_window(loop: Loop) -> None:
    queue = make_queue(loop, BatchLimits(max_requests=2, max_delay_s=10.0))
    worker = Worker(queue)
    queue.add(worker)
    submit(queue, 1)
    loop.run()
    submit(queue, 1)
    loop.run()
    assert [len(batch) for batch in worker.batches] == [2]


def test_a_full_queue_refuses_and_says_so_in_the_metrics(loop: Loop) -> None:
    queue = make_queue(loop, max_queued=2)
    calls = submit(queue, 3)
    assert [call.outcomes for call in calls] == [[], [], [ErrorKind.QUEUE_FULL]]
    assert queue.metrics.refused.value == 1


def test_a_dead_replica_s_requests_are_tried_once_more_alone(loop: Loop, queue: ModelQueue) -> None:
    first, second = Worker(queue), Worker(queue)
    queue.add(first)
    calls = submit(queue, 2)
    loop.run()
    first.die()
    queue.add(second)
    assert second.batches == [[calls[0]]]
    second.answer()
    assert second.batches[1] == [calls[1]]


def test_a_request_that_loses_two_replicas_fails(loop: Loop, queue: ModelQueue) -> None:
    (call,) = submit(queue, 1)
    for _ in range(2):
        worker = Worker(queue)
        queue.add(worker)
        worker.die()
    assert call.outcomes == [ErrorKind.MODEL_FAILED]


def test_a_model_with_side_effects_is_not_tried_again(loop: Loop, queue: ModelQueue) -> None:
    queue.is_idempotent = False
    (call,) = submit(queue, 1)
    worker = Worker(queue)
    queue.add(worker)
    worker.die()
    assert call.outcomes == [ErrorKind.MODEL_FAILED]


def test_waiting_past_the_deadline_is_answered_by_the_sweep(loop: Loop, queue: ModelQueue) -> None:
    late, good = RecordedCall(deadline_s=1.0), RecordedCall(deadline_s=5.0)
    queue.submit(late)
    queue.submit(good)
    loop.now_s = 2.0
    queue.expire()
    assert (late.outcomes, good.outcomes) == ([ErrorKind.DEADLINE_EXCEEDED], [])
    assert queue.queued == 1


def test_a_refusing_queue_fails_what_waits_and_what_comes(loop: Loop, queue: ModelQueue) -> None:
    (waiting,) = submit(queue, 1)
    queue.refuse(ErrorKind.MODEL_NOT_READY, "gone")
    (coming,) = submit(queue, 1)
    assert [waiting.outcomes, coming.outcomes] == [[ErrorKind.MODEL_NOT_READY]] * 2
    queue.accept()
    (later,) = submit(queue, 1)
    assert later.outcomes == []


ACTIONS = st.lists(
    st.sampled_from(["submit", "leave", "answer", "die", "add", "tick", "expire", "refuse"]),
    max_size=60,
)


@given(ACTIONS)
def test_every_call_has_exactly_one_outcome_whatever_happens(actions: list[str]) -> None:
    loop = Loop()
    queue = make_queue(loop, BatchLimits(max_requests=3), max_queued=5)
    calls: list[RecordedCall] = []
    busy: list[Worker] = []
    idle: list[Worker] = []

    def settle() -> None:
        loop.run(until_s=loop.now_s + 0.5)
        for worker in list(idle):
            if worker.batches:
                idle.remove(worker)
                busy.append(worker)

    for action in actions:
        if action == "submit":
            call = RecordedCall(arrived_s=loop.now_s, deadline_s=loop.now_s + 3.0)
            calls.append(call)
            queue.submit(call)
        elif action == "leave" and calls:
            calls[-1].is_abandoned = True
        elif action == "add" and len(busy) + len(idle) < 3:
            worker = Worker(queue)
            idle.append(worker)
            queue.add(worker)
        elif action in ("answer", "die") and busy:
            worker = busy.pop(0)
            batch = worker.batches.pop()
            if action == "die":
                queue.on_lost(batch, "died")
            else:
                idle.append(worker)
                queue.on_idle(worker, len(batch))
                for call in batch:
                    call.deliver(b"", 0)
        elif action == "expire":
            queue.expire()
        elif action == "refuse":
            queue.refuse(ErrorKind.UNAVAILABLE, "refused")
            queue.accept()
        settle()
    loop.now_s += 100.0
    for worker in busy:
        batch = worker.batches.pop()
        queue.on_lost(batch, "died")
    queue.refuse(ErrorKind.UNAVAILABLE, "the end")
    assert queue.is_empty
    for call in calls:
        assert call.is_abandoned or len(call.outcomes) == 1, call.outcomes


def test_a_resting_queue_calls_for_replicas_once_and_keeps_the_calls(
    loop: Loop, queue: ModelQueue
) -> None:
    wanted: list[int] = []
    queue.rest(lambda: wanted.append(queue.queued))
    calls = submit(queue, 3)
    assert wanted == [1]
    worker = Worker(queue)
    queue.add(worker)
    assert worker.batches == [calls]


def test_calls_that_wait_already_wake_a_queue_that_is_to_rest(queue: ModelQueue) -> None:
    wanted: list[int] = []
    submit(queue, 2)
    queue.rest(lambda: wanted.append(queue.queued))
    assert wanted == [2]


def test_a_call_lost_while_the_queue_rests_wakes_it(loop: Loop, queue: ModelQueue) -> None:
    worker = Worker(queue)
    queue.add(worker)
    calls = submit(queue, 1)
    loop.run()
    wanted: list[int] = []
    queue.rest(lambda: wanted.append(queue.queued))
    assert wanted == []
    worker.die()
    assert wanted == [1]
    assert calls[0].outcomes == []


def test_a_refusal_ends_a_rest(queue: ModelQueue) -> None:
    wanted: list[int] = []
    queue.rest(lambda: wanted.append(1))
    queue.refuse(ErrorKind.MODEL_NOT_READY, "model 'iris' is unloaded")
    assert submit(queue, 1)[0].outcomes == [ErrorKind.MODEL_NOT_READY]
    assert wanted == []


def test_what_an_autoscaler_samples(loop: Loop, queue: ModelQueue) -> None:
    worker = Worker(queue)
    queue.add(worker)
    submit(queue, 2)
    loop.run()
    submit(queue, 1)
    assert (queue.metrics.requests.value, queue.concurrency) == (3, 3)
    loop.now_s = 0.5
    queue.observe_answers(worker.batches[0])
    worker.answer()
    assert (queue.metrics.requests.value, queue.concurrency) == (3, 1)


def test_a_queue_that_finishes_refuses_new_calls_and_answers_those_it_has(
    loop: Loop, queue: ModelQueue
) -> None:
    first, second = Worker(queue), Worker(queue)
    queue.add(first)
    lost = submit(queue, 1)
    loop.run()
    waiting = submit(queue, 2)
    queue.finish(ErrorKind.MODEL_NOT_READY, "model 'iris' is unloading")
    assert submit(queue, 1)[0].outcomes == [ErrorKind.MODEL_NOT_READY]
    first.die()
    queue.add(second)
    # The lost one alone, then the others.
    assert second.batches == [lost]
    second.answer()
    assert second.batches[-1] == waiting
    second.answer()
    assert queue.is_empty
    assert submit(queue, 1)[0].outcomes == [ErrorKind.MODEL_NOT_READY]
    queue.accept()
    assert submit(queue, 1)[0].outcomes == []
