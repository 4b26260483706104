"""All routers that learn, by namespace, graph and step.

Whoever starts a graph asks for its choosers here; whoever has feedback brings it here. A router
outlives the manifests that it is in: while its algorithm is the same, another manifest goes on
with what was learned, and arms come and go. Where it is written down, `learning_ports.RouterLog`
says.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Callable, Iterable, Sequence

from salver.bandits.policies import context_of, make_policy
from salver.engine.flow_ports import Chooser, Choosing, Message
from salver.engine.learned_router import Clock, LearnedRouter
from salver.engine.learning_ports import (
    MemoryRouterLog,
    OpenLog,
    RouterLog,
    RouterName,
)
from salver.engine.learning_values import LearningSettings, Outcome, Reward
from salver.errors import ModelNotFound, SalverError, Unavailable
from salver.graphs.flow import Learned
from salver.telemetry.learning import RouterMetrics
from salver.telemetry.registry import Registry

__all__ = [
    "IdleChooser",
    "LearnedRouter",
    "LearnedRouters",
    "LearningSettings",
    "MemoryRouterLog",
    "Outcome",
    "Reward",
    "RouterLog",
    "RouterName",
]

logger = logging.getLogger("salver.routers")

TEND_S = 0.25
DURABLE_TIMEOUT_S = 30.0
_ANY_CONTEXT = array("d", (1.0,))
"""Who has learned nothing chooses alike for all."""


class LearnedRouters:
    """The registry. `open_log` gives a router's log, `random` numbers below 1; `clock` is
    monotonic, `now` the time of day in seconds."""

    def __init__(
        self,
        open_log: OpenLog,
        registry: Registry,
        *,
        random: Callable[[], float],
        clock: Clock,
        now: Clock,
        settings: LearningSettings | None = None,
    ) -> None:
        self._open_log = open_log
        self._registry = registry
        self._random = random
        self._clock = clock
        self._now = now
        self._settings = settings or LearningSettings()
        self._routers: dict[RouterName, LearnedRouter] = {}
        self._task: asyncio.Task[None] | None = None

    def chooser(self, namespace: str, graph: str, step: str, action: Learned) -> Chooser:
        """Who chooses for the step: a new router, or one that goes on with what it has learned.

        Raises `InvalidInput` for an action that is wrong (`spec/learning.py` says so beforehand),
        `Unavailable` or `StartupError` if its log cannot be read.
        """
        name = RouterName(namespace, graph, step)
        policy = make_policy(action.algorithm, action.arms, action.parameters)
        spec = context_of(action.parameters)
        router = self._routers.get(name)
        if router is None:
            router = LearnedRouter(
                name,
                self._open_log(name),
                RouterMetrics(self._registry, str(name)),
                self._settings,
                random=self._random,
                clock=self._clock,
                now=self._now,
            )
            router.begin(policy, spec, action.parameters)
            self._routers[name] = router
        elif (
            router.version.policy.algorithm != policy.algorithm
            or router.version.policy.arms != policy.arms
            or router.parameters != action.parameters
        ):
            router.change(policy, spec, action.parameters)
        return router.version

    def find(self, namespace: str, graph: str, step: str) -> LearnedRouter:
        """Raises `ModelNotFound`."""
        found = self._routers.get(RouterName(namespace, graph, step))
        if found is None:
            known = ", ".join(str(name) for name in sorted(self._routers)[:8])
            raise ModelNotFound(
                f"there is no router {namespace}/{graph}/{step}: "
                + (f"there are {known}" if known else "no graph has one that learns")
            )
        return found

    def listed(self) -> Sequence[LearnedRouter]:
        """All of them, by name."""
        return [self._routers[name] for name in sorted(self._routers)]

    def take(
        self, rewards: Iterable[Reward], router: LearnedRouter | None = None
    ) -> tuple[dict[Outcome, int], set[LearnedRouter]]:
        """Learns from rewards; how many were what, and by whom they were taken.

        Without a router they go to all that have such a choice on record. Raises `InvalidInput`
        and `Unavailable`: then some may have been taken, and it is safe to send all again.
        """
        counts = dict.fromkeys(Outcome, 0)
        given: dict[RouterName, list[Reward]] = {}
        for reward in rewards:
            routers = [router] if router is not None else self._who_knows(reward.id)
            if not routers:
                counts[Outcome.UNKNOWN] += 1
            for each in routers:
                given.setdefault(each.name, []).append(reward)
        takers = {self._routers.get(name) or router for name in given}
        found = {each for each in takers if each is not None}
        for each in found:
            for outcome, count in each.take(given[each.name]).items():
                counts[outcome] += count
        return counts, found

    def _who_knows(self, run_id: str) -> list[LearnedRouter]:
        return [each for each in self._routers.values() if each.knows(run_id)]

    async def wait_durable(self, routers: Iterable[LearnedRouter]) -> None:
        """Returns once all that these routers were told is on disk. Raises `Unavailable`."""
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[str]] = []
        for router in routers:
            wait: asyncio.Future[str] = loop.create_future()
            router.when_durable(_setter(wait))
            waits.append(wait)
        try:
            async with asyncio.timeout(DURABLE_TIMEOUT_S):
                problems = [problem for problem in await asyncio.gather(*waits) if problem]
        except TimeoutError as error:
            raise Unavailable(
                f"the feedback was not on disk in {DURABLE_TIMEOUT_S:g} s: see that the disk of "
                "the state directory works, and send it again"
            ) from error
        if problems:
            raise Unavailable(problems[0])

    def forget(self, namespace: str, graph: str, step: str | None = None) -> None:
        """The graph, or one of its steps, is there no more. What was learned stays on disk, and
        is found again should it come back."""
        for name in list(self._routers):
            if (name.namespace, name.graph) == (namespace, graph) and step in (None, name.step):
                router = self._routers.pop(name)
                router.metrics.discard()
                router.close()

    def start(self) -> None:
        """Looks after the routers from now on, in a task of the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TEND_S)
            self.tend()

    def tend(self) -> None:
        """Reads what other gateways wrote, sets gauges, takes snapshots where they are due."""
        for router in self._routers.values():
            try:
                router.tend()
            except (SalverError, OSError):
                logger.exception("router %s cannot be looked after", router.name)

    def close(self) -> None:
        """All that was learned is on disk."""
        if self._task is not None:
            self._task.cancel()
        for router in self._routers.values():
            router.close()
        self._routers.clear()


class IdleChooser:
    """Chooses as a router does that has learned nothing yet, and never learns; see `Chooser`."""

    def __init__(self, action: Learned, *, random: Callable[[], float]) -> None:
        """Raises `InvalidInput`."""
        self._policy = make_policy(action.algorithm, action.arms, action.parameters)
        self._state = self._policy.empty()
        self._random = random

    def choose(self, choosing: Choosing) -> int:
        """See `Chooser`."""
        return self._policy.choose(self._state, _ANY_CONTEXT, self._random).arm

    def reward(
        self, run_id: str, reward: float, *, arm: int | None = None, context: Message | None = None
    ) -> None:
        """Is of no use to it."""

    def when_durable(self, done: Callable[[str], object]) -> None:
        """There is nothing to keep."""
        done("")


def _setter(wait: asyncio.Future[str]) -> Callable[[str], object]:
    def done(problem: str) -> None:
        # It may have been given up meanwhile.
        if not wait.done():
            wait.set_result(problem)

    return done
