"""Who hears of committed changes, and in which order they do."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from salver.control.resources import WatchEvent

logger = logging.getLogger("salver.state")

Listener = Callable[[WatchEvent], None]


class Listeners:
    """Tells each listener of each change, in the order of their versions."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._undelivered: deque[WatchEvent] = deque()
        self._is_delivering = False

    def add(self, listener: Listener) -> Callable[[], None]:
        """One more listener; returns how to stop it."""

        # A wrapper makes each subscription its own, even of the same function.
        def own(event: WatchEvent) -> None:
            listener(event)

        self._listeners = (*self._listeners, own)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not own)

        return stop

    def deliver(self, events: Iterable[WatchEvent]) -> None:
        """Tells of these. A listener that writes gets here again: what it writes is told of by
        the outer call, after all that came before it."""
        self._undelivered.extend(events)
        if self._is_delivering:
            return
        self._is_delivering = True
        try:
            while self._undelivered:
                event = self._undelivered.popleft()
                for listener in self._listeners:
                    try:
                        listener(event)
                    except Exception:
                        logger.exception("a listener failed on %s", event.ref)
        finally:
            self._is_delivering = False
