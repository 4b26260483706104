"""The artifact store: an order in, a model on disk out.

Owns that orders for one thing share one download, that few go on at a time, and that the event
loop only waits: secrets, network and disk are touched in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from salver.errors import StorageError
from salver.storage.cache import Cache, Held
from salver.storage.fetching import Fetching
from salver.storage.opening import open_source
from salver.storage.orders import Resolved, located, resolve
from salver.storage.patterns import with_environ
from salver.storage.ports import (
    CustomSource,
    CustomSources,
    FetchedArtifact,
    FetchOrder,
    SecretSource,
    StorageSettings,
)
from salver.storage.transfer import Cancelled, Transfer, in_thread

_PROGRESS_S = 0.1
_CLOSE_S = 35.0

Progress = Callable[[int, int | None], None]


def _no_progress(done_bytes: int, total_bytes: int | None) -> None:
    pass


def _no_custom(order: FetchOrder, uri: str) -> CustomSource | None:
    return None


class _Job:
    """One download under way and how many wait for it. It has a pin of its own until all of
    them have theirs."""

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self.waiting = 0
        self.has_begun = False
        self.task: asyncio.Task[tuple[Held, bool]]


class ArtifactStore:
    """Fetches models into a cache that several processes may share. For one event loop.

    A fetched artifact is pinned: it stays in the cache until it is released as often as it was
    fetched or pinned, or the process ends. One that is used in place needs no pin.
    """

    def __init__(
        self,
        settings: StorageSettings,
        secrets: SecretSource,
        *,
        environ: Mapping[str, str],
        custom: CustomSources = _no_custom,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = with_environ(settings, environ)
        self._secrets = secrets
        self._environ = environ
        self._custom = custom
        self._clock = clock
        self._cache = Cache(settings.cache_dir, settings.cache_bytes, wall_clock)
        self._fetching = Fetching(self._cache, self._settings)
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._turns = asyncio.Semaphore(max(1, settings.parallel))

    @property
    def fetches_under_way(self) -> int:
        """Downloads that run or wait for their turn."""
        return len(self._jobs)

    @property
    def cached_bytes(self) -> int:
        """The size of all models in the cache."""
        return self._cache.used_bytes()

    async def fetch(
        self, order: FetchOrder, on_progress: Progress = _no_progress
    ) -> FetchedArtifact:
        """The model of an order, on disk and pinned. `on_progress` hears of bytes done and
        expected. Raises `StorageError`. If all who wait are cancelled, so is the download;
        what has come is kept for the next attempt."""
        resolved = resolve(order, self._settings, self._secrets, self._environ, self._custom)
        if resolved.location.kind in ("local", "pvc"):
            async with asyncio.timeout(self._settings.timeout_s):
                on_disk = await asyncio.to_thread(located, resolved, self._settings)
            if isinstance(on_disk, FetchedArtifact):
                return on_disk
            resolved = on_disk
        job_key = (resolved.key, resolved.location.sha256)
        job = self._jobs.get(job_key) or self._begin(job_key, resolved)
        job.waiting += 1
        try:
            await self._finished(job, on_progress)
            held, was_cached = _result(job.task, resolved.uri)
            self._cache.pin_again(held.digest)
        finally:
            job.waiting -= 1
            if not job.waiting:
                self._end(job_key, job)
        return FetchedArtifact(held.path, resolved.uri, held.digest, held.size_bytes, was_cached)

    def pin(self, artifact: FetchedArtifact) -> None:
        """Keeps an artifact, that is pinned, once more."""
        self._cache.pin_again(artifact.digest)

    def release(self, artifact: FetchedArtifact) -> None:
        """Gives a pin back. Without any, the artifact may go when room is needed."""
        self._cache.unpin(artifact.digest)

    async def aclose(self) -> None:
        """Ends downloads and lets go of all pins."""
        tasks = [job.task for job in self._jobs.values()]
        for job in self._jobs.values():
            self._give_up(job)
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        self._cache.close()

    def _begin(self, job_key: tuple[str, str], resolved: Resolved) -> _Job:
        job = _Job(Transfer(resolved.uri, self._settings.timeout_s, self._clock))
        job.task = asyncio.create_task(self._carry_out(job, resolved))
        self._jobs[job_key] = job
        return job

    async def _carry_out(self, job: _Job, resolved: Resolved) -> tuple[Held, bool]:
        async with self._turns:
            job.has_begun = True
            job.transfer.begin()
            work = partial(self._fetched, job.transfer, resolved)
            # The thread heeds the transfer's deadline and cancellation.
            return await asyncio.wrap_future(in_thread(work, "salver-fetch"))

    def _fetched(self, transfer: Transfer, resolved: Resolved) -> tuple[Held, bool]:
        location = resolved.location
        source = resolved.source or open_source(
            location, resolved.credentials, self._settings, self._environ
        )
        return self._fetching.run(resolved.key, location.sha256, source, transfer)

    async def _finished(self, job: _Job, on_progress: Progress) -> None:
        told: tuple[int, int | None] = (-1, None)
        while not job.task.done():
            await asyncio.wait({job.task}, timeout=_PROGRESS_S)
            now = (job.transfer.done_bytes, job.transfer.total_bytes)
            if now != told and job.has_begun:
                on_progress(*now)
                told = now

    def _end(self, job_key: tuple[str, str], job: _Job) -> None:
        """Nobody waits: the job gives its own pin back, now or when it has stopped."""
        if self._jobs.get(job_key) is job:
            del self._jobs[job_key]
        if not job.task.done():
            self._give_up(job)
        job.task.add_done_callback(self._unpin_result)

    def _give_up(self, job: _Job) -> None:
        job.transfer.cancel()
        if not job.has_begun:
            job.task.cancel()

    def _unpin_result(self, task: asyncio.Task[tuple[Held, bool]]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._cache.unpin(task.result()[0].digest)


def _result(task: asyncio.Task[tuple[Held, bool]], uri: str) -> tuple[Held, bool]:
    """What a job that has ended came to."""
    try:
        return task.result()
    except (Cancelled, asyncio.CancelledError) as error:
        raise StorageError(f"{uri}: the fetch was stopped, the server is closing") from error
