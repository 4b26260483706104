"""The values around one router that learns: its settings, rewards, snapshots, identity."""

from __future__ import annotations

from enum import Enum

import msgspec

from salver.bandits.policies import ContextSpec
from salver.bandits.policy import Context, Policy
from salver.engine.learning_ports import Ruled

SNAPSHOT_VERSION = 1


class LearningSettings(msgspec.Struct, frozen=True):
    """How long choices wait for rewards, how many; how old the posterior that choices are made
    by may be; when snapshots are taken. `gateway` names this process in the log."""

    gateway: str = "gateway"
    most_choices: int = 100_000
    keep_choices_s: float = 7 * 86400.0
    refresh_s: float = 0.01
    snapshot_records: int = 20_000
    snapshot_s: float = 300.0


class Outcome(Enum):
    """What became of a reward."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


class Reward(msgspec.Struct, frozen=True):
    """A reward as it is sent. `arm` and `context`: for a choice that is not on record."""

    id: str
    value: float
    arm: str | None = None
    context: Context | None = None


class RouterSnapshot(msgspec.Struct):
    """All that a router knows, but for the choices that wait for rewards."""

    version: int
    epoch: int
    identity: str
    arms: tuple[str, ...]
    counts: dict[str, int]
    ruling: Ruled
    state: msgspec.Raw


def identity_of(policy: Policy, spec: ContextSpec) -> str:
    """What must stay the same for what was learned to go on."""
    if not policy.is_contextual:
        return policy.algorithm
    seen = ",".join(spec.names) or "first tensor"
    return f"{policy.algorithm} of {seen}" + (" and 1" if spec.bias else "")
