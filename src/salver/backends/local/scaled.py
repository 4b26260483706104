"""Models as the autoscaler sees them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from salver.backends.local.model import LocalModel
from salver.backends.processes.service import ProcessService
from salver.control.scaler import ScaledRevision
from salver.graphs.plan import ScalingPolicy
from salver.telemetry.process import ProcessRef, proportional_bytes, read_usages


def most_replicas(policy: ScalingPolicy) -> int:
    """The policy's limit; without one, what the cores of this machine can use."""
    return policy.max_replicas or max(policy.min_replicas, len(os.sched_getaffinity(0)))


def scaled(model: LocalModel | ProcessService, policy: ScalingPolicy) -> ScaledRevision:
    """The view of either kind of model."""
    if isinstance(model, LocalModel):
        return _ScaledModel(model, most_replicas(policy))
    return _ScaledProcesses(model, most_replicas(policy))


class _ScaledModel:
    """A model in workers of our own."""

    def __init__(self, model: LocalModel, most: int) -> None:
        self._model = model
        self._most = most
        self._cpu = _CpuMeter()

    @property
    def concurrency(self) -> int:
        return self._model.queue.queued + self._model.queue.in_flight

    @property
    def requests(self) -> float:
        return self._model.queue.metrics.requests.value

    @property
    def ready_replicas(self) -> int:
        return self._model.ready_replicas

    @property
    def wanted_replicas(self) -> int:
        return self._model.wanted_replicas

    def utilization_percent(self, metric: str) -> float | None:
        if metric == "cpu":
            return self._cpu.percent(self._model.pids)
        limit = self._model.options.memory_bytes
        return _memory_percent(self._model.pids, limit)

    def scale(self, replicas: int) -> None:
        self._model.scale(min(replicas, self._most))


class _ScaledProcesses:
    """A command or container."""

    def __init__(self, service: ProcessService, most: int) -> None:
        self._service = service
        self._most = most
        self._cpu = _CpuMeter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def concurrency(self) -> int:
        return self._service.remote.queued + self._service.remote.in_flight

    @property
    def requests(self) -> float:
        return self._service.remote.metrics.requests.value

    @property
    def ready_replicas(self) -> int:
        return self._service.ready_replicas

    @property
    def wanted_replicas(self) -> int:
        return self._service.wanted_replicas

    def utilization_percent(self, metric: str) -> float | None:
        if metric == "cpu":
            return self._cpu.percent(self._service.pids)
        return None

    def scale(self, replicas: int) -> None:
        work = self._service.scale(min(replicas, self._most))
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _CpuMeter:
    """Mean use of one core by each of some processes since the last look, in percent."""

    def __init__(self) -> None:
        self._before: dict[int, float] = {}
        self._then_s = time.monotonic()

    def percent(self, pids: Sequence[int]) -> float | None:
        now_s = time.monotonic()
        used = {
            usage.process.pid: usage.cpu_s
            for usage in read_usages([ProcessRef(pid, "worker", str(pid)) for pid in pids])
        }
        both = used.keys() & self._before.keys()
        passed_s = now_s - self._then_s
        spent_s = sum(used[pid] - self._before[pid] for pid in both)
        self._before, self._then_s = used, now_s
        return 100.0 * spent_s / passed_s / len(both) if both and passed_s > 0 else None


def _memory_percent(pids: Sequence[int], limit_bytes: int) -> float | None:
    found = [proportional_bytes(pid) for pid in pids]
    sizes = [size for size in found if size is not None]
    if not sizes or not limit_bytes:
        return None
    return 100.0 * sum(sizes) / len(sizes) / limit_bytes
