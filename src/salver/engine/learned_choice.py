"""One version of a router: chooses arms with one algorithm, one set of arms and parameters.

A flow keeps the version that it was made with. When the manifest changes, a new version goes on
with what was learned, and the old one, for as long as requests are in its flow, with what it knew
then; both write to the same log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from salver.bandits.linear import LinearState
from salver.bandits.policies import ContextSpec
from salver.bandits.policy import NO_CONTEXT, Choice, Context, Policy, Shares, drawn, one_hot
from salver.bandits.totals import Totals
from salver.engine.flow_ports import Choosing, Message
from salver.engine.learning_ports import Ruled, unpacked
from salver.engine.router_features import read_context

LEARNING, BEST, SHARES, PROMOTED = "learning", "best", "shares", "promoted"
_COST_FACTOR = 20
"""What is derived from the posterior is derived again after so many times what it took: at most
a twentieth of a core goes into it."""

State = Totals | LinearState


class Ledger(Protocol):
    """Where versions note what they choose, and what they are told."""

    def note_choice(
        self, run_id: str, arm: str, propensity: float, context: Context, policy: Policy
    ) -> None: ...

    def note_reward(
        self, run_id: str, reward: float, arm: str | None, context: Context | None
    ) -> None: ...

    def when_durable(self, done: Callable[[str], object]) -> None: ...


class RouterVersion:
    """See `flow_ports.Chooser`."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        spec: ContextSpec,
        state: State,
        *,
        ledger: Ledger,
        ruling: Ruled,
        random: Callable[[], float],
        clock: Callable[[], float],
        refresh_s: float,
    ) -> None:
        self.policy = policy
        self.spec = spec
        self.state = state
        self._name = name
        self._ledger = ledger
        self._random = random
        self._clock = clock
        self._refresh_s = refresh_s
        self._viewed: State | None = None
        self._view: Shares = ()
        self._next_s = 0.0
        self._fixed: Shares | None = None
        self._is_greedy = False
        self.rule(ruling)

    def rule(self, ruling: Ruled) -> None:
        """Follows the ruling from now on."""
        found = [ruling.shares.get(arm, 0.0) for arm in self.policy.arms]
        total = sum(found)
        self._is_greedy = ruling.mode == BEST and self.policy.is_contextual
        # Where none of the ruling's arms is left, there is nothing to follow.
        self._fixed = tuple([each / total for each in found]) if total > 0.0 else None

    def choose(self, choosing: Choosing) -> int:
        """See `Chooser`."""
        context = NO_CONTEXT
        if self.policy.is_contextual:
            context = read_context(choosing.message, self.spec, self._name)
        choice = self.draw(context)
        self._ledger.note_choice(
            choosing.run_id,
            self.policy.arms[choice.arm],
            choice.propensity,
            context,
            self.policy,
        )
        return choice.arm

    def draw(self, context: Context) -> Choice:
        """An arm for the context. Raises `InvalidInput`."""
        return drawn(self.shares(context), self._random)

    def shares(self, context: Context = NO_CONTEXT) -> Shares:
        """With which probability each arm is chosen now."""
        if self._is_greedy:
            means = self.policy.means(self.state, context)
            return one_hot(means.index(max(means)), len(means))
        if self._fixed is not None:
            return self._fixed
        if self.policy.is_contextual:
            return self.policy.shares(self.state, context)
        if self._viewed is not self.state:
            self._look_again()
        return self._view

    def _look_again(self) -> None:
        began_s = self._clock()
        if self._viewed is not None and began_s < self._next_s:
            return
        self._view, self._viewed = self.policy.shares(self.state), self.state
        cost_s = self._clock() - began_s
        self._next_s = began_s + max(self._refresh_s, _COST_FACTOR * cost_s)

    def learn(self, arm: str, reward: float, context: bytes, at_s: float) -> bool:
        """Folds one reward in; False for an arm, or a context, that it does not have."""
        if arm not in self.policy.arms or bool(context) != self.policy.is_contextual:
            return False
        seen = unpacked(context) if context else NO_CONTEXT
        index = self.policy.arms.index(arm)
        self.state = self.policy.update(self.state, index, reward, seen, at_s)
        return True

    def reward(
        self, run_id: str, reward: float, *, arm: int | None = None, context: Message | None = None
    ) -> None:
        """See `Chooser`. Raises `InvalidInput`, and `Unavailable` if it cannot be kept."""
        name = seen = None
        if arm is not None and 0 <= arm < len(self.policy.arms):
            name = self.policy.arms[arm]
        if name is not None and context is not None and self.policy.is_contextual:
            seen = read_context(context, self.spec, self._name)
        self._ledger.note_reward(run_id, reward, name, seen)

    def when_durable(self, done: Callable[[str], object]) -> None:
        """See `Chooser`."""
        self._ledger.when_durable(done)
