"""The choices that a router remembers until they are rewarded, bounded in number and by age.

What makes rewards idempotent: a choice takes one reward, and remembers that it has. Keeps the
counts of choices for each arm too, which are sums as everything that several gateways share.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec


class Remembered(msgspec.Struct):
    """One choice, of `at_s`. `arm` is empty where only the reward came by."""

    arm: str
    at_s: float
    context: bytes = b""
    rewarded_s: float = 0.0
    """When its reward came; 0 while it has none."""


class RouterMemory:
    """The choices of one router, by the id of their run."""

    def __init__(self, *, most: int, keep_s: float) -> None:
        self._most = most
        self._keep_s = keep_s
        self._choices: OrderedDict[str, Remembered] = OrderedDict()
        self.counts: dict[str, int] = {}
        """How often each arm was chosen, in all time of this epoch."""
        self.forgotten = 0
        """Choices that got no reward before they were forgotten."""

    def __len__(self) -> int:
        return len(self._choices)

    def find(self, run_id: str) -> Remembered | None:
        """The choice, if it is on record."""
        return self._choices.get(run_id)

    def choose(self, run_id: str, choice: Remembered) -> None:
        """Remembers a choice, and that its arm was chosen once more."""
        self.counts[choice.arm] = self.counts.get(choice.arm, 0) + 1
        self.recall(run_id, choice)

    def recall(self, run_id: str, choice: Remembered) -> None:
        """Remembers a choice that is counted already."""
        choices = self._choices
        known = choices.get(run_id)
        if known is not None and choice.at_s <= known.rewarded_s:
            # Its reward was read first: gateways' files are read one after the other.
            known.arm, known.context = known.arm or choice.arm, known.context or choice.context
            return
        # A caller may use an id again: then it is a new choice, which takes a reward of its own.
        choices[run_id] = choice
        choices.move_to_end(run_id)
        while len(choices) > self._most or (
            next(iter(choices.values())).at_s < choice.at_s - self._keep_s
        ):
            self._forget()

    def reward(self, run_id: str, at_s: float) -> bool:
        """Notes that the choice has its reward; False if it had one already."""
        known = self._choices.get(run_id)
        if known is None:
            self.recall(run_id, Remembered("", at_s, rewarded_s=at_s))
            return True
        if known.rewarded_s:
            return False
        known.rewarded_s = at_s
        return True

    def clear(self) -> None:
        """A new epoch begins."""
        self._choices.clear()
        self.counts.clear()

    def newest(self, count: int) -> list[Remembered]:
        """The newest choices, newest first."""
        found: list[Remembered] = []
        for choice in reversed(self._choices.values()):
            if len(found) == count:
                break
            if choice.arm:
                found.append(choice)
        return found

    def _forget(self) -> None:
        _, choice = self._choices.popitem(last=False)
        if not choice.rewarded_s:
            self.forgotten += 1
