"""The loop that makes passes: over what was touched, one at a time, and now and then over all.

Knows no resource and no machine. A pass that fails is made again after a while, and does not end
the loop for the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

logger = logging.getLogger("salver.control")

_RESYNC_S = 5.0
"""So often everything is looked at, for what nobody told."""
_RETRY_S = 1.0
_LOOKS_AT_ONCE = 100

Key = TypeVar("Key", bound=Hashable)


class PassLoop(Generic[Key]):
    """What is touched gets a pass, once, however often it was touched meanwhile."""

    def __init__(
        self,
        make: Callable[[Key], object],
        known: Callable[[], Iterable[Key]],
        looks_different: Callable[[Key], bool],
        shown: Callable[[Key], str],
    ) -> None:
        """`make` makes a pass. `known` is looked over every few seconds: a pass is made over what
        `looks_different`. `shown` names a key, for the log."""
        self._make = make
        self._known = known
        self._looks_different = looks_different
        self._shown = shown
        self._dirty: dict[Key, None] = {}
        self._wake = asyncio.Event()

    def touch(self, key: Key) -> None:
        """Something about it may have changed: a pass over it is due."""
        self._dirty[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Goes on until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_RESYNC_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._touch_changed()
            self._wake.clear()
            while self._dirty:
                key = next(iter(self._dirty))
                del self._dirty[key]
                self._pass_over(key)
                await asyncio.sleep(0)

    async def _touch_changed(self) -> None:
        """Touches what looks different by now; thousands that do not cost next to nothing."""
        for number, key in enumerate(list(self._known())):
            if self._looks_different(key):
                self.touch(key)
            if number % _LOOKS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _pass_over(self, key: Key) -> None:
        try:
            self._make(key)
        except Exception:
            logger.exception("%s: the control loop failed on it", self._shown(key))
            asyncio.get_running_loop().call_later(_RETRY_S, self.touch, key)
