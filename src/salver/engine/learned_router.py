"""One router that learns, through all versions of its manifest: choices, rewards, rulings.

Everything that it knows comes from folding records (`learning_ports.py`), its own and those of
other gateways, live or read back after a restart: there is one way in. A reward is folded once
for each choice, whoever sends it how often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from salver.bandits.policies import ContextSpec
from salver.bandits.policy import Context, Policy
from salver.engine.learned_choice import BEST, LEARNING, PROMOTED, SHARES, RouterVersion
from salver.engine.learning_ports import (
    Chosen,
    Opened,
    Replayed,
    Rewarded,
    RouterLog,
    RouterName,
    Ruled,
    packed,
)
from salver.engine.learning_values import (
    SNAPSHOT_VERSION,
    LearningSettings,
    Outcome,
    Reward,
    RouterSnapshot,
    identity_of,
)
from salver.engine.router_memory import Remembered, RouterMemory
from salver.errors import InvalidInput, Unavailable
from salver.telemetry.learning import RouterMetrics

logger = logging.getLogger("salver.routers")

Clock = Callable[[], float]
_GAUGE_S = 2.0
"""What people look at is made so often: integrals take time."""


_NO_RULING = Ruled(LEARNING, {}, 0.0)


class LearnedRouter:
    """See the module. `random` gives numbers below 1, `clock` is monotonic, `now` the time."""

    def __init__(
        self,
        name: RouterName,
        log: RouterLog,
        metrics: RouterMetrics,
        settings: LearningSettings,
        *,
        random: Clock,
        clock: Clock,
        now: Clock,
    ) -> None:
        self.name = name
        self.log = log
        self.metrics = metrics
        self.memory = RouterMemory(most=settings.most_choices, keep_s=settings.keep_choices_s)
        self.version: RouterVersion
        self.parameters: tuple[tuple[str, str], ...] = ()
        self.epoch = 0
        self.ruling = _NO_RULING
        self.feedback = dict.fromkeys(Outcome, 0)
        self._settings = settings
        self._random = random
        self._clock = clock
        self._now = now
        self._unsaved = 0
        self._saved_s = clock()
        self._gauged_s = -_GAUGE_S

    # Beginning, and going on with another manifest.

    def begin(
        self, policy: Policy, spec: ContextSpec, parameters: Sequence[tuple[str, str]]
    ) -> None:
        """Takes up what the log has, if it is of the same algorithm; called once, first."""
        self.parameters = tuple(parameters)
        self.version = self._new_version(policy, spec)
        replay = self.log.replay()
        if replay.torn:
            logger.info("router %s: %d torn record(s) dropped", self.name, replay.torn)
        found = self._restore(replay.snapshot)
        identity = found.identity if found is not None else ""
        newest = max([each.epoch for each in replay.records], default=0)
        if newest > self.epoch:
            self._enter(newest)
        for each in replay.records:
            if isinstance(each.record, Opened) and each.epoch == self.epoch:
                identity = each.record.identity
        if identity and identity != identity_of(policy, spec):
            logger.warning(
                "router %s begins anew: it was %s and is now %s",
                self.name,
                identity,
                identity_of(policy, spec),
            )
            self._enter(max(self.epoch, newest) + 1)
        for each in replay.records:
            self._fold(each)
        self._unsaved = len([each for each in replay.records if not each.is_folded])
        self._open()

    def change(
        self, policy: Policy, spec: ContextSpec, parameters: Sequence[tuple[str, str]]
    ) -> None:
        """Another manifest: keeps what was learned, unless algorithm or context are others."""
        old = self.version
        self.parameters = tuple(parameters)
        self.version = self._new_version(policy, spec)
        is_same = identity_of(old.policy, old.spec) == identity_of(policy, spec)
        if is_same:
            try:
                self.version.state = policy.from_json(old.policy.to_json(old.state))
            except InvalidInput as error:
                logger.warning("router %s begins anew: %s", self.name, error)
                is_same = False
        if not is_same:
            self._enter(self.epoch + 1)
        if not is_same or old.policy.arms != policy.arms:
            self._open()
        self._is_new()

    def _new_version(self, policy: Policy, spec: ContextSpec) -> RouterVersion:
        return RouterVersion(
            str(self.name),
            policy,
            spec,
            policy.empty(),
            ledger=self,
            ruling=self.ruling,
            random=self._random,
            clock=self._clock,
            refresh_s=self._settings.refresh_s,
        )

    def _restore(self, text: bytes) -> RouterSnapshot | None:
        if not text:
            return None
        try:
            found = msgspec.json.decode(text, type=RouterSnapshot)
        except msgspec.MsgspecError as error:
            raise Unavailable(
                f"the snapshot of router {self.name} is damaged ({error}): move its folder away"
            ) from error
        self.epoch = found.epoch
        self.memory.counts.update(found.counts)
        self._follow(found.ruling)
        policy = self.version.policy
        if found.identity == identity_of(policy, self.version.spec):
            try:
                self.version.state = policy.from_json(bytes(found.state))
            except InvalidInput as error:
                logger.warning("router %s begins anew: %s", self.name, error)
                self._enter(self.epoch + 1)
        return found

    def _open(self) -> None:
        policy = self.version.policy
        self.log.open_epoch(
            Opened(
                self.epoch,
                self._settings.gateway,
                identity_of(policy, self.version.spec),
                policy.arms,
                self._now(),
            )
        )

    def _enter(self, epoch: int) -> None:
        """Forgets all: a new epoch begins."""
        self.epoch = epoch
        self.memory.clear()
        self._follow(_NO_RULING)
        self.version.state = self.version.policy.empty()

    # What versions note.

    def note_choice(
        self, run_id: str, arm: str, propensity: float, context: Context, policy: Policy
    ) -> None:
        """A choice was made."""
        now_s = self._now()
        seen = packed(context) if context else b""
        self.log.append(Chosen(run_id, arm, propensity, now_s, seen))
        self.memory.choose(run_id, Remembered(arm, now_s, seen))
        self.metrics.arm(arm).choices.value += 1
        self._unsaved += 1

    def note_reward(
        self, run_id: str, reward: float, arm: str | None, context: Context | None
    ) -> None:
        """See `Chooser.reward`."""
        self.take([Reward(run_id, reward, arm, context)])

    def when_durable(self, done: Callable[[str], object]) -> None:
        """Calls back once all that was noted is on disk, with an empty text, or why it is not."""
        self.log.when_durable(done)

    # Rewards.

    def take(self, rewards: Sequence[Reward]) -> dict[Outcome, int]:
        """Learns from rewards; how many were what. All or none: raises `InvalidInput` for one
        that cannot be learned from, `Unavailable` if they cannot be written."""
        counts = dict.fromkeys(Outcome, 0)
        accepted: dict[str, Rewarded] = {}
        for reward in rewards:
            self._check(reward.value)
            outcome, record = self._judged(reward, accepted)
            counts[outcome] += 1
            if record is not None:
                accepted[reward.id] = record
        records = list(accepted.values())
        try:
            self.log.append_now(records)
        except Unavailable:
            self.metrics.refused.value += len(records)
            raise
        for record in records:
            self._learn(record)
        self._count(counts)
        return counts

    def knows(self, run_id: str) -> bool:
        """Whether the choice is on record; what other gateways wrote is looked at first."""
        if self.memory.find(run_id) is None:
            self.read_news()
        return self.memory.find(run_id) is not None

    def _check(self, reward: float) -> None:
        try:
            self.version.policy.check_reward(reward)
        except InvalidInput as error:
            self.metrics.refused.value += 1
            raise InvalidInput(f"router {self.name}: {error}") from error

    def _judged(
        self, reward: Reward, before: dict[str, Rewarded]
    ) -> tuple[Outcome, Rewarded | None]:
        if reward.id and self.knows(reward.id):
            known = self.memory.find(reward.id)
            assert known is not None
            if known.rewarded_s or reward.id in before:
                return Outcome.DUPLICATE, None
            seen, arm = known.context, known.arm
        else:
            if reward.id in before and reward.id:
                return Outcome.DUPLICATE, None
            is_enough = reward.context is not None or not self.version.policy.is_contextual
            if reward.arm is None or not is_enough or not reward.id:
                return Outcome.UNKNOWN, None
            seen, arm = packed(reward.context) if reward.context else b"", reward.arm
        return Outcome.ACCEPTED, Rewarded(reward.id, arm, reward.value, self._now(), seen)

    def _count(self, counts: dict[Outcome, int]) -> None:
        for outcome, count in counts.items():
            self.feedback[outcome] += count
        self.metrics.duplicates.value += counts[Outcome.DUPLICATE]
        self.metrics.unknowns.value += counts[Outcome.UNKNOWN]

    def _learn(self, record: Rewarded) -> bool:
        """Folds a reward, if its choice has none yet."""
        if not self.memory.reward(record.id, record.at_s):
            return False
        self._unsaved += 1
        if not self.version.learn(record.arm, record.reward, record.context, record.at_s):
            return False
        self.metrics.arm(record.arm).rewards.value += 1
        return True

    # Folding what was written before, or by others.

    def read_news(self) -> None:
        """Folds what other gateways have written."""
        for each in self.log.news():
            if each.epoch > self.epoch:
                self._enter(each.epoch)
                self._open()
            self._fold(each)

    def _fold(self, each: Replayed) -> None:
        if each.epoch != self.epoch:
            return
        record = each.record
        if isinstance(record, Chosen):
            choice = Remembered(record.arm, record.at_s, record.context)
            if each.is_folded:
                self.memory.recall(record.id, choice)
            else:
                self.memory.choose(record.id, choice)
        elif isinstance(record, Rewarded):
            try:
                if each.is_folded:
                    self.memory.reward(record.id, record.at_s)
                else:
                    self._learn(record)
            except InvalidInput as error:
                # Of a gateway whose manifest has another context.
                logger.warning("router %s: a reward on record is left out: %s", self.name, error)
        elif isinstance(record, Ruled) and record.at_s >= self.ruling.at_s:
            self._follow(record)

    # Rulings.

    def freeze(self, mode: str) -> None:
        """Explores no more: always the best arm (`best`), or with the shares of now (`shares`)."""
        version = self.version
        arms = version.policy.arms
        if mode not in (BEST, SHARES):
            raise InvalidInput(f"there is no way '{mode}' to freeze: use {BEST} or {SHARES}")
        if mode == BEST and version.policy.is_contextual:
            shares: dict[str, float] = {}
        elif mode == BEST:
            means = version.policy.means(version.state)
            shares = {arms[means.index(max(means))]: 1.0}
        else:
            shares = self.shares_now()
        self._rule(Ruled(mode, shares, self._now()))

    def promote(self, arm: str) -> None:
        """Gives all requests to one arm. Raises `InvalidInput`."""
        arms = self.version.policy.arms
        if arm not in arms:
            raise InvalidInput(f"router {self.name} has no arm '{arm}': it has {', '.join(arms)}")
        self._rule(Ruled(PROMOTED, {arm: 1.0}, self._now()))

    def unfreeze(self) -> None:
        """Follows what it learns again."""
        self._rule(Ruled(LEARNING, {}, self._now()))

    def reset(self) -> None:
        """Forgets all that was learned; the log of before is kept for as long as it is."""
        self._enter(self.epoch + 1)
        self._open()
        self._is_new()

    def shares_now(self) -> dict[str, float]:
        """The arms' shares; of a contextual router, those of its newest choices."""
        arms = self.version.policy.arms
        if not self.version.policy.is_contextual or self.ruling.mode in (SHARES, PROMOTED):
            return dict(zip(arms, self.version.shares(), strict=True))
        newest = [each.arm for each in self.memory.newest(1000) if each.arm in arms]
        if not newest:
            return {arm: 1.0 / len(arms) for arm in arms}
        return {arm: newest.count(arm) / len(newest) for arm in arms}

    def _rule(self, ruling: Ruled) -> None:
        self.log.append_now([ruling])
        self._follow(ruling)
        self._unsaved += 1

    def _follow(self, ruling: Ruled) -> None:
        self.ruling = ruling
        self.version.rule(ruling)

    # Upkeep.

    def tend(self) -> None:
        """To be called a few times a second: reads news, sets gauges, takes snapshots."""
        self.read_news()
        self._gauge()
        waited_s = self._clock() - self._saved_s
        if self._unsaved >= self._settings.snapshot_records or (
            self._unsaved and waited_s >= self._settings.snapshot_s
        ):
            self.save()

    def save(self) -> None:
        """Takes a snapshot."""
        version = self.version
        self._unsaved, self._saved_s = 0, self._clock()
        snapshot = RouterSnapshot(
            SNAPSHOT_VERSION,
            self.epoch,
            identity_of(version.policy, version.spec),
            version.policy.arms,
            self.memory.counts,
            self.ruling,
            msgspec.Raw(version.policy.to_json(version.state)),
        )
        self.log.save(msgspec.json.encode(snapshot))

    def _is_new(self) -> None:
        """What the log has before is of another epoch or other arms: soon, a snapshot."""
        self._unsaved = max(self._unsaved, self._settings.snapshot_records)

    def _gauge(self) -> None:
        now_s = self._clock()
        if now_s < self._gauged_s + _GAUGE_S:
            return
        self._gauged_s = now_s
        metrics = self.metrics
        metrics.forgotten.value = self.memory.forgotten
        metrics.unlogged.value = self.log.lost
        beliefs = self.version.policy.beliefs(self.version.state)
        for arm, belief in zip(self.version.policy.arms, beliefs, strict=True):
            if belief.rewards and belief.mean == belief.mean:
                metrics.arm(arm).mean.value = belief.mean
        for arm, share in self.shares_now().items():
            metrics.arm(arm).share.value = share

    def close(self) -> None:
        """Keeps all for the next start."""
        self.save()
        self.log.close()
