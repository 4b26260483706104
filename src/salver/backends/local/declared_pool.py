"""Declared models of the shared pool: implements the control loop's `Pool` over the catalog's."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from functools import partial

from salver.backends.local.bring_up import BringUp
from salver.backends.local.catalog import LocalCatalog
from salver.backends.local.pooled import CopyLimits
from salver.engine.directory import ModelDirectory, PoolEntry
from salver.graphs.pooled import PooledPlan

_VERSION = "1"


class DeclaredPool:
    """Registers models with the catalog's pool, and exposes the services they belong to."""

    def __init__(
        self, catalog: LocalCatalog, directory: ModelDirectory, bring_up: BringUp, *, domain: str
    ) -> None:
        self._catalog = catalog
        self._directory = directory
        self._bring_up = bring_up
        self._domain = domain
        self._ending: dict[str, asyncio.Task[None]] = {}

    def register(self, plan: PooledPlan) -> None:
        """See `Pool`."""
        ending = self._ending.get(plan.name)
        if ending is not None:
            # One of its name is on its way out: this one comes after it.
            ending.add_done_callback(lambda _: self._register(plan))
        else:
            self._register(plan)

    def _register(self, plan: PooledPlan) -> None:
        self._catalog.pool.register(
            plan.name,
            _VERSION,
            partial(self._bring_up.prepare_pooled, plan),
            CopyLimits(plan.min_copies, max(1, plan.min_copies, plan.max_copies)),
        )

    def unregister(self, name: str) -> None:
        """See `Pool`."""
        task = asyncio.get_running_loop().create_task(self._unregister(name))
        self._ending[name] = task
        task.add_done_callback(lambda _: self._ending.pop(name, None))

    async def _unregister(self, name: str) -> None:
        await self._catalog.pool.unregister(name)
        self._bring_up.forget_pooled(name)

    def failure(self, name: str) -> str:
        """See `Pool`."""
        record = self._catalog.pool.find(name, _VERSION)
        if record is None:
            return ""
        return record.failure if record.local is None else record.local.failure

    def expose(self, namespace: str, name: str, models: Set[str]) -> None:
        """See `Pool`."""
        hosts = tuple(f"{name}{joint}{namespace}.{self._domain}" for joint in "-.")
        self._directory.expose_pool(PoolEntry(namespace, name, models, hosts))

    def withdraw(self, namespace: str, name: str) -> None:
        """See `Pool`."""
        self._directory.withdraw_pool(namespace, name)
