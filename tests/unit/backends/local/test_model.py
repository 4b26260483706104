"""A model's workers come and go, and no call is lost: with real sockets and staged workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.unit.backends.local.stage import OPTIONS, ORDER, AwaitedCall, Stage, until

from salver.backends.local.crew import to_retire
from salver.backends.local.model import LocalModel
from salver.engine.chain import SubCall
from salver.engine.ports import ModelStatus
from salver.errors import DeadlineExceeded, ErrorKind, LoadFailed, ModelNotReady

SIGKILL = 9


def staged(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
    """Runs an async test on a stage of its own."""

    async def play() -> None:
        stage = Stage()
        try:
            await asyncio.wait_for(test(stage), 10)
        finally:
            await stage.close()

    def run() -> None:
        asyncio.run(play())

    run.__name__ = test.__name__
    return run


def submit(model: LocalModel, count: int = 1) -> list[AwaitedCall]:
    calls = [AwaitedCall() for _ in range(count)]
    for call in calls:
        model.submit(call)
    return calls


async def answers(calls: list[AwaitedCall]) -> list[object]:
    return [await call.outcome for call in calls]


@staged
async def test_scaling_up_starts_workers_while_the_first_serves(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(3)
    await (await stage.worker(2)).load()
    await stage.workers[1].load()
    await until(lambda: model.ready_replicas == 3)
    assert (model.wanted_replicas, model.replicas) == (3, 3)


@staged
async def test_scaling_down_retires_idle_workers_and_lets_a_busy_one_finish(stage: Stage) -> None:
    model = await stage.loaded(3)
    calls = submit(model)
    await until(lambda: model.queue.in_flight == 1)
    model.scale(1)
    await stage.workers[2].wait_closed()
    await stage.workers[1].wait_closed()
    assert model.ready_replicas == 1
    await stage.workers[0].answer()
    assert await answers(calls) == [b"ok"]
    calls = submit(model)
    await stage.workers[0].answer()
    assert await answers(calls) == [b"ok"]


@staged
async def test_a_busy_worker_that_is_too_many_answers_its_batch_first(stage: Stage) -> None:
    model = await stage.loaded(1)
    calls = submit(model, 2)
    await until(lambda: model.queue.in_flight == 2)
    model.scale(0)
    assert await stage.workers[0].answer() == 2
    assert await answers(calls) == [b"ok", b"ok"]
    await stage.workers[0].wait_closed()
    assert model.queue.is_empty
    assert model.is_gone


@staged
async def test_the_last_worker_stays_for_the_calls_that_wait(stage: Stage) -> None:
    model = await stage.loaded(1)
    first = submit(model)
    await until(lambda: model.queue.in_flight == 1)
    waiting = submit(model)
    model.scale(0)
    for calls in (first, waiting):
        await stage.workers[0].answer()
        assert await answers(calls) == [b"ok"]
    model.check(stage.now_s)
    await stage.workers[0].wait_closed()
    assert model.status.reason == "standby"


@staged
async def test_a_model_at_zero_is_ready_and_keeps_its_metadata(stage: Stage) -> None:
    model = await stage.loaded(2)
    model.scale(0)
    assert model.status == ModelStatus("iris", "1", "READY", "standby")
    assert model.is_ready
    assert model.metadata.platform == "sklearn"
    assert model.pids == []


@staged
async def test_a_call_wakes_a_model_and_others_wait_with_it(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(0)
    calls = submit(model, 3)
    worker = await stage.worker(1)
    calls += submit(model, 2)
    assert model.status == ModelStatus("iris", "1", "READY", "starting")
    assert model.queue.concurrency == 5
    await worker.load()
    assert await worker.answer() == 5
    assert await answers(calls) == [b"ok"] * 5
    assert len(stage.workers) == 2
    assert model.status == ModelStatus("iris", "1", "READY", "")


@staged
async def test_an_autoscaler_may_repeat_itself_while_a_worker_starts(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(0)
    calls = submit(model)
    for wanted in (1, 0, 1, 0):
        model.scale(wanted)
    worker = await stage.worker(1)
    await worker.load()
    await worker.answer()
    assert await answers(calls) == [b"ok"]
    assert len(stage.workers) == 2
    model.check(stage.now_s)
    await worker.wait_closed()
    assert model.status.reason == "standby"


@staged
async def test_a_starting_worker_that_nobody_needs_any_more_is_let_go(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(3)
    model.scale(1)
    await until(lambda: len(stage.workers) == 3)
    for worker in stage.workers[1:]:
        with pytest.raises(EOFError):
            await worker.receive()
        worker.end(0)
    assert model.replicas == 1
    assert model.processes == 1


@staged
async def test_a_model_may_begin_in_standby(stage: Stage) -> None:
    model = stage.model()
    model.stand_by(ORDER, stage)  # type: ignore[arg-type]
    assert model.is_ready
    with pytest.raises(ModelNotReady, match="standby, and not loaded yet"):
        _ = model.metadata
    ready = asyncio.ensure_future(model.wait_ready(5))
    await (await stage.worker(0)).load()
    await ready
    assert model.metadata.platform == "sklearn"


@staged
async def test_waiting_for_a_model_has_a_limit(stage: Stage) -> None:
    model = stage.model()
    model.stand_by(ORDER, stage)  # type: ignore[arg-type]
    with pytest.raises(DeadlineExceeded, match="not ready within 0"):
        await model.wait_ready(0.01)


@staged
async def test_calls_get_the_reason_if_the_wake_up_fails(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(0)
    calls = submit(model, 2)
    await (await stage.worker(1)).fail_load("iris.joblib is gone")
    for outcome in await answers(calls):
        assert outcome == (
            ErrorKind.MODEL_NOT_READY,
            "model 'iris' could not be loaded: iris.joblib is gone",
        )
    assert model.status == ModelStatus("iris", "1", "UNAVAILABLE", "iris.joblib is gone")
    # And again at once: no worker is started for it before the hold-off is over.
    calls = submit(model)
    assert (await calls[0].outcome)[0] == ErrorKind.MODEL_NOT_READY  # type: ignore[index]
    model.scale(1)
    assert len(stage.workers) == 2


@staged
async def test_a_worker_that_dies_again_and_again_while_it_wakes_is_given_up(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(0)
    calls = submit(model)
    for index in (1, 2, 3):
        worker = await stage_worker(stage, index)
        await worker.receive()
        worker.end(SIGKILL)
    kind, message = await calls[0].outcome  # type: ignore[misc]
    assert kind == ErrorKind.MODEL_NOT_READY
    assert "killed by signal 9 while loading" in message
    assert ", 3 times; see its log" in message


async def stage_worker(stage: Stage, index: int) -> object:
    """As `stage.worker`, with time for the back-off before a second restart."""
    for _ in range(100):
        if len(stage.workers) > index:
            break
        await asyncio.sleep(0.01)
    return stage.workers[index]


@staged
async def test_a_batch_lost_by_a_retiring_worker_wakes_the_model_again(stage: Stage) -> None:
    model = await stage.loaded(1)
    calls = submit(model)
    await stage.workers[0].receive()
    model.scale(0)
    stage.workers[0].end(SIGKILL)
    worker = await stage.worker(1)
    await worker.load()
    await worker.answer()
    assert await answers(calls) == [b"ok"]


@staged
async def test_a_call_that_waits_for_a_wake_up_expires_at_its_own_deadline(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(0)
    call = AwaitedCall(stage.now_s, timeout_s=1.0)
    model.submit(call)
    await stage.worker(1)
    stage.now_s += 1.5
    model.check(stage.now_s)
    assert (await call.outcome)[0] == ErrorKind.DEADLINE_EXCEEDED  # type: ignore[index]


@staged
async def test_a_load_in_place_of_another_keeps_the_number_asked_for_meanwhile(
    stage: Stage,
) -> None:
    model = await stage.loaded(1)
    newer = msgspec.structs.replace(ORDER, path="/models/iris-2.joblib")
    loading = asyncio.ensure_future(model.load(newer, stage))  # type: ignore[arg-type]
    await until(lambda: len(stage.workers) == 2)
    model.scale(2)
    await stage.workers[1].load()
    await loading
    await stage.workers[0].wait_closed()
    await (await stage.worker(2)).load()
    await until(lambda: model.ready_replicas == 2)
    assert model.order is newer


@staged
async def test_a_first_load_that_fails_is_not_tried_again_by_itself(stage: Stage) -> None:
    model = stage.model(msgspec.structs.replace(OPTIONS, replicas=2))
    loading = asyncio.ensure_future(model.load(ORDER, stage))  # type: ignore[arg-type]
    await until(lambda: len(stage.workers) == 2)
    for worker in list(stage.workers):
        await worker.fail_load("no weights")
    with pytest.raises(LoadFailed, match="no weights"):
        await loading
    await asyncio.sleep(0.01)
    model.scale(2)
    assert len(stage.workers) == 2


@staged
async def test_container_concurrency_bounds_a_batch(stage: Stage) -> None:
    options = msgspec.structs.replace(OPTIONS, concurrency=2)
    model = stage.model(options)
    model.stand_by(ORDER, stage)  # type: ignore[arg-type]
    calls = submit(model, 5)
    worker = await stage.worker(0)
    await worker.load()
    assert [await worker.answer() for _ in range(3)] == [2, 2, 1]
    assert await answers(calls) == [b"ok"] * 5
    assert (model.queue.metrics.requests.value, model.queue.concurrency) == (5, 0)


@pytest.mark.parametrize(
    ("own_s", "granted_s", "expected_s"),
    [
        pytest.param(1.0, 5.0, 1.0, id="shorter than the server's"),
        pytest.param(60.0, 5.0, 60.0, id="longer than the server's"),
        pytest.param(60.0, 0.5, 0.5, id="the caller's own deadline is kept"),
        pytest.param(1.0, 3.0, 1.0, id="a caller cannot ask for more than the model gives"),
    ],
)
def test_a_models_time_limit_replaces_the_servers(
    own_s: float, granted_s: float, expected_s: float
) -> None:
    @staged
    async def run(stage: Stage) -> None:
        model = stage.model(msgspec.structs.replace(OPTIONS, timeout_s=own_s))
        call = AwaitedCall(stage.now_s, granted_s)
        model.submit(call)
        assert call.deadline_s - call.arrived_s == pytest.approx(expected_s)

    run()


@staged
async def test_those_that_are_missed_least_retire_first(stage: Stage) -> None:
    model = await stage.loaded(3)
    submit(model)
    await until(lambda: model.queue.in_flight == 1)
    model.scale(4)
    crew = model._crew
    busy, idle, newer_idle, starting = crew.members
    assert to_retire(crew.members, 3) == [starting, newer_idle, idle]
    assert to_retire(crew.members, 9)[-1] is busy
    assert to_retire(crew.members, -1) == []
    await stage.worker(3)


def as_step(parent: AwaitedCall, now_s: float) -> SubCall:
    return SubCall(parent, 1, 0, b"{}", now_s)


@pytest.mark.parametrize(
    ("own_s", "granted_s", "step_s", "caller_s"),
    [
        pytest.param(1.0, 5.0, 3.0, 5.0, id="shorter: the step's alone"),
        pytest.param(60.0, 5.0, 62.0, 62.0, id="longer: there is time for what comes after it"),
        pytest.param(60.0, 4.0, 4.0, 4.0, id="the caller's own, shorter than it"),
        pytest.param(1.0, 4.0, 3.0, 4.0, id="the caller's own, longer than it"),
        pytest.param(3.0, 4.0, 4.0, 4.0, id="the caller's own ends before it would"),
    ],
)
def test_a_models_time_limit_counts_from_its_own_step(
    own_s: float, granted_s: float, step_s: float, caller_s: float
) -> None:
    @staged
    async def play(stage: Stage) -> None:
        model = stage.model(msgspec.structs.replace(OPTIONS, timeout_s=own_s))
        model.stand_by(ORDER, stage)  # type: ignore[arg-type]
        parent = AwaitedCall(stage.now_s, granted_s)
        step = as_step(parent, stage.now_s + 2.0)
        model.submit(step)
        assert step.deadline_s == stage.now_s + step_s
        assert parent.deadline_s == stage.now_s + caller_s

    play()


@staged
async def test_a_worker_that_hangs_on_its_way_out_is_timed_out_and_ended(stage: Stage) -> None:
    model = await stage.loaded(2)
    calls = submit(model)
    await until(lambda: model.queue.in_flight == 1)
    model.scale(0)
    stage.now_s += 4.9
    model.check(stage.now_s)
    assert not calls[0].outcome.done()
    stage.now_s += 0.2
    model.check(stage.now_s)
    assert (await calls[0].outcome)[0] == ErrorKind.DEADLINE_EXCEEDED  # type: ignore[index]
    await until(lambda: model.processes == 1)
    stage.workers[0].end(SIGKILL)
    await until(lambda: model.is_gone and model.queue.is_empty)


@staged
async def test_a_worker_let_go_while_it_hangs_in_its_load_is_ended_in_the_end(stage: Stage) -> None:
    model = await stage.loaded(1)
    model.scale(2)
    worker = await stage.worker(1)
    process = await asyncio.create_subprocess_exec("sleep", "60")
    worker.events.on_forked(process.pid)
    await worker.receive()
    model.scale(1)
    stage.now_s += 9.0
    model.check(stage.now_s)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(process.wait(), 0.05)
    stage.now_s += 2.0
    model.check(stage.now_s)
    assert await process.wait() == -SIGKILL
    worker.end(SIGKILL)
    model.check(stage.now_s)
    assert model.processes == 1


@staged
async def test_unloading_refuses_new_calls_and_answers_those_there_are(stage: Stage) -> None:
    model = await stage.loaded(1)
    calls = submit(model)
    await until(lambda: model.queue.in_flight == 1)
    calls += submit(model)
    unloading = asyncio.ensure_future(model.unload(5.0))
    await until(lambda: model.status.state == "UNLOADING")
    late = submit(model)
    assert (await late[0].outcome)[0] == ErrorKind.MODEL_NOT_READY  # type: ignore[index]
    # The worker dies of it; another one answers all the same.
    await stage.workers[0].receive()
    stage.workers[0].end(SIGKILL)
    worker = await stage.worker(1)
    await worker.load()
    assert [await worker.answer(), await worker.answer()] == [1, 1]
    await unloading
    assert await answers(calls) == [b"ok", b"ok"]
    assert model.status == ModelStatus("iris", "1", "UNAVAILABLE", "unloaded")


@staged
async def test_what_is_not_done_when_a_model_is_unloaded_is_refused_and_ended(stage: Stage) -> None:
    model = await stage.loaded(1)
    calls = submit(model, 2)
    await until(lambda: model.queue.in_flight == 2)
    await model.unload(0.0)
    model.close()  # Nobody checks on it any more.
    for outcome in await answers(calls):
        assert outcome[0] == ErrorKind.MODEL_NOT_READY  # type: ignore[index]
    assert model.queue.is_empty


@staged
async def test_a_load_goes_on_though_whoever_asked_for_it_has_left(stage: Stage) -> None:
    model = await stage.loaded(1)
    newer = msgspec.structs.replace(ORDER, path="/models/iris-2.joblib")
    loading = asyncio.ensure_future(model.load(newer, stage))  # type: ignore[arg-type]
    worker = await stage.worker(1)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert model.is_loading
    await worker.load()
    await stage.workers[0].wait_closed()
    assert (model.replicas, model.order, model.is_loading) == (1, newer, False)


@staged
async def test_a_load_that_fails_after_everybody_has_left_leaves_the_old_one(stage: Stage) -> None:
    model = await stage.loaded(1)
    newer = msgspec.structs.replace(ORDER, path="/models/iris-2.joblib")
    loading = asyncio.ensure_future(model.load(newer, stage))  # type: ignore[arg-type]
    worker = await stage.worker(1)
    loading.cancel()
    await worker.fail_load("no weights")
    await until(lambda: model.order is ORDER)
    assert (model.replicas, model.is_ready) == (1, True)


@staged
async def test_a_model_unloaded_amid_a_reload_stays_unloaded(stage: Stage) -> None:
    model = await stage.loaded(1)
    newer = msgspec.structs.replace(ORDER, path="/models/iris-2.joblib")
    loading = asyncio.ensure_future(model.load(newer, stage))  # type: ignore[arg-type]
    await stage.worker(1)
    await model.unload(0.0)
    with pytest.raises(LoadFailed, match="was unloaded before it had loaded"):
        await loading
    assert (model.status.reason, model.replicas, model.is_wanted) == ("unloaded", 0, False)


@staged
async def test_a_model_sent_into_standby_amid_a_load_tells_who_waits_for_it(stage: Stage) -> None:
    model = stage.model()
    loading = asyncio.ensure_future(model.load(ORDER, stage))  # type: ignore[arg-type]
    await stage.worker(0)
    model.stand_by(ORDER, stage)  # type: ignore[arg-type]
    with pytest.raises(LoadFailed, match="sent into standby before it had loaded"):
        await loading
    assert (model.status.reason, model.replicas) == ("standby", 0)
    calls = submit(model)
    worker = await stage.worker(1)
    await worker.load()
    await worker.answer()
    assert await answers(calls) == [b"ok"]


@staged
async def test_a_worker_that_ends_by_itself_as_it_is_to_be_ended_does_no_harm(stage: Stage) -> None:
    stage.has_pids = True  # Of processes that are not there.
    model = await stage.loaded(1)
    calls = submit(model)
    await until(lambda: model.queue.in_flight == 1)
    stage.now_s += 6.0
    model.check(stage.now_s)
    assert (await calls[0].outcome)[0] == ErrorKind.DEADLINE_EXCEEDED  # type: ignore[index]
    stage.workers[0].end(SIGKILL)
    await until(lambda: model.queue.is_empty)
