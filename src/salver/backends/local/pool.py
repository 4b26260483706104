"""Many models in little memory: loaded on first use, the least recently used unloaded for others.

A record for each model that is registered, a `LocalModel` with workers for those in use. The
memory that counts is what workers measurably add; what may go is `control/placement.py`'s
decision. Calls wait in their model's queue while it is loaded, within their deadlines; so
many loads run side by side, the rest queue up behind them in the order of their first calls.

The metrics of a model that is unloaded are added to those of `model="(unloaded)"`, so that
/metrics has one set for each loaded model, and sums over models keep growing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from salver.artifacts.layout import ModelTarget
from salver.backends.local.environment import Environment
from salver.backends.local.memory import largest_bytes
from salver.backends.local.model import LocalModel
from salver.backends.local.options import ModelOptions
from salver.backends.local.pool_memory import estimate_bytes, limit_bytes, room_bytes
from salver.backends.local.pool_metrics import PoolMetrics
from salver.backends.local.pooled import (
    CopyLimits,
    PooledModel,
    PoolIndex,
    Prepared,
    Source,
)
from salver.backends.local.worker_messages import LoadOrder
from salver.control.placement import LoadedModel, pinned_bytes, place
from salver.engine.call import Call
from salver.engine.ports import ModelStatus
from salver.engine.queue import Clock
from salver.errors import ErrorKind, LoadFailed, ModelNotFound, RequestError, SalverError
from salver.inference.metadata import ModelMetadata
from salver.telemetry.registry import Registry

logger = logging.getLogger("salver.pool")

_UNUSED_S = 3600.0
"""A model that was just registered counts as last used so long ago, as ModelMesh has it."""
_RETRY_S = 0.02
_MEASURE_S = 5.0
_SPARE_COPY_S = 60.0
"""A copy beyond the first is given up after so long without a request."""
_MAX_INTERNED = 4096
_FOLDED = {"model": "(unloaded)", "version": ""}

_REASON_S = 1.0


class PoolHost(Protocol):
    """Makes and watches over the models that the pool opens."""

    def new_model(
        self, name: str, version: str, options: ModelOptions, on_wanted: Callable[[], object]
    ) -> LocalModel: ...

    def forget_model(self, model: LocalModel) -> None: ...

    async def prepare_target(self, target: ModelTarget) -> Prepared:
        """Raises `ArtifactError` if the target cannot become a model."""


class ModelPool:
    """Tens of thousands of models, of which so many are loaded as the budget holds."""

    def __init__(
        self,
        budget_bytes: int,
        options: ModelOptions,
        *,
        host: PoolHost,
        registry: Registry,
        clock: Clock,
        max_loads: int = 2,
        measure: Callable[[Sequence[int]], int] = largest_bytes,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._options = options
        self._host = host
        self._registry = registry
        self.clock = clock
        self._max_loads = max_loads
        self._measure = measure
        self._index = PoolIndex()
        self.find = self._index.find
        self._open: dict[str, PooledModel] = {}
        """Those that have a `LocalModel`, by key."""
        self._wanting: dict[str, PooledModel] = {}
        """Those that wait for a worker, first come, first served."""
        self._loading: dict[str, PooledModel] = {}
        self._interned: dict[ModelMetadata, ModelMetadata] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._measured_s = 0.0
        self._is_measuring = False
        self._metrics = PoolMetrics(registry, budget_bytes)

    # Registration.

    def register(
        self, name: str, version: str, source: Source, limits: CopyLimits | None = None
    ) -> PooledModel:
        """Makes the model known, or gives it another source; nothing is read or loaded yet.

        With `min_copies` its workers start at once, which takes a running loop.
        """
        record = self._index.find(name, version) if version else None
        if record is None:
            used_s = self.clock() - _UNUSED_S
            record = PooledModel(self, name, version, source, limits or _ANY, used_s)
            self._index.add(record)
        else:
            record.source, record.failure = source, ""
            record.limits = limits or record.limits
            record.is_leaving = False
        if record.limits.min_copies:
            self._want(record)
        return record

    async def unregister(self, name: str, version: str = "") -> None:
        """Answers the calls that wait, ends the workers, forgets the model (all versions)."""
        for record in self._index.named(name):
            if version in ("", record.version):
                record.is_leaving = True
                await self._end(record)
                # Unless it was registered again, or forgotten by another, while its calls ended.
                if record.is_leaving and record in self._index.named(name):
                    self._index.remove(record)

    # What the catalog asks.

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, name: str) -> bool:
        return bool(self._index.named(name))

    def versions(self, name: str) -> list[str]:
        """The model's versions, lowest first; none if it is not here."""
        return [record.version for record in self._index.named(name)]

    def names(self) -> Iterator[str]:
        """Every model once, in the order of registration."""
        return self._index.names()

    def statuses(self) -> list[ModelStatus]:
        """Every version of every model, by name, then version."""
        return [record.status for record in self._index.ordered()]

    @property
    def used_bytes(self) -> int:
        """What its workers add, those included that are starting or ending."""
        return sum(self._bytes_of(record) for record in self._open.values())

    @property
    def loaded(self) -> int:
        """How many models have a worker that takes requests."""
        return sum(
            record.local is not None and record.local.ready_replicas > 0
            for record in self._open.values()
        )

    def _bytes_of(self, record: PooledModel) -> int:
        assert record.local is not None
        processes = record.local.processes
        if record.key in self._loading:
            processes = max(processes, 1)
        return record.size_bytes * processes

    async def load(self, name: str) -> None:
        """Loads the model's versions, or loads them again from their sources.

        Raises `ModelNotFound` or `LoadFailed`.
        """
        records = self._index.named(name)
        if not records:
            raise ModelNotFound(f"the pool has no model '{name}'")
        for record in records:
            record.is_unloaded, record.failure = False, ""
            local = record.local
            if local is not None and local.ready_replicas:
                await self._reload(record, local)
                continue
            is_coming = record.key in self._loading and not (local is not None and local.failure)
            if not is_coming and record.key not in self._wanting:
                await self._end(record)
            record.known_metadata = None
            try:
                # A little longer, since what ends a load that hangs also says why.
                await record.wait_ready(self._options.load_timeout_s + _REASON_S)
            except RequestError as error:
                raise LoadFailed(str(error)) from error

    async def _reload(self, record: PooledModel, local: LocalModel) -> None:
        """Loads it again, the worker that it has serving until then."""
        if record.key in self._loading:
            raise LoadFailed(f"model '{record.name}' is being loaded already: wait for it")
        self._loading[record.key] = record
        try:
            order, environment = await self._prepare(record)
            if record.local is not local:
                raise LoadFailed(f"model '{record.name}' was unloaded before it had loaded")
            await local.load(order, environment)
            self._on_loaded(record, local)
        finally:
            self._loading.pop(record.key, None)
            self._pump()

    async def unload(self, name: str) -> None:
        """Takes the model out of service until it is loaded again."""
        for record in self._index.named(name):
            record.is_unloaded = True
            await self._end(record)

    async def _end(self, record: PooledModel) -> None:
        self._wanting.pop(record.key, None)
        local = record.local
        if local is None:
            return
        # Without a worker there is nobody to answer the calls that wait: they are told at once.
        await local.unload(self._options.drain_timeout_s if local.ready_replicas else 0.0)
        if record.local is local:
            self._close(record)

    # What a record asks.

    def open(self, record: PooledModel) -> LocalModel:
        """A queue for the record, at rest: its first call brings the model's turn to load."""
        options = self._options
        local = self._host.new_model(
            record.name, record.version, options, lambda: self._want(record)
        )
        local.on_worker_gone = self._pump
        local.memory_bytes = record.size_bytes
        record.local = local
        self._open[record.key] = record
        local.stand_by()
        return local

    def refuse(self, call: Call, kind: ErrorKind, message: str) -> None:
        """Refuses a call for a model that has no queue."""
        self._metrics.refused.value += 1
        call.fail(kind, message)

    def _want(self, record: PooledModel) -> None:
        if record.key not in self._loading:
            if record.local is None:
                self.open(record)
            self._wanting[record.key] = record
            self._pump()

    # Loading, one after the other as memory allows.

    def _pump(self) -> None:
        """Starts the loads that have a place; makes room for the first that has none."""
        while self._wanting and len(self._loading) < self._max_loads:
            record = next(iter(self._wanting.values()))
            if not self._is_awaited(record):
                self._give_up(record)
            elif not self._start_if_it_fits(record):
                break
        if self._wanting and self._retry is None:
            # What is in the way ends a request without telling the pool, so ask again.
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._pump_again)

    def _pump_again(self) -> None:
        self._retry = None
        self._pump()

    def _is_awaited(self, record: PooledModel) -> bool:
        local = record.local
        if local is None:
            return False
        return local.queue.queued > 0 or local.is_awaited or record.limits.min_copies > 0

    def _give_up(self, record: PooledModel) -> None:
        """Everybody who waited for it has left."""
        del self._wanting[record.key]
        if record.local is not None and not record.local.ready_replicas:
            record.local.stand_by()

    def _start_if_it_fits(self, record: PooledModel) -> bool:
        assert record.local is not None
        staying = self._staying()
        room = room_bytes(self.budget_bytes, pinned_bytes(staying))
        size = estimate_bytes(record, self._open.values(), room)
        needed = size * max(1, record.limits.min_copies)
        limit = limit_bytes(self.budget_bytes, needed)
        placement = place(record.key, needed, limit, staying)
        if needed > room:
            # It would wait for ever, and the others behind it.
            del self._wanting[record.key]
            record.local.fail_start(placement.refusal)
            return True
        for key in placement.evict:
            self._evict(self._open[key])
        if not placement.fits or self.used_bytes + needed > limit:
            return False  # Until others are idle, or their processes have ended.
        del self._wanting[record.key]
        record.size_bytes = size
        self._loading[record.key] = record
        task = asyncio.get_running_loop().create_task(self._load(record, record.local))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _staying(self) -> list[LoadedModel]:
        """The models in memory, those aside that are on their way out."""
        return [
            LoadedModel(
                record.key,
                record.size_bytes,
                record.used_s,
                in_flight=record.local.queue.concurrency,
                copies=max(1, record.local.replicas),
                min_copies=record.limits.min_copies,
                is_loading=record.key in self._loading or record.local.is_loading,
            )
            for record in self._open.values()
            if record.local is not None and (record.local.replicas or record.key in self._loading)
        ]

    def _evict(self, record: PooledModel) -> None:
        """One copy goes; with the last one the model stands by."""
        assert record.local is not None
        self._metrics.evictions.value += 1
        left = record.local.wanted_replicas - 1
        if left > 0:
            record.local.scale(left)
        else:
            record.local.stand_by()

    async def _load(self, record: PooledModel, local: LocalModel) -> None:
        local.scale(max(1, record.limits.min_copies))
        try:
            prepared = await self._prepare(record)
        except Exception as error:
            # Whoever registered the model may have given any code to fetch it.
            if not isinstance(error, SalverError):
                logger.exception("model '%s' could not be prepared", record.name)
            local.fail_start(str(error))
        else:
            await self._load_prepared(record, local, *prepared)
        finally:
            self._loading.pop(record.key, None)
            if record.local is not local and self._is_awaited(record):
                # Unloaded and asked for again, while this was under way.
                self._wanting[record.key] = record
            self._pump()

    async def _load_prepared(
        self, record: PooledModel, local: LocalModel, order: LoadOrder, environment: Environment
    ) -> None:
        if record.local is not local:
            return  # It was unloaded or forgotten meanwhile.
        try:
            await local.load(order, environment)
        except LoadFailed:
            record.size_bytes = 0
            return
        self._metrics.loads.value += 1
        self._on_loaded(record, local)
        await self._weigh(record, local)

    async def _prepare(self, record: PooledModel) -> Prepared:
        source = record.source
        if isinstance(source, str):
            source = ModelTarget(record.name, record.version, Path(source), "")
        if isinstance(source, ModelTarget):
            return await self._host.prepare_target(source)
        return await source()

    def _on_loaded(self, record: PooledModel, local: LocalModel) -> None:
        metadata = local.metadata
        record.failure = ""
        # Thousands of models have the same few signatures.
        if len(self._interned) >= _MAX_INTERNED:
            self._interned.clear()
        record.known_metadata = self._interned.setdefault(metadata, metadata)

    # Memory.

    async def _weigh(self, record: PooledModel, local: LocalModel) -> None:
        size = await asyncio.to_thread(self._measure, local.pids)
        if size <= 0 or record.local is not local:
            return
        record.size_bytes = local.memory_bytes = size
        if size > self.budget_bytes:
            local.stand_by()
            refusal = place(record.key, size, self.budget_bytes, ()).refusal
            local.fail_start(refusal)
        self._shrink()

    def _shrink(self) -> None:
        """Unloads what the budget does not hold any more, now that more is known."""
        staying = self._staying()
        largest = max((each.memory_bytes for each in staying), default=0)
        for key in place("", 0, limit_bytes(self.budget_bytes, largest), staying).evict:
            self._evict(self._open[key])

    async def _weigh_all(self) -> None:
        try:
            for record in list(self._open.values()):
                if record.local is not None and record.local.ready_replicas:
                    await self._weigh(record, record.local)
        finally:
            self._is_measuring = False

    # What the supervisor calls now and then.

    def check(self, now_s: float) -> None:
        """Closes what is at rest, measures what is loaded, and fits copies to the load."""
        for record in list(self._open.values()):
            local = record.local
            assert local is not None
            is_due = record.key in self._wanting or record.key in self._loading
            if not is_due and local.is_at_rest and local.is_gone:
                if record.limits.min_copies:
                    self._want(record)  # It could not be loaded; perhaps now.
                else:
                    self._close(record)
            elif record.limits.max_copies > 1:
                self._fit_copies(record, local, now_s)
        if now_s - self._measured_s > _MEASURE_S and not self._is_measuring:
            self._measured_s, self._is_measuring = now_s, True
            task = asyncio.get_running_loop().create_task(self._weigh_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _fit_copies(self, record: PooledModel, local: LocalModel, now_s: float) -> None:
        copies, limits = local.wanted_replicas, record.limits
        if local.ready_replicas != copies or record.key in self._loading:
            return
        if local.queue.queued and copies < limits.max_copies:
            limit = limit_bytes(self.budget_bytes, record.size_bytes)
            placement = place(record.key, record.size_bytes, limit, self._staying())
            if placement.fits and not placement.evict:
                local.scale(copies + 1)
        elif copies > max(1, limits.min_copies) and now_s - record.used_s > _SPARE_COPY_S:
            local.scale(copies - 1)

    def _close(self, record: PooledModel) -> None:
        """Back to a mere record; what its metrics have counted is kept in sum."""
        local = record.local
        assert local is not None
        record.failure = local.failure
        record.local = None
        self._open.pop(record.key, None)
        self._registry.fold({"model": record.name, "version": record.version}, _FOLDED)
        self._host.forget_model(local)

    def refresh_gauges(self) -> None:
        """Brings the pool's own gauges up to date."""
        self._metrics.registered.value = len(self._index)
        self._metrics.loaded.value = self.loaded
        self._metrics.memory.value = self.used_bytes

    def close(self) -> None:
        """Starts nothing more; the models themselves are the host's to close."""
        if self._retry is not None:
            self._retry.cancel()
        for task in self._tasks:
            task.cancel()


_ANY = CopyLimits()
