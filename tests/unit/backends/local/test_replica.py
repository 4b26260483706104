"""The gateway's end of one worker: whose descriptors are whose."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Sequence
from typing import Any, cast

import uvloop

from salver.backends.local.replica import LocalReplica
from salver.backends.local.worker_messages import LoadOrder

ORDER = LoadOrder("iris", "1", "/iris", "sklearn", "", 1, 8, False, 0, 0, "text", "info")


class Owner:
    """Hears everything, does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class NoForks:
    """An environment whose workers never come."""

    def fork(self, events: object, fds: Sequence[int]) -> None: ...


async def start_and_retire() -> None:
    """A replica that is not needed any more before it is connected."""
    replica = LocalReplica(cast(Any, Owner()), ORDER, cast(Any, NoForks()), time.monotonic)
    start = asyncio.get_running_loop().create_task(replica.start())
    await asyncio.sleep(0)
    replica.retire()
    await start
    await asyncio.sleep(0.01)


def test_a_replica_retired_before_it_is_connected_closes_no_other_file() -> None:
    async def run() -> None:
        for _ in range(5):
            await start_and_retire()
            # These get the numbers that have become free.
            files = [os.open(os.devnull, os.O_RDONLY) for _ in range(16)]
            gc.collect()
            for file in files:
                os.fstat(file)
                os.close(file)

    uvloop.run(run())
