"""Queue policies with a virtual clock: who is refused when, and who is served before whom."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.queue_stage import Loop, RecordedCall, Worker

from salver.engine.batching import BatchLimits
from salver.engine.policy_queue import PolicyQueue
from salver.engine.rate_limiter import RateLimiter
from salver.errors import ErrorKind
from salver.inference.scheduling import LimitedGroup, Need, QueuePolicy, Scheduling
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry


def make_queue(
    loop: Loop,
    scheduling: Scheduling,
    limits: BatchLimits | None = None,
    limiter: RateLimiter | None = None,
    groups: tuple[LimitedGroup, ...] = (),
) -> PolicyQueue:
    claim = limiter.claim(groups) if limiter is not None else None
    if claim is not None:
        claim.enter()
    return PolicyQueue(
        "model 'iris'",
        limits or BatchLimits(max_requests=1),
        scheduling,
        max_queued=50,
        metrics=ModelMetrics(Registry(), "iris", "1"),
        scheduler=loop,
        clock=loop.time,
        claim=claim,
    )


def said(loop: Loop, **parameters: object) -> RecordedCall:
    body = json.dumps({"parameters": parameters, "inputs": []}).encode()
    return RecordedCall(arrived_s=loop.now_s, deadline_s=loop.now_s + 60, body=body)


def test_the_lowest_number_is_served_first_and_equals_in_their_order() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(levels=3, default_level=2))
    calls = [said(loop, priority=number) for number in (3, 2, 1, 0, 1, 7)]
    for call in calls:
        queue.submit(call)
    worker = Worker(queue)
    queue.add(worker)
    for _ in calls[1:]:
        worker.answer()
    order = [calls.index(batch[0]) for batch in worker.batches]  # type: ignore[arg-type]
    assert order == [2, 4, 1, 3, 5, 0]


def test_priorities_mean_nothing_without_levels_and_bodies_are_not_read() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(policy=QueuePolicy(max_queued=5)))
    calls = [said(loop, priority="of no kind"), said(loop, priority=1)]
    for call in calls:
        queue.submit(call)
    worker = Worker(queue)
    queue.add(worker)
    assert worker.batches == [[calls[0]]]


def test_a_lost_batch_of_none_leaves_no_trace() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(levels=1, default_level=1))
    queue.on_lost([], "died while it was idle")
    queue.submit(said(loop))
    worker = Worker(queue)
    queue.add(worker)
    assert len(worker.batches) == 1


def test_a_wrong_parameter_is_the_caller_s_fault() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(levels=1, default_level=1))
    call = said(loop, priority="high")
    queue.submit(call)
    assert call.outcomes == [ErrorKind.INVALID_INPUT]
    assert call.messages == [
        "model 'iris': the parameter 'priority' must be a whole number of 0 or more, found 'high'"
    ]
    assert queue.is_empty


def test_who_has_waited_too_long_is_refused_at_that_moment() -> None:
    loop = Loop()
    policy = QueuePolicy(timeout_s=2.0, allows_override=True)
    queue = make_queue(loop, Scheduling(policy=policy))
    calls = [said(loop), said(loop, timeout=500_000), said(loop, timeout=9_000_000)]
    for call in calls:
        queue.submit(call)
    loop.run(until_s=0.4)
    assert not any(call.outcomes for call in calls)
    loop.run(until_s=0.5)
    assert [len(call.outcomes) for call in calls] == [0, 1, 0]
    assert "Request timeout expired: it waited 0.500 s" in calls[1].messages[0]
    loop.run(until_s=2.0)
    assert [call.outcomes for call in calls] == [[ErrorKind.UNAVAILABLE]] * 3
    assert queue.metrics.policies.timed_out.value == 3
    assert queue.metrics.errors == 3


def test_who_has_left_is_not_refused_for_having_waited() -> None:
    for own in ({}, {"timeout": 500_000}):
        loop = Loop()
        policy = QueuePolicy(timeout_s=2.0, allows_override=True)
        queue = make_queue(loop, Scheduling(policy=policy))
        left = said(loop, **own)
        queue.submit(left)
        left.is_abandoned = True
        loop.run(until_s=3.0)
        assert not left.outcomes
        assert queue.is_empty
        assert queue.metrics.policies.timed_out.value == queue.metrics.errors == 0


def test_a_request_s_own_limit_holds_where_the_model_has_none() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(policy=QueuePolicy(allows_override=True)))
    calls = [said(loop), said(loop, timeout=500_000)]
    for call in calls:
        queue.submit(call)
    loop.run(until_s=0.5)
    assert [len(call.outcomes) for call in calls] == [0, 1]


def test_who_is_delayed_goes_behind_all_of_the_level_and_no_other() -> None:
    loop = Loop()
    delaying = QueuePolicy(is_delaying=True, timeout_s=1.0)
    queue = make_queue(loop, Scheduling(levels=2, default_level=1, by_level={1: delaying}))
    old = said(loop)
    queue.submit(old)
    loop.run(until_s=1.5)
    new, low = said(loop), said(loop, priority=2)
    queue.submit(low)
    queue.submit(new)
    worker = Worker(queue)
    queue.add(worker)
    worker.answer()
    worker.answer()
    assert worker.batches == [[new], [old], [low]]
    assert queue.metrics.policies.delayed.value == 1


def test_a_level_that_is_full_refuses_and_the_others_do_not() -> None:
    loop = Loop()
    by_level = {1: QueuePolicy(max_queued=1)}
    queue = make_queue(loop, Scheduling(levels=2, default_level=2, by_level=by_level))
    calls = [said(loop, priority=number) for number in (1, 1, 2, 2)]
    for call in calls:
        queue.submit(call)
    assert [call.outcomes for call in calls] == [[], [ErrorKind.UNAVAILABLE], [], []]
    text = "Exceeds maximum queue size of 1 on priority level 1: retry later"
    assert calls[1].messages[0].endswith(text)
    assert (queue.metrics.refused.value, queue.metrics.policies.full.value) == (1, 1)


def test_the_server_s_own_bound_holds_for_all_levels_together() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(levels=2, default_level=2))
    calls = [said(loop, priority=1 + number % 2) for number in range(51)]
    for call in calls:
        queue.submit(call)
    assert calls[-1].outcomes == [ErrorKind.QUEUE_FULL]
    assert queue.queued == 50


def test_preferred_sizes_are_taken_where_they_are_there() -> None:
    loop = Loop()
    limits = BatchLimits(max_requests=8)
    queue = make_queue(loop, Scheduling(preferred=(2, 4)), limits)
    for _ in range(11):
        queue.submit(said(loop))
    worker = Worker(queue)
    queue.add(worker)
    for _ in range(3):
        worker.answer()
    assert [len(batch) for batch in worker.batches] == [4, 4, 2, 1]


def test_with_a_delay_a_preferred_size_ends_the_wait() -> None:
    loop = Loop()
    limits = BatchLimits(max_requests=8, max_delay_s=1.0)
    queue = make_queue(loop, Scheduling(preferred=(3,)), limits)
    worker = Worker(queue)
    queue.add(worker)
    for _ in range(2):
        queue.submit(said(loop))
    loop.run()
    assert worker.batches == []
    queue.submit(said(loop))
    loop.run()
    assert [len(batch) for batch in worker.batches] == [3]
    worker.answer()
    queue.submit(said(loop))
    loop.run()
    loop.run(until_s=1.0)
    assert [len(batch) for batch in worker.batches] == [3, 1]


def test_answers_go_out_in_the_order_in_which_requests_were_sent() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(keeps_order=True))
    workers = [Worker(queue) for _ in range(3)]
    calls = [said(loop) for _ in range(3)]
    for worker, call in zip(workers, calls, strict=True):
        queue.add(worker)
        queue.submit(call)
        loop.run()
    workers[2].answer()
    workers[1].answer()
    assert not any(call.outcomes for call in calls)
    # The first one's worker dies, and it is tried again: its place stays.
    workers[0].die()
    assert not any(call.outcomes for call in calls)
    workers[2].answer()
    assert [call.outcomes for call in calls] == [[b"answer"]] * 3
    assert [call.attempts for call in calls] == [1, 0, 0]


def test_who_has_left_holds_nobody_up() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(keeps_order=True))
    workers = [Worker(queue) for _ in range(2)]
    calls = [said(loop) for _ in range(2)]
    for worker, call in zip(workers, calls, strict=True):
        queue.add(worker)
        queue.submit(call)
        loop.run()
    calls[0].is_abandoned = True
    workers[1].answer()
    assert calls[1].outcomes == [b"answer"]


def test_answers_that_are_held_back_count_as_requests_that_wait() -> None:
    loop = Loop()
    queue = make_queue(loop, Scheduling(keeps_order=True))
    slow, quick = Worker(queue), Worker(queue)
    first = said(loop)
    queue.add(slow)
    queue.submit(first)
    loop.run()
    queue.add(quick)
    held = [said(loop) for _ in range(50)]
    for call in held:
        queue.submit(call)
        loop.run()
        quick.answer()
    refused = said(loop)
    queue.submit(refused)
    assert refused.outcomes == [ErrorKind.QUEUE_FULL]
    slow.answer()
    assert all(call.outcomes == [b"answer"] for call in (first, *held))
    taken = said(loop)
    queue.submit(taken)
    loop.run()
    quick.answer()
    assert taken.outcomes == [b"answer"]


class Machine:
    """Queues of several models with their workers, which share resources or not."""

    def __init__(self, schedulings: list[Scheduling], needs: list[int]) -> None:
        self.loop = Loop()
        self.limiter = RateLimiter()
        self.calls: list[RecordedCall] = []
        self.busy: list[Worker] = []
        self.queues = []
        self.workers: list[Worker] = []
        for scheduling, need in zip(schedulings, needs, strict=True):
            groups = (LimitedGroup((Need("R", need),)),)
            limits = BatchLimits(max_requests=3)
            queue = make_queue(self.loop, scheduling, limits, self.limiter, groups)
            self.queues.append(queue)
            self.workers += [Worker(queue), Worker(queue)]
        for worker in self.workers:
            worker.queue.add(worker)

    def act(self, action: str, number: int) -> None:
        busy = [worker for worker in self.workers if worker.batches]
        if action == "submit":
            call = said(self.loop, priority=number % 3, timeout=number * 100_000)
            self.calls.append(call)
            self.queues[number % len(self.queues)].submit(call)
        elif action == "leave" and self.calls:
            self.calls[number % len(self.calls)].is_abandoned = True
        elif action == "answer" and busy:
            self.answer(busy[number % len(busy)])
        elif action == "die" and busy:
            worker = busy[number % len(busy)]
            batch = worker.batches.pop()
            worker.queue.on_lost(batch, "died")
            worker.queue.add(worker)
        elif action == "expire":
            for queue in self.queues:
                queue.expire()
        self.loop.run(until_s=self.loop.now_s + 0.3)
        self.check()

    def answer(self, worker: Worker) -> None:
        batch = worker.batches.pop()
        worker.queue.on_idle(worker, len(batch))
        for call in batch:
            call.deliver(b"", 0)

    def check(self) -> None:
        """Nothing is used twice, and what is used is what the busy ones need."""
        for name, used in self.limiter.used.items():
            assert used <= self.limiter.copies[name]
        busy = [worker for worker in self.workers if worker.batches]
        assert bool(busy) == bool(self.limiter.used)

    def finish(self) -> None:
        while any(worker.batches for worker in self.workers):
            self.act("answer", 0)
        self.loop.run(until_s=self.loop.now_s + 100)
        for queue in self.queues:
            queue.expire()


schedulings = st.builds(
    Scheduling,
    levels=st.sampled_from([0, 2]),
    default_level=st.just(0),
    policy=st.builds(
        QueuePolicy,
        is_delaying=st.booleans(),
        timeout_s=st.sampled_from([0.0, 1.0]),
        allows_override=st.booleans(),
        max_queued=st.sampled_from([0, 3]),
    ),
    keeps_order=st.booleans(),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "submit", "leave", "answer", "die", "expire"]),
        st.integers(0, 20),
    ),
    max_size=50,
)


@given(st.lists(schedulings, min_size=1, max_size=3), st.data(), steps)
def test_every_call_has_one_outcome_and_no_resource_is_used_twice(
    kinds: list[Scheduling], data: st.DataObject, actions: list[tuple[str, int]]
) -> None:
    count = len(kinds)
    needs = data.draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    machine = Machine(kinds, needs)
    for action, number in actions:
        machine.act(action, number)
    machine.finish()
    assert all(queue.is_empty for queue in machine.queues)
    assert machine.limiter.used == {}
    for call in machine.calls:
        assert len(call.outcomes) <= 1
        assert call.outcomes or call.is_abandoned
