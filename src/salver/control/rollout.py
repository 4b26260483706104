"""Which revision of a component gets which share of its requests. Pure.

A snapshot of what is wanted, known and served comes in; the next traffic and the revisions
to make, load and retire go out. To be asked again after every change, until the answer
brings nothing new. It loads nothing and counts no replicas.

The rules are KServe's, with TF Serving's on top: a revision gets traffic, or a tag, only
while it is ready, which means loaded and warmed up; until then traffic stays as it is. To
retire comes last: a revision with traffic, before or after this step, is not retired in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from salver.control.shares import Shares, without_lost
from salver.graphs.plan import ComponentDesire, ComponentPlan, TrafficPlan, TrafficTarget

RevisionState = Literal["pending", "loading", "ready", "failed", "retired"]
LATEST_TAG = "latest"
PREVIOUS_TAG = "prev"


class RevisionSnapshot(msgspec.Struct, frozen=True):
    """One revision as it is now. `reason` says why it failed.

    A revision that was loaded and is scaled to zero is ready: a request brings it back.
    """

    name: str
    digest: str
    number: int
    state: RevisionState = "pending"
    reason: str = ""


class Past(msgspec.Struct, frozen=True):
    """What a component's status remembers. Names of revisions, or empty; the present traffic."""

    latest_created: str = ""
    latest_ready: str = ""
    latest_rolled_out: str = ""
    previous_rolled_out: str = ""
    targets: tuple[TrafficTarget, ...] = ()


class RolloutOptions(msgspec.Struct, frozen=True):
    """What an operator may set beside the manifest.

    `keep_previous`: revisions without traffic that stay loaded, for an undo without a wait.
    `paused`: nothing new is loaded and traffic stays. `pinned`: all traffic to this revision,
    whatever the manifest says.
    """

    keep_previous: int = 1
    paused: bool = False
    pinned: str = ""


class RolloutDecision(msgspec.Struct, frozen=True):
    """What to do: load, switch traffic, then retire, in this order.

    `traffic` None: nothing is ready. `blocked_reason` says why the newest revision does not
    get what it should; empty while it merely loads. The names are KServe's:
    `latest_created` belongs to the manifest as it is now, `latest_ready` is the newest that
    could take traffic, `latest_rolled_out` the last to have had all of it by the manifest's
    word, `previous_rolled_out` the one before that.
    """

    traffic: TrafficPlan | None
    latest_created: str
    latest_ready: str = ""
    latest_rolled_out: str = ""
    previous_rolled_out: str = ""
    to_load: tuple[str, ...] = ()
    to_retire: tuple[str, ...] = ()
    blocked_reason: str = ""
    is_settled: bool = False

    @property
    def past(self) -> Past:
        """What the next decision needs of this one."""
        return Past(
            self.latest_created,
            self.latest_ready,
            self.latest_rolled_out,
            self.previous_rolled_out,
            () if self.traffic is None else self.traffic.targets,
        )


def past_of(status: Mapping[str, Any]) -> Past:
    """The past, from a component's part of an InferenceService's status."""
    return Past(
        status.get("latestCreatedRevision", ""),
        status.get("latestReadyRevision", ""),
        status.get("latestRolledoutRevision", ""),
        status.get("previousRolledoutRevision", ""),
        tuple(
            TrafficTarget(each["revisionName"], each["percent"], each.get("tag", ""))
            for each in status.get("traffic") or ()
        ),
    )


def revision_name(service: str, component: str, number: int) -> str:
    """E.g. `iris-predictor-00002`, as Knative names them."""
    return f"{service}-{component}-{number:05d}"


def wanted_plans(desire: ComponentDesire) -> Mapping[str, ComponentPlan]:
    """Every plan that the manifest asks for, by digest: its own, the canaries', the shadow's."""
    plans = [desire.plan, *(canary.plan for canary in desire.canaries)]
    if desire.shadow is not None:
        plans.append(desire.shadow.plan)
    return {plan.digest: plan for plan in plans}


_NO_PAST = Past()
_DEFAULTS = RolloutOptions()


def decide(
    desire: ComponentDesire,
    revisions: Sequence[RevisionSnapshot],
    past: Past = _NO_PAST,
    options: RolloutOptions = _DEFAULTS,
) -> RolloutDecision:
    """The next step from here towards what the manifest wants.

    Each of `wanted_plans` must be among the revisions: making them is the caller's. A plan
    that has been a revision before, by its digest, is that revision again.
    """
    return _Step(desire, revisions, past, options).decision()


