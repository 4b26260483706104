"""Which queue a model gets, and what becomes of one whose needs can never be met."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from tests.unit.backends.local.stage import OPTIONS, ORDER, AwaitedCall, Stage, until

from salver.artifacts.overrides import ModelOverrides
from salver.backends.local.model import LocalModel
from salver.backends.local.options import ModelOptions, tailored
from salver.backends.local.queues import make_queue, rate_limiter_of
from salver.engine.policy_queue import PolicyQueue
from salver.engine.queue import ModelQueue
from salver.engine.rate_limiter import RateLimiter
from salver.errors import ErrorKind, LoadFailed
from salver.inference.scheduling import LimitedGroup, Need, QueuePolicy, Scheduling
from salver.settings import ServeSettings, rate_limit_resource
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

LIMITED = (LimitedGroup((Need("GPU", 2),)),)


def limited_model(stage: Stage, limiter: RateLimiter | None, options: ModelOptions) -> LocalModel:
    queue, claim = make_queue(
        "model 'iris'",
        options,
        limiter,
        metrics=ModelMetrics(Registry(), "iris", "1"),
        scheduler=asyncio.get_running_loop(),
        clock=stage.clock,
    )
    model = LocalModel("iris", "1", queue, options, clock=stage.clock, claim=claim)
    stage.models.append(model)
    return model


def test_plain_models_have_the_plain_queue_and_others_do_not() -> None:
    async def play() -> None:
        stage = Stage()
        policy = Scheduling(policy=QueuePolicy(max_queued=3))
        for options, limiter, kind in (
            (OPTIONS, RateLimiter(), ModelQueue),
            (msgspec.structs.replace(OPTIONS, scheduling=policy), None, PolicyQueue),
            (msgspec.structs.replace(OPTIONS, limited=LIMITED), None, ModelQueue),
            (msgspec.structs.replace(OPTIONS, limited=LIMITED), RateLimiter(), PolicyQueue),
        ):
            model = limited_model(stage, limiter, options)
            assert type(model.queue) is kind
        await stage.close()

    asyncio.run(play())


def test_limits_that_nobody_turned_on_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        stage = Stage()
        limited_model(stage, None, msgspec.structs.replace(OPTIONS, limited=LIMITED))
        await stage.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(play())
    assert "start the server with --rate-limit execution_count" in caplog.text


def test_the_server_s_resources_are_those_of_its_flags() -> None:
    assert rate_limiter_of(ServeSettings(rate_limit_resource=("GPU:1",))) is None
    settings = ServeSettings(rate_limit="execution_count", rate_limit_resource=("GPU:4:0", "A:1"))
    limiter = rate_limiter_of(settings)
    assert limiter is not None
    limiter.claim(LIMITED).enter()
    assert limiter.copies == {"GPU": 4}
    for text in ("GPU", "GPU:", "GPU:x", "GPU:1:x", ":1", "GPU:-1", "GPU:1:0:0"):
        with pytest.raises(ValueError, match="is not NAME:COUNT or NAME:COUNT:DEVICE"):
            rate_limit_resource(text)


def test_a_model_whose_needs_can_never_be_met_is_not_loaded() -> None:
    async def play() -> None:
        stage = Stage()
        settings = ServeSettings(rate_limit="execution_count", rate_limit_resource=("GPU:1",))
        options = msgspec.structs.replace(OPTIONS, limited=LIMITED)
        model = limited_model(stage, rate_limiter_of(settings), options)
        with pytest.raises(LoadFailed, match="the minimum required count is 2"):
            await model.load(ORDER, stage)  # type: ignore[arg-type]
        assert model.status.state == "UNAVAILABLE"
        assert 'Resource count for "GPU" is limited to 1' in model.status.reason
        model.stand_by(ORDER, stage)  # type: ignore[arg-type]
        call = AwaitedCall()
        model.submit(call)
        assert (await call.outcome)[0] is ErrorKind.MODEL_NOT_READY  # type: ignore[index]
        assert not stage.workers
        await stage.close()

    asyncio.run(play())


def test_a_worker_that_dies_lets_the_next_model_start() -> None:
    async def play() -> None:
        stage, limiter = Stage(), RateLimiter()
        options = msgspec.structs.replace(OPTIONS, limited=LIMITED)
        models = [limited_model(stage, limiter, options) for _ in range(2)]
        for number, model in enumerate(models):
            loading = asyncio.ensure_future(model.load(ORDER, stage))  # type: ignore[arg-type]
            await (await stage.worker(number)).load()
            await loading
        calls = [AwaitedCall() for _ in models]
        for model, call in zip(models, calls, strict=True):
            model.submit(call)
            for _ in range(3):
                await asyncio.sleep(0)
        assert [model.queue.in_flight for model in models] == [1, 0]
        stage.workers[0].end(9)
        assert await asyncio.wait_for(stage.workers[1].answer(), 5) == 1
        assert await calls[1].outcome == b"ok"
        assert models[0].queue.queued == 1
        await until(lambda: limiter.used == {})
        await stage.close()

    asyncio.run(play())


def test_a_model_s_own_policies_come_before_the_server_s() -> None:
    levels = Scheduling(3, 3)
    options = msgspec.structs.replace(OPTIONS, scheduling=levels)
    own = Scheduling(policy=QueuePolicy(max_queued=3))
    assert tailored(options, ModelOverrides(max_queued=7)).scheduling == levels
    assert tailored(options, ModelOverrides(scheduling=own)).scheduling == own
