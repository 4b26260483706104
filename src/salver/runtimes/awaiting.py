"""Runs the coroutines of a user's class, which is called from one thread without a loop."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any


class Awaiter:
    """One event loop for all coroutines of an instance, made when the first one comes."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def finished(self, answer: Any) -> Any:
        """The result of a coroutine, run to its end; anything else as it is."""
        if not inspect.isawaitable(answer):
            return answer
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_awaited(answer))

    def close(self) -> None:
        """Closes the loop, if there is one."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None


async def _awaited(answer: Any) -> Any:
    return await answer
