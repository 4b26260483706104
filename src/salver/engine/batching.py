"""The batching policy: queue state and time in, "go now" or "wait this long" out. Pure.

Work-conserving: a replica that is idle gets what is there at once; while it is busy,
requests collect; when it frees, they go together. A window (`max_delay_s`) is for models
whose batches gain more than the wait costs, and is off by default.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from salver.engine.call import Call
from salver.protocol.operations import CONTENT_BITS, is_stream


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much goes together. Requests, bytes of bodies, seconds."""

    max_requests: int = 128
    max_bytes: int = 1 << 20
    max_delay_s: float = 0.0


def wait_s(queued: int, oldest_arrived_s: float, now_s: float, limits: BatchLimits) -> float:
    """Seconds to wait before an idle replica should be given the queue; 0.0 means go now."""
    if limits.max_delay_s <= 0.0 or queued >= limits.max_requests:
        return 0.0
    return max(0.0, oldest_arrived_s + limits.max_delay_s - now_s)


def next_size(
    queued: int,
    oldest_arrived_s: float,
    now_s: float,
    limits: BatchLimits,
    preferred: tuple[int, ...],
) -> tuple[int, float]:
    """How many requests an idle replica should be given, and else (0) how long to wait for more.

    With sizes that are preferred, the largest that is there; if none is, all there are, but not
    before the window is over. Without a window nobody waits for a size to be reached.
    """
    left_s = wait_s(queued, oldest_arrived_s, now_s, limits)
    is_over = limits.max_delay_s > 0.0 and oldest_arrived_s + limits.max_delay_s <= now_s
    if not is_over:
        reached = max((size for size in preferred if size <= queued), default=0)
        if reached:
            return reached, 0.0
    return (0, left_s) if left_s > 0.0 else (limits.max_requests, 0.0)


def take_batch(
    queue: deque[Call], limits: BatchLimits, now_s: float
) -> tuple[list[Call], list[Call]]:
    """Pops from the queue's front the calls that go together: (batch, expired).

    Calls whose client has left are dropped on the way; those past their deadline come back
    as `expired`. A call that has been on a worker that died goes alone, so that the call
    which killed the worker takes no other with it the second time. A stream goes alone too,
    since the answers to a batch come when all of it is done.
    """
    batch: list[Call] = []
    expired: list[Call] = []
    size = 0
    max_bytes, max_requests, plain_tags = limits.max_bytes, limits.max_requests, CONTENT_BITS
    while queue:
        call = queue[0]
        if call.is_abandoned or call.deadline_s <= now_s:
            queue.popleft()
            if not call.is_abandoned:
                expired.append(call)
            continue
        size += len(call.body)
        goes_alone = call.attempts or (call.codec > plain_tags and is_stream(call.codec))
        if batch and (goes_alone or size > max_bytes):
            break
        batch.append(queue.popleft())
        if goes_alone or len(batch) >= max_requests:
            break
    return batch, expired
