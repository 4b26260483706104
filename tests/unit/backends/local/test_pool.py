"""Many models in little memory: real queues, sockets and placement; workers played by the test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.unit.backends.local.stage import OPTIONS, ORDER, AwaitedCall, SelfActingStage, until

from salver.artifacts.layout import ModelTarget
from salver.backends.local.model import LocalModel
from salver.backends.local.options import ModelOptions, batch_limits
from salver.backends.local.pool import ModelPool
from salver.backends.local.pooled import CopyLimits, PooledModel, Prepared
from salver.engine.queue import ModelQueue
from salver.errors import ErrorKind, LoadFailed, ModelNotFound, ModelNotReady
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

Outcome = bytes | tuple[ErrorKind, str]


class Host:
    """What the catalog is to the pool."""

    def __init__(self, stage: SelfActingStage, budget_bytes: int, max_loads: int = 2) -> None:
        self.stage = stage
        self.registry = Registry()
        self.running: list[LocalModel] = []
        self.pool = ModelPool(
            budget_bytes,
            msgspec.structs.replace(OPTIONS, replicas=0),
            host=self,
            registry=self.registry,
            clock=stage.clock,
            max_loads=max_loads,
            measure=stage.measure,
        )

    def new_model(
        self, name: str, version: str, options: ModelOptions, on_wanted: Callable[[], object]
    ) -> LocalModel:
        queue = ModelQueue(
            f"model '{name}'",
            batch_limits(options),
            max_queued=options.max_queued,
            metrics=ModelMetrics(self.registry, name, version),
            scheduler=asyncio.get_running_loop(),
            clock=self.stage.clock,
        )
        model = LocalModel(
            name, version, queue, options, clock=self.stage.clock, on_wanted=on_wanted
        )
        self.running.append(model)
        self.stage.models.append(model)
        return model

    def forget_model(self, model: LocalModel) -> None:
        model.close()
        self.running.remove(model)

    async def prepare_target(self, target: ModelTarget) -> Prepared:
        order = msgspec.structs.replace(ORDER, name=target.name, path=str(target.path))
        return order, self.stage  # type: ignore[return-value]

    def register(self, count: int, path: str = "/models/10") -> list[PooledModel]:
        return [self.pool.register(f"m{index}", "1", path) for index in range(count)]

    async def ask(self, record: PooledModel) -> Outcome:
        """One call, a moment after whatever was before it."""
        self.stage.now_s += 0.01
        call = AwaitedCall(self.stage.now_s)
        record.submit(call)
        return await call.outcome

    def check(self) -> None:
        for model in list(self.running):
            model.check(self.stage.now_s)
        self.pool.check(self.stage.now_s)

    @property
    def loaded(self) -> list[str]:
        return [model.name for model in self.running if model.ready_replicas]

    def requests(self, model: str) -> float:
        """`salver_requests_total` of this label."""
        for family in self.registry.snapshot():
            for sample in family.samples:
                if family.name == "salver_requests_total" and dict(sample.labels)["model"] == model:
                    return sample.value
        return -1


def pooled(budget_bytes: int, max_loads: int = 2) -> Callable[..., Callable[[], None]]:
    """Runs an async test on a pool with this budget."""

    def decorate(test: Callable[[Host], Awaitable[None]]) -> Callable[[], None]:
        async def play() -> None:
            stage = SelfActingStage()
            host = Host(stage, budget_bytes, max_loads)
            try:
                await asyncio.wait_for(test(host), 10)
            finally:
                host.pool.close()
                await stage.close()

        def run() -> None:
            asyncio.run(play())

        run.__name__ = test.__name__
        return run

    return decorate


@pooled(100 << 20)
async def test_a_registered_model_is_ready_and_nothing_is_started_for_it(host: Host) -> None:
    record = host.register(3)[0]
    assert record.is_ready
    assert (record.status.state, record.status.reason) == ("READY", "standby")
    assert host.running == []
    with pytest.raises(ModelNotReady, match="first request loads it"):
        _ = record.metadata


def test_a_record_is_small() -> None:
    record = PooledModel(None, "m", "1", "/models/m", CopyLimits(), 0.0)  # type: ignore[arg-type]
    assert sys.getsizeof(record) <= 144
    assert not hasattr(record, "__dict__")


@pooled(100 << 20)
async def test_the_first_call_loads_a_model_and_the_next_finds_it(host: Host) -> None:
    record = host.register(1)[0]
    assert await host.ask(record) == b"ok"
    assert await host.ask(record) == b"ok"
    assert host.stage.loads == ["m0"]
    assert record.metadata.platform == "sklearn"
    assert record.size_bytes == 10


@pooled(32)
async def test_the_least_recently_used_model_makes_room(host: Host) -> None:
    small = [host.pool.register(f"m{index}", "1", "/models/10") for index in range(4)]
    for record in small:
        record.size_bytes = 10
    for index in (0, 1, 2, 0):
        assert await host.ask(small[index]) == b"ok"
    assert await host.ask(small[3]) == b"ok"
    assert sorted(host.loaded) == ["m0", "m2", "m3"]
    assert host.stage.used_bytes <= 32
    assert small[1].status.reason == "standby"


@pooled(32)
async def test_no_worker_starts_before_the_memory_for_it_is_free(host: Host) -> None:
    records = host.register(40)
    for record in records:
        record.size_bytes = 10
    most = 0
    calls = []
    for turn in range(120):
        host.stage.now_s += 0.01
        call = AwaitedCall(host.stage.now_s, timeout_s=1e6)
        records[turn * 7 % 40].submit(call)
        calls.append(call)
    pending = asyncio.gather(*(call.outcome for call in calls))
    while not pending.done():
        most = max(most, host.stage.used_bytes)
        await asyncio.sleep(0)
    assert set(await pending) == {b"ok"}
    assert 0 < most <= 32


@pooled(1 << 30, max_loads=3)
async def test_so_many_loads_run_side_by_side_and_the_others_wait(host: Host) -> None:
    records = host.register(20, "/models/slow")
    for record in records:
        record.size_bytes = 10
    calls = [asyncio.ensure_future(host.ask(record)) for record in records]
    await until(lambda: len(host.stage.loads) == 3)
    host.stage.release.set()
    assert await asyncio.gather(*calls) == [b"ok"] * 20
    assert host.stage.most_loading == 3


@pooled(32)
async def test_a_model_that_is_in_use_is_not_evicted(host: Host) -> None:
    busy = host.pool.register("busy", "1", "/models/30")
    other = host.pool.register("other", "1", "/models/30")
    busy.size_bytes = other.size_bytes = 30
    assert await host.ask(busy) == b"ok"
    local = busy.local
    assert local is not None
    held = AwaitedCall(host.stage.now_s)
    worker = host.stage.workers[0]
    local.queue._in_flight += 1  # As while a batch takes its time.
    waiting = asyncio.ensure_future(host.ask(other))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert host.loaded == ["busy"]
    local.queue._in_flight -= 1
    assert await waiting == b"ok"
    assert host.loaded == ["other"]
    assert (held.attempts, worker.socket.fileno()) == (0, -1)


@pooled(32)
async def test_a_call_for_a_model_that_is_on_its_way_out_brings_it_back(host: Host) -> None:
    first = host.pool.register("first", "1", "/models/20")
    second = host.pool.register("second", "1", "/models/20")
    first.size_bytes = second.size_bytes = 20
    assert await host.ask(first) == b"ok"
    calls = [asyncio.ensure_future(host.ask(each)) for each in (second, first, second, first)]
    assert await asyncio.gather(*calls) == [b"ok"] * 4
    assert host.stage.loads[:2] == ["first", "second"]


@pooled(100 << 20)
async def test_a_model_that_turns_out_too_large_is_refused_with_the_numbers(host: Host) -> None:
    record = host.pool.register("whale", "1", f"/models/{200 << 20}")
    await host.ask(record)
    await until(lambda: not record.is_ready)
    kind, message = await host.ask(record)  # type: ignore[misc]
    assert kind == ErrorKind.MODEL_NOT_READY
    assert "200.0 MiB" in message
    assert "100.0 MiB" in message
    assert host.loaded == []


@pooled(100 << 20)
async def test_a_model_that_grows_over_the_budget_pushes_others_out(host: Host) -> None:
    records = host.register(2)
    for record in records:
        assert await host.ask(record) == b"ok"
    for pid in host.stage._sizes:
        host.stage._sizes[pid] = 60 << 20
    host.stage.now_s += 60
    host.check()
    for _ in range(200):
        if host.loaded == ["m1"]:
            break
        await asyncio.sleep(0.005)
    assert host.loaded == ["m1"]


@pooled(100 << 20)
async def test_a_load_that_fails_is_told_to_all_who_wait_and_kept_as_the_reason(host: Host) -> None:
    record = host.pool.register("bad", "1", "/models/broken")
    outcomes = await asyncio.gather(*(host.ask(record) for _ in range(3)))
    expected = (ErrorKind.MODEL_NOT_READY, "model 'bad' could not be loaded: no weights")
    assert outcomes == [expected] * 3
    assert (record.status.state, record.status.reason) == ("UNAVAILABLE", "no weights")
    with pytest.raises(LoadFailed, match="no weights"):
        await host.pool.load("bad")
    record.source = "/models/10"
    await host.pool.load("bad")
    assert await host.ask(record) == b"ok"


@pooled(100 << 20)
async def test_a_source_may_be_a_function_whose_failure_is_the_reason(host: Host) -> None:
    async def fetch() -> Prepared:
        raise OSError("bucket 'm' is gone")

    record = host.pool.register("far", "1", fetch)
    assert (await host.ask(record))[1] == (  # type: ignore[comparison-overlap]
        "model 'far' could not be loaded: bucket 'm' is gone"
    )


@pooled(100 << 20)
async def test_an_unloaded_model_returns_its_memory_and_refuses(host: Host) -> None:
    record = host.register(1)[0]
    assert await host.ask(record) == b"ok"
    await host.pool.unload("m0")
    await until(lambda: host.stage.used_bytes == 0)
    assert (record.status.state, record.status.reason) == ("UNAVAILABLE", "unloaded")
    assert (await host.ask(record))[0] == ErrorKind.MODEL_NOT_READY
    await host.pool.load("m0")
    assert await host.ask(record) == b"ok"


@pooled(32)
async def test_an_evicted_model_is_a_mere_record_again_and_its_counts_are_kept(host: Host) -> None:
    records = host.register(3, "/models/20")
    for record in records:
        record.size_bytes = 20
        assert await host.ask(record) == b"ok"
    await until(lambda: len(host.stage._sizes) == 1)
    host.check()
    assert [record.local is None for record in records] == [True, True, False]
    assert (host.requests("m0"), host.requests("m2")) == (-1, 1)
    assert host.requests("(unloaded)") == 2
    assert records[0].metadata.platform == "sklearn"


@pooled(32)
async def test_a_minimum_of_copies_is_loaded_at_once_and_never_evicted(host: Host) -> None:
    kept = host.pool.register("kept", "1", "/models/10", CopyLimits(min_copies=1))
    await until(lambda: kept.local is not None and kept.local.ready_replicas == 1)
    for record in host.register(6):
        record.size_bytes = 10
        assert await host.ask(record) == b"ok"
    assert "kept" in host.loaded


@pooled(100 << 20)
async def test_copies_follow_the_load_between_their_limits(host: Host) -> None:
    record = host.pool.register("busy", "1", "/models/10", CopyLimits(0, 2))
    assert await host.ask(record) == b"ok"
    local = record.local
    assert local is not None
    await until(lambda: record.size_bytes == 10 and not host.pool._loading)
    waiting = AwaitedCall(host.stage.now_s)
    local.queue._waiting.append(waiting)
    for _ in range(3):
        host.check()
        await until(lambda: local.ready_replicas == local.wanted_replicas)
    assert local.wanted_replicas == 2
    assert await waiting.outcome == b"ok"
    host.stage.now_s += 100
    host.check()
    assert local.wanted_replicas == 1


@pooled(100 << 20)
async def test_versions_and_statuses_are_in_order(host: Host) -> None:
    for name, version in (("b", "1"), ("a", "10"), ("a", "2")):
        host.pool.register(name, version, "/models/10")
    assert [(each.name, each.version) for each in host.pool.statuses()] == [
        ("a", "2"),
        ("a", "10"),
        ("b", "1"),
    ]
    assert host.pool.versions("a") == ["2", "10"]
    found = host.pool.find("a")
    assert found is not None
    assert found.version == "10"
    assert host.pool.find("a", "3") is None
    await host.pool.unregister("a", "10")
    assert host.pool.versions("a") == ["2"]
    await host.pool.unregister("a")
    assert (host.pool.find("a"), len(host.pool)) == (None, 1)
    with pytest.raises(ModelNotFound):
        await host.pool.load("a")


@pooled(100 << 20, max_loads=1)
async def test_a_model_forgotten_while_it_loads_does_not_block_the_others(host: Host) -> None:
    slow = host.pool.register("slow", "1", "/models/slow")
    other = host.pool.register("other", "1", "/models/10")
    call = AwaitedCall(host.stage.now_s)
    slow.submit(call)
    await until(lambda: host.stage.loads == ["slow"])
    assert slow.local is not None
    call.is_abandoned = True
    slow.local.queue._waiting.clear()
    await host.pool.unregister("slow")
    assert await host.ask(other) == b"ok"
    assert host.loaded == ["other"]


@pooled(100 << 20, max_loads=1)
async def test_a_model_unloaded_while_it_is_fetched_is_not_loaded_after(host: Host) -> None:
    fetched = asyncio.Event()

    async def fetch() -> Prepared:
        await fetched.wait()
        return ORDER, host.stage  # type: ignore[return-value]

    record = host.pool.register("far", "1", fetch)
    waiting = asyncio.ensure_future(record.wait_ready(5))
    await until(lambda: "far/1" in host.pool._loading)
    await host.pool.unload("far")
    with pytest.raises(ModelNotReady, match="unloaded"):
        await waiting
    fetched.set()
    await until(lambda: not host.pool._loading)
    assert host.stage.workers == []


@pooled(100 << 20, max_loads=1)
async def test_a_call_after_that_loads_it_anew(host: Host) -> None:
    fetched = asyncio.Event()

    async def fetch() -> Prepared:
        await fetched.wait()
        return ORDER, host.stage  # type: ignore[return-value]

    record = host.pool.register("far", "1", fetch)
    waiting = asyncio.ensure_future(record.wait_ready(5))
    await until(lambda: "far/1" in host.pool._loading)
    await host.pool.unload("far")
    record.is_unloaded = False
    answer = asyncio.ensure_future(host.ask(record))
    await asyncio.sleep(0)
    fetched.set()
    assert await answer == b"ok"
    with pytest.raises(ModelNotReady):
        await waiting


@pooled(100)
async def test_a_model_that_never_fits_beside_those_that_stay_holds_nobody_up(host: Host) -> None:
    kept = host.pool.register("kept", "1", "/models/60", CopyLimits(min_copies=1))
    await until(lambda: kept.size_bytes == 60)
    large, small = (host.pool.register(f"m{size}", "1", f"/models/{size}") for size in (50, 20))
    large.size_bytes, small.size_bytes = 50, 20
    outcomes = await asyncio.gather(host.ask(large), host.ask(small))
    assert outcomes[1] == b"ok"
    kind, message = outcomes[0]  # type: ignore[misc]
    assert kind == ErrorKind.MODEL_NOT_READY
    assert "kept/1 is at its minimum of copies" in message


@pooled(100)
async def test_a_guess_leaves_a_model_its_chance_beside_those_that_stay(host: Host) -> None:
    kept = host.pool.register("kept", "1", "/models/60", CopyLimits(min_copies=1))
    await until(lambda: kept.size_bytes == 60)
    assert await host.ask(host.pool.register("new", "1", "/models/20")) == b"ok"


@pooled(100)
async def test_a_minimum_of_copies_is_tried_again_when_it_could_not_be_loaded(host: Host) -> None:
    record = host.pool.register("kept", "1", "/models/broken", CopyLimits(min_copies=1))
    await until(lambda: record.local is not None and record.local.failure != "")
    record.source = "/models/10"
    assert record.local is not None
    # The hold-off is a second; what comes after it needs no clock.
    await until(lambda: record.key not in host.pool._loading)
    record.local._is_holding_off = False
    record.local._rest()
    host.check()
    await until(lambda: record.local is not None and record.local.ready_replicas == 1)


@pooled(100)
async def test_calls_that_wait_for_a_model_are_told_at_once_that_it_is_unloaded(host: Host) -> None:
    first = host.pool.register("first", "1", "/models/slow")
    waiting = host.pool.register("waiting", "1", "/models/slow")
    first.size_bytes = waiting.size_bytes = 10
    calls = [asyncio.ensure_future(host.ask(record)) for record in (first, waiting)]
    await until(lambda: len(host.stage.loads) == 2)
    await host.pool.unload("waiting")
    assert (await calls[1])[0] == ErrorKind.MODEL_NOT_READY  # type: ignore[comparison-overlap]
    host.stage.release.set()
    assert await calls[0] == b"ok"


@pooled(100)
async def test_two_may_unload_or_forget_a_model_at_once(host: Host) -> None:
    record = host.register(1)[0]
    assert await host.ask(record) == b"ok"
    await asyncio.gather(host.pool.unload("m0"), host.pool.unload("m0"))
    assert record.status.reason == "unloaded"
    await host.pool.load("m0")
    await asyncio.gather(host.pool.unregister("m0"), host.pool.unregister("m0"))
    assert "m0" not in host.pool
    assert host.running == []


@pooled(100)
async def test_a_model_registered_again_while_its_last_calls_end_stays(host: Host) -> None:
    record = host.register(1)[0]
    assert await host.ask(record) == b"ok"
    assert record.local is not None
    queue = record.local.queue
    queue._in_flight += 1  # As while a batch takes its time.
    forgetting = asyncio.ensure_future(host.pool.unregister("m0"))
    await asyncio.sleep(0)
    assert host.pool.register("m0", "1", "/models/20") is record
    queue._in_flight -= 1
    await forgetting
    assert await host.ask(record) == b"ok"
    await until(lambda: record.size_bytes == 20)


@pooled(32)
async def test_a_model_that_is_loaded_again_is_not_evicted_meanwhile(host: Host) -> None:
    record, other = host.register(2, "/models/20")
    record.size_bytes = other.size_bytes = 20
    assert await host.ask(record) == b"ok"
    fetched = asyncio.Event()

    async def fetch() -> Prepared:
        await fetched.wait()
        return msgspec.structs.replace(ORDER, name="m0", path="/models/20"), host.stage  # type: ignore[return-value]

    record.source = fetch
    loading = asyncio.ensure_future(host.pool.load("m0"))
    await asyncio.sleep(0)
    asking = asyncio.ensure_future(host.ask(other))
    for _ in range(50):
        await asyncio.sleep(0)
    assert host.loaded == ["m0"]
    with pytest.raises(LoadFailed, match="being loaded already"):
        await host.pool.load("m0")
    fetched.set()
    await loading
    assert await asking == b"ok"
    assert host.loaded == ["m1"]


@pooled(100)
async def test_a_model_unloaded_while_it_is_fetched_anew_starts_nothing(host: Host) -> None:
    record = host.register(1)[0]
    assert await host.ask(record) == b"ok"
    fetched = asyncio.Event()

    async def fetch() -> Prepared:
        await fetched.wait()
        return ORDER, host.stage  # type: ignore[return-value]

    record.source = fetch
    loading = asyncio.ensure_future(host.pool.load("m0"))
    await asyncio.sleep(0)
    await host.pool.unload("m0")
    fetched.set()
    with pytest.raises(LoadFailed, match="was unloaded before it had loaded"):
        await loading
    assert (len(host.stage.workers), host.running) == (1, [])
