"""Whether a model is ready, as callers and the repository index are told, and who waits for it.

Owns state and reason, in Triton's terms, and the waiters. What makes a model ready is
`model.py`'s to know.
"""

from __future__ import annotations

import asyncio

from salver.errors import DeadlineExceeded, ModelNotReady
from salver.telemetry.registry import Gauge

READY = "READY"
LOADING = "LOADING"
UNLOADING = "UNLOADING"
UNAVAILABLE = "UNAVAILABLE"

STANDBY = "standby"
STARTING = "starting"
UNLOADED = "unloaded"


class Readiness:
    """State and reason of one model, and those who wait for it to be ready.

    `label` is what messages call the model; `gauge` is 1 while it is ready.
    """

    def __init__(self, label: str, gauge: Gauge) -> None:
        self.state = UNAVAILABLE
        self.reason = "not loaded"
        self._label = label
        self._gauge = gauge
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_ready(self) -> bool:
        return self.state == READY

    @property
    def is_leaving(self) -> bool:
        """It is being unloaded, or has been."""
        return self.state == UNLOADING or self.reason == UNLOADED

    @property
    def is_awaited(self) -> bool:
        return bool(self._waiters)

    def set(self, state: str, reason: str) -> None:
        """From now on that is so. Who waits for a model that is unavailable is told why."""
        self.state, self.reason = state, reason
        self._gauge.value = 1 if state == READY else 0
        if state == UNAVAILABLE:
            self._tell(ModelNotReady(f"{self._label} is not ready: {reason}"))

    def loaded(self) -> None:
        """It has a worker, so nobody needs to wait any more."""
        self.set(READY, "")
        self._tell(None)

    def _tell(self, error: ModelNotReady | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def waiter(self) -> asyncio.Future[None]:
        """What becomes of the wait that begins now; for `wait`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def wait(self, waiter: asyncio.Future[None], timeout_s: float) -> None:
        """Returns once it is loaded. Raises `ModelNotReady` or `DeadlineExceeded`."""
        try:
            await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._label} was not ready within {timeout_s:g} s: try again"
            ) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
