"""How long each engine takes for each batch size, in turns with the framework.

Owns the timing alone; the clock and the deadline come in. Turns are interleaved, so that a
neighbour's load slows all alike, and the best of each counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from salver.inference.tensor import InferRequest

Ask = Callable[[InferRequest], object]
Clock = Callable[[], float]
_TURNS = 7
_TURN_S = 0.0004
_MOST_CALLS = 40


def measured(
    askers: Mapping[str, Ask],
    requests: Mapping[int, InferRequest],
    *,
    clock: Clock,
    deadline_s: float,
    pause: Callable[[], object] = lambda: None,
) -> dict[str, dict[int, float]]:
    """By name and rows: seconds for a call. Sizes after the deadline are left out for all."""
    found: dict[str, dict[int, float]] = {name: {} for name in askers}
    for rows, request in requests.items():
        if clock() >= deadline_s:
            break
        for name, seconds in _in_turns(askers, request, clock, deadline_s, pause).items():
            found[name][rows] = seconds
    return found


def _in_turns(
    askers: Mapping[str, Ask],
    request: InferRequest,
    clock: Clock,
    deadline_s: float,
    pause: Callable[[], object],
) -> dict[str, float]:
    calls: dict[str, int] = {}
    best: dict[str, float] = {}
    for name, ask in askers.items():
        pause()
        ask(request)  # The first call may set things up.
        once_s = _timed(ask, request, 1, clock)
        calls[name] = max(1, min(_MOST_CALLS, round(_TURN_S / max(once_s, 1e-7))))
        best[name] = once_s
    for _ in range(_TURNS):
        for name, ask in askers.items():
            pause()
            best[name] = min(best[name], _timed(ask, request, calls[name], clock))
        if clock() >= deadline_s:
            break
    return best


def _timed(ask: Ask, request: InferRequest, calls: int, clock: Clock) -> float:
    turns: Sequence[int] = range(calls)
    started_s = clock()
    for _ in turns:
        ask(request)
    return (clock() - started_s) / calls
