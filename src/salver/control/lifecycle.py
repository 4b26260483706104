"""The life of a replica as a table, and how long a dead one waits to be started again. Pure.

STARTING --loaded--> READY --retired--> RETIRING --finished--> DEAD
    |                  |                    |
    '-- load failed ---+------ exited ------'-----> DEAD
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class ReplicaState(Enum):
    """STARTING covers the fork, the load and the warm-up; only READY takes batches."""

    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"
    DEAD = "dead"


class ReplicaEvent(Enum):
    """What can happen to a replica."""

    LOADED = "loaded"
    LOAD_FAILED = "load failed"
    RETIRED = "retired"
    FINISHED = "finished"
    EXITED = "exited"


_STATE = ReplicaState
_EVENT = ReplicaEvent
TRANSITIONS: Mapping[tuple[ReplicaState, ReplicaEvent], ReplicaState] = MappingProxyType(
    {
        (_STATE.STARTING, _EVENT.LOADED): _STATE.READY,
        (_STATE.STARTING, _EVENT.LOAD_FAILED): _STATE.DEAD,
        (_STATE.STARTING, _EVENT.RETIRED): _STATE.DEAD,
        (_STATE.STARTING, _EVENT.EXITED): _STATE.DEAD,
        (_STATE.READY, _EVENT.RETIRED): _STATE.RETIRING,
        (_STATE.READY, _EVENT.EXITED): _STATE.DEAD,
        (_STATE.RETIRING, _EVENT.FINISHED): _STATE.DEAD,
        (_STATE.RETIRING, _EVENT.EXITED): _STATE.DEAD,
    }
)

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0


def next_state(state: ReplicaState, event: ReplicaEvent) -> ReplicaState:
    """The state after the event. Raises `ValueError` if the table has no such transition."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a {state.value} replica cannot be {event.value}") from None


def backoff_s(failures: int) -> float:
    """Seconds before the next start, after so many deaths in a row without an answer between.

    The first restart is immediate: most deaths are accidents, and requests are waiting.
    """
    if failures <= 1:
        return 0.0
    return min(MAX_BACKOFF_S, FIRST_BACKOFF_S * float(2 ** min(failures - 2, 16)))
