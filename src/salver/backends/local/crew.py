"""The workers of one model: who is there, who leaves, and who goes first when there are too many.

Starts and retires replicas as it is told; how many there should be, and what their deaths
mean, is `model.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from salver.backends.local.environment import Environment
from salver.backends.local.replica import LocalReplica, ReplicaOwner
from salver.backends.local.worker_messages import LoadOrder
from salver.control.lifecycle import ReplicaState
from salver.engine.queue import Clock


def to_retire(replicas: Sequence[LocalReplica], count: int) -> list[LocalReplica]:
    """Those that are missed least: not yet loaded, then idle, then busy; the newest first."""

    def cost(index: int) -> tuple[int, int]:
        replica = replicas[index]
        if replica.state is ReplicaState.STARTING:
            return 0, -index
        return (2 if replica.batch else 1), -index

    chosen = sorted(range(len(replicas)), key=cost)[: max(0, count)]
    return [replicas[index] for index in chosen]


def _end(replica: LocalReplica) -> None:
    """Ends a process that nobody needs, if it is there."""
    if replica.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(replica.pid, signal.SIGKILL)


class Crew:
    """The replicas of one model, and those whose processes have yet to end."""

    def __init__(self, owner: ReplicaOwner, clock: Clock) -> None:
        self.members: list[LocalReplica] = []
        self._leaving: set[LocalReplica] = set()
        self._owner = owner
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """The processes of the members."""
        return [replica.pid for replica in self.members if replica.pid]

    @property
    def everybody(self) -> list[LocalReplica]:
        """The members, and those that leave."""
        return [*self.members, *self._leaving]

    @property
    def ready(self) -> int:
        """How many members take batches."""
        return sum(replica.state is ReplicaState.READY for replica in self.members)

    @property
    def processes(self) -> int:
        """How many processes there are, leaving ones included."""
        return len(self.members) + len(self._leaving)

    @property
    def is_gone(self) -> bool:
        """Nobody is there, and nobody's process is left."""
        return not self.members and not self._leaving

    def of(self, order: LoadOrder | None) -> list[LocalReplica]:
        """The members that serve this order."""
        return [replica for replica in self.members if replica.order is order]

    def start(self, order: LoadOrder, environment: Environment) -> None:
        """Starts one more; the owner hears `on_loaded`, or what went wrong."""
        replica = LocalReplica(self._owner, order, environment, self._clock)
        self.members.append(replica)
        task = asyncio.get_running_loop().create_task(self._start(replica))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, replica: LocalReplica) -> None:
        try:
            await replica.start()
        except OSError as error:
            self._owner.on_load_failed(replica, f"no worker can be started: {error}")

    def drop(self, replica: LocalReplica) -> bool:
        """Takes it off the list; False if it was retired before."""
        if replica not in self.members:
            return False
        self.members.remove(replica)
        self._leaving.add(replica)
        return True

    def retire(self, replica: LocalReplica) -> None:
        """It ends after its present batch."""
        self.drop(replica)
        replica.retire()

    def kill(self, replica: LocalReplica, cause: str) -> None:
        """Ends one that does not answer; the owner hears `on_died`."""
        # It may have ended by itself just now: then its socket tells.
        with contextlib.suppress(ProcessLookupError):
            replica.kill(cause)

    def kill_unfinished(self, cause: str) -> None:
        """Ends those at once that are amid a batch or a load."""
        for replica in self.everybody:
            if replica.batch and replica.state is not ReplicaState.DEAD:
                self.kill(replica, cause)
            elif not replica.has_loaded:
                _end(replica)

    def kill_stuck(self, now_s: float, load_timeout_s: float) -> None:
        """Ends those that were let go while they loaded, and have been at it for too long.

        A worker sees that it is not needed any more when it has loaded, not before.
        """
        for replica in self._leaving:
            is_stuck = replica.state is ReplicaState.DEAD and not replica.has_loaded
            if is_stuck and now_s - replica.since_s > load_timeout_s:
                _end(replica)

    def forget(self, replica: LocalReplica) -> None:
        """Its process has ended."""
        self._leaving.discard(replica)

    def forget_ended(self) -> None:
        """Forgets those whose ends nobody reported, since their fork server went first."""
        ended = {
            replica
            for replica in self._leaving
            if replica.state is ReplicaState.DEAD
            and not (replica.pid and Path(f"/proc/{replica.pid}").exists())
        }
        self._leaving -= ended