class _Step:
    """One decision: what is known, with the questions that the rules ask of it."""

    def __init__(
        self,
        desire: ComponentDesire,
        revisions: Sequence[RevisionSnapshot],
        past: Past,
        options: RolloutOptions,
    ) -> None:
        self._desire = desire
        self._by_name = {revision.name: revision for revision in revisions}
        # Of equal plans, which only a hand-made store could have, the newest counts.
        by_digest = {each.digest: each for each in sorted(revisions, key=lambda r: r.number)}
        self._newest = by_digest[desire.plan.digest]
        self._canaries = [
            (canary, by_digest[canary.plan.digest].name) for canary in desire.canaries
        ]
        self._shadow = "" if desire.shadow is None else by_digest[desire.shadow.plan.digest].name
        self._options = options
        self._past = self._remembered(past)

    def decision(self) -> RolloutDecision:
        shares, is_by_rule = self._shares()
        traffic = self._traffic(shares)
        past = self._after(traffic) if is_by_rule else self._past
        wanted = [self._newest.name, *(name for _, name in self._canaries)]
        return RolloutDecision(
            traffic,
            past.latest_created,
            past.latest_ready,
            past.latest_rolled_out,
            past.previous_rolled_out,
            to_load=self._to_load(),
            to_retire=self._to_retire(traffic, past),
            blocked_reason=self._blocked_reason(),
            is_settled=is_by_rule and all(self._is_ready(name) for name in wanted),
        )

    def _is(self, name: str, *states: RevisionState) -> bool:
        revision = self._by_name.get(name)
        return revision is not None and revision.state in states

    def _is_ready(self, name: str) -> bool:
        return self._is(name, "ready")

    # The past.

    def _remembered(self, past: Past) -> Past:
        """The past with what the snapshot adds to it: what is newest, what is ready."""
        newest = self._newest.name
        previous = past.previous_rolled_out
        if past.latest_created not in ("", newest) and newest == past.latest_rolled_out:
            # The manifest went back to the revision that is rolled out, past one that never
            # was: a canary percent left in it must not bring back an older one.
            previous = ""
        latest_ready = past.latest_ready
        if self._newest.state == "ready":
            latest_ready = newest
        elif not self._is_ready(latest_ready):
            latest_ready = self._fallback(past)
        return Past(newest, latest_ready, past.latest_rolled_out, previous, past.targets)

    def _fallback(self, past: Past) -> str:
        """Who serves if those who did are gone: who was rolled out, else the newest that can.

        Nobody while the one rolled out is on its way: after a restart, a canary that loads
        faster must not get everything.
        """
        if self._is(past.latest_rolled_out, "pending", "loading", "retired"):
            return ""
        ready = [name for name, each in self._by_name.items() if each.state == "ready"]
        ready.sort(key=lambda name: -self._by_name[name].number)
        names = [past.latest_rolled_out, past.previous_rolled_out, *ready]
        return next((name for name in names if self._is_ready(name)), "")

    def _after(self, traffic: TrafficPlan | None) -> Past:
        """The past once the manifest's rule holds: rolled out if nothing is left of others."""
        past, newest = self._past, self._newest.name
        if traffic is None or past.latest_rolled_out == newest or not self._is_ready(newest):
            return past
        canaries = {name for _, name in self._canaries}
        served = {target.revision for target in traffic.targets if target.percent}
        if served - canaries - {newest}:
            return past
        return msgspec.structs.replace(
            past, latest_rolled_out=newest, previous_rolled_out=past.latest_rolled_out
        )

    # Traffic.

    def _shares(self) -> tuple[Shares, bool]:
        """Who gets how much, and whether that is by the manifest's rule."""
        pinned = self._options.pinned
        if self._is_ready(pinned):
            return Shares().add(pinned, 100), False
        # Back to the former one is done at once, even if the newest is not ready or failed.
        is_back = self._desire.canary_percent == 0 and self._is_ready(self._former)
        if self._is_on_hold and not (is_back and not pinned):
            return self._held(), False
        if self._shares_with_former and self._is(self._former, "pending", "loading", "retired"):
            return self._held(), False
        return self._by_rule(), True

    @property
    def _is_on_hold(self) -> bool:
        """The manifest's rule cannot be followed now, or is not to be."""
        options = self._options
        return self._newest.state != "ready" or options.paused or bool(options.pinned)

    @property
    def _shares_with_former(self) -> bool:
        return self._desire.canary_percent not in (None, 100)

    @property
    def _former(self) -> str:
        """Who shares the traffic with the newest: the last one rolled out before it."""
        if self._past.latest_rolled_out != self._newest.name:
            return self._past.latest_rolled_out
        return self._past.previous_rolled_out

    def _by_rule(self) -> Shares:
        """As the manifest has it: canaries first, the rest to the newest and the former."""
        desire, newest = self._desire, self._newest.name
        canaries = [(spec, name) for spec, name in self._canaries if self._is_ready(name)]
        rest = max(0, 100 - sum(spec.percent for spec, _ in canaries))
        latest_tag = LATEST_TAG if desire.tag_routing else ""
        shares = Shares()
        if not self._shares_with_former or not self._is_ready(self._former):
            shares.add(newest, rest, latest_tag)
        else:
            to_newest = min(rest, desire.canary_percent or 0)
            if self._is_ready(newest):
                shares.add(newest, to_newest, latest_tag)
            shares.add(self._former, rest - to_newest, PREVIOUS_TAG)
        for spec, name in canaries:
            shares.add(name, spec.percent, spec.name)
        return shares

    def _held(self) -> Shares:
        """As it is, less what is not ready any more."""
        fallback = self._fallback(self._past)
        return without_lost(self._past.targets, self._is_ready, fallback)

    def _traffic(self, shares: Shares) -> TrafficPlan | None:
        targets = shares.targets()
        if not targets:
            return None
        spec = self._desire.shadow
        if spec is None or not self._is_ready(self._shadow):
            return TrafficPlan(targets, sticky=self._desire.sticky)
        return TrafficPlan(targets, self._shadow, spec.percent, self._desire.sticky)

    # Revisions.

    def _to_load(self) -> tuple[str, ...]:
        """What is to be had and is neither loaded nor failed, in the order of need."""
        names = [self._options.pinned, *(target.revision for target in self._past.targets)]
        if not self._options.paused:
            names += [self._newest.name, *(name for _, name in self._canaries), self._shadow]
        if self._is_on_hold:
            # After a restart, who served until now has to be loaded again too.
            names.append(self._past.latest_rolled_out)
        if self._shares_with_former:
            names.append(self._former)
        return tuple(name for name in dict.fromkeys(names) if self._is(name, "pending", "retired"))

    def _to_retire(self, after: TrafficPlan | None, past: Past) -> tuple[str, ...]:
        keep = {
            self._newest.name,
            self._shadow,
            self._options.pinned,
            *(name for _, name in self._canaries),
            *(target.revision for target in past.targets),
            *(() if after is None else (target.revision for target in after.targets)),
        }
        if self._is_on_hold:
            keep.add(past.latest_rolled_out)
        if self._shares_with_former:
            keep.add(self._former)
        keep.update(self._standbys(keep, past))
        return tuple(
            name
            for name, each in self._by_name.items()
            if name not in keep and each.state != "retired"
        )

    def _standbys(self, keep: set[str], past: Past) -> list[str]:
        """Ready revisions without traffic that an undo would want, the likeliest first."""
        ready = [name for name, each in self._by_name.items() if each.state == "ready"]
        ready.sort(key=lambda name: -self._by_name[name].number)
        names = [past.latest_rolled_out, past.previous_rolled_out, *ready]
        spare = [name for name in dict.fromkeys(names) if self._is_ready(name)]
        return [name for name in spare if name not in keep][: self._options.keep_previous]

    def _blocked_reason(self) -> str:
        options, newest = self._options, self._newest
        if options.pinned:
            return self._why_not_pinned(options.pinned)
        if options.paused:
            return "the rollout is paused: resume it with 'salver rollout resume'"
        if newest.state == "failed":
            return f"revision {newest.name} failed: {newest.reason or 'no reason was given'}"
        for spec, name in self._canaries:
            revision = self._by_name[name]
            if revision.state == "failed":
                return f"canary {spec.name} (revision {name}) failed: {revision.reason}"
        return ""

    def _why_not_pinned(self, pinned: str) -> str:
        revision = self._by_name.get(pinned)
        if revision is None:
            known = ", ".join(sorted(self._by_name))
            return f"revision {pinned} is unknown, traffic stays: it must be one of {known}"
        if revision.state == "failed":
            return f"revision {pinned} failed, traffic stays: {revision.reason}"
        return ""
