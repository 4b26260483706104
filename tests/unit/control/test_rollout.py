from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.control.rollout import (
    Past,
    RevisionSnapshot,
    RevisionState,
    RolloutDecision,
    RolloutOptions,
    decide,
    past_of,
    revision_name,
    wanted_plans,
)
from salver.control.shares import Shares, without_lost
from salver.graphs.plan import (
    CanarySpec,
    ComponentDesire,
    ComponentPlan,
    ModelRunner,
    StickyPolicy,
    TrafficTarget,
)


def plan(version: int) -> ComponentPlan:
    return ComponentPlan("predictor", ModelRunner(f"file:///models/{version}"))


def canary(name: str, version: int, percent: int) -> CanarySpec:
    return CanarySpec(name, percent, plan(version))


class Service:
    """One component on its way: what is wanted, what is there, one decision after the other.

    Revisions are called v1, v2, ... by their plan. What is to be loaded loads until `finish`.
    """

    def __init__(self) -> None:
        self.states: dict[int, RevisionState] = {}
        self.reasons: dict[int, str] = {}
        self.past = Past()
        self.desire: ComponentDesire
        self.options = RolloutOptions()
        self.last: RolloutDecision

    def apply(self, version: int, percent: int | None = None, **more: Any) -> str:
        self.desire = ComponentDesire(plan(version), percent, **more)
        return self.step()

    def step(self) -> str:
        """One decision, carried out as far as can be without waiting; the traffic after it."""
        versions = {plan(version).digest: version for version in range(10)}
        for digest in wanted_plans(self.desire):
            self.states.setdefault(versions[digest], "pending")
        snapshots = [
            RevisionSnapshot(
                f"v{version}", plan(version).digest, version, state, self.reasons.get(version, "")
            )
            for version, state in self.states.items()
        ]
        self.last = decide(self.desire, snapshots, self.past, self.options)
        check_invariants(self.last, snapshots, self.past)
        for name in self.last.to_load:
            self.states[int(name[1:])] = "loading"
        for name in self.last.to_retire:
            self.states[int(name[1:])] = "retired"
        self.past = self.last.past
        return self.traffic

    def finish(self, version: int, reason: str = "") -> str:
        """The revision has loaded, or failed if there is a reason."""
        assert self.states[version] == "loading"
        self.states[version] = "failed" if reason else "ready"
        self.reasons[version] = reason
        self.step()
        return self.settle()

    def settle(self) -> str:
        """Steps until nothing changes."""
        for _ in range(5):
            before = (self.past, dict(self.states))
            self.step()
            if (self.past, self.states) == before:
                return self.traffic
        raise AssertionError("the rollout does not come to rest")

    def restart(self) -> None:
        """The server was killed: nothing is loaded, the store remembers."""
        self.states = {
            version: state if state == "retired" else "pending"
            for version, state in self.states.items()
        }

    @property
    def traffic(self) -> str:
        if self.last.traffic is None:
            return ""
        return " ".join(
            f"{each.revision}={each.percent}{'@' + each.tag if each.tag else ''}"
            for each in self.last.traffic.targets
        )

    @property
    def running(self) -> set[int]:
        return {v for v, state in self.states.items() if state in ("loading", "ready")}


def check_invariants(
    decision: RolloutDecision, snapshots: list[RevisionSnapshot], past: Past
) -> None:
    ready = {each.name for each in snapshots if each.state == "ready"}
    targets = () if decision.traffic is None else decision.traffic.targets
    assert sum(target.percent for target in targets) == (100 if targets else 0)
    assert all(0 <= target.percent <= 100 for target in targets)
    assert {target.revision for target in targets} <= ready
    assert len({target.tag for target in targets if target.tag}) == len(
        [target for target in targets if target.tag]
    )
    served = {target.revision for target in (*targets, *past.targets)}
    assert not served & set(decision.to_retire)
    assert not set(decision.to_load) & set(decision.to_retire)
    if decision.traffic is not None and decision.traffic.shadow:
        assert decision.traffic.shadow in ready
    assert decision.latest_ready in {"", *ready}


def rolled_out(*versions: int) -> Service:
    """A service whose versions were rolled out one after the other."""
    service = Service()
    for version in versions:
        service.apply(version)
        service.finish(version)
    return service


def test_revisions_are_named_as_knative_names_them() -> None:
    assert revision_name("iris", "predictor", 2) == "iris-predictor-00002"


def test_the_first_revision_gets_everything_once_it_is_ready() -> None:
    service = Service()
    assert service.apply(1) == ""
    assert (service.last.to_load, service.last.latest_ready) == (("v1",), "")
    assert service.finish(1) == "v1=100"
    assert service.last.is_settled
    assert (service.last.latest_rolled_out, service.last.previous_rolled_out) == ("v1", "")


def test_a_first_revision_with_a_canary_percent_gets_everything_too() -> None:
    service = Service()
    service.apply(1, 10)
    assert service.finish(1) == "v1=100"
    assert service.last.latest_rolled_out == "v1"


def test_a_new_revision_takes_over_when_it_is_ready_and_not_before() -> None:
    service = rolled_out(1)
    assert service.apply(2) == "v1=100"
    assert (service.last.latest_created, service.last.latest_ready) == ("v2", "v1")
    assert service.settle() == "v1=100"
    assert service.finish(2) == "v2=100"
    assert (service.last.latest_rolled_out, service.last.previous_rolled_out) == ("v2", "v1")


def test_the_former_revision_stays_as_standby_and_older_ones_are_retired() -> None:
    service = rolled_out(1, 2, 3)
    assert service.running == {2, 3}


def test_as_many_stand_by_as_are_to_be_kept() -> None:
    for keep, expected in ((0, {4}), (1, {3, 4}), (2, {2, 3, 4})):
        service = Service()
        service.options = RolloutOptions(keep_previous=keep)
        for version in (1, 2, 3, 4):
            service.apply(version)
            service.finish(version)
        assert service.running == expected


def test_a_canary_gets_its_percent_and_the_rolled_out_one_the_rest() -> None:
    service = rolled_out(1)
    assert service.apply(2, 10) == "v1=100"
    assert service.finish(2) == "v2=10 v1=90@prev"
    assert service.last.is_settled
    assert (service.last.latest_ready, service.last.latest_rolled_out) == ("v2", "v1")
    assert service.apply(2, 35) == "v2=35 v1=65@prev"


@pytest.mark.parametrize("percent", [None, 100])
def test_a_canary_is_promoted_by_taking_the_percent_away_or_making_it_100(
    percent: int | None,
) -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    assert service.apply(2, percent) == "v2=100"
    assert (service.last.latest_rolled_out, service.last.previous_rolled_out) == ("v2", "v1")
    service.settle()
    assert service.running == {1, 2}


def test_a_canary_is_rolled_back_by_zero_percent_and_stays_loaded() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    assert service.apply(2, 0) == "v1=100@prev"
    service.settle()
    assert service.running == {1, 2}
    assert service.last.latest_rolled_out == "v1"
    # The tag of a pinned canary may still be asked for.
    assert service.apply(2, 0, tag_routing=True) == "v2=0@latest v1=100@prev"


def test_after_promotion_zero_percent_goes_back_to_the_one_before() -> None:
    service = rolled_out(1, 2)
    assert service.apply(2, 0) == "v1=100@prev"
    assert service.settle() == "v1=100@prev"
    assert service.apply(2, 20) == "v2=20 v1=80@prev"


def test_going_back_to_a_retired_revision_waits_until_it_is_loaded_again() -> None:
    service = Service()
    service.options = RolloutOptions(keep_previous=0)
    for version in (1, 2):
        service.apply(version)
        service.finish(version)
    assert service.running == {2}
    assert service.apply(2, 0) == "v2=100"
    assert service.last.to_load == ("v1",)
    assert service.finish(1) == "v1=100@prev"


def test_applying_the_former_manifest_again_brings_its_revision_back() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    assert service.apply(1) == "v1=100"
    service.settle()
    assert service.running == {1, 2}, "v2 stands by"
    assert service.last.latest_rolled_out == "v1"


def test_a_percent_left_in_the_former_manifest_brings_nothing_older_back() -> None:
    service = rolled_out(7, 1)
    service.apply(2, 10)
    service.finish(2)
    assert service.apply(1, 10) == "v1=100"
    assert service.settle() == "v1=100"


def test_applying_an_older_manifest_after_promotion_is_a_rollout_of_its_revision() -> None:
    service = rolled_out(1, 2)
    assert service.apply(1) == "v1=100"
    assert (service.last.latest_rolled_out, service.last.previous_rolled_out) == ("v1", "v2")
    service = rolled_out(1, 2)
    assert service.apply(1, 10) == "v1=10 v2=90@prev"


def test_a_revision_that_fails_leaves_the_traffic_where_it_is_and_says_why() -> None:
    service = rolled_out(1)
    service.apply(2)
    assert service.finish(2, "no such file") == "v1=100"
    assert service.last.blocked_reason == "revision v2 failed: no such file"
    assert not service.last.is_settled
    assert (service.last.latest_created, service.last.latest_ready) == ("v2", "v1")
    # The next one replaces the one that failed.
    service.apply(3)
    assert "v2" in service.last.to_retire
    assert service.finish(3) == "v3=100"
    assert service.last.blocked_reason == ""


def test_while_the_next_one_loads_a_canary_keeps_its_share() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    # KServe would promote v2 here, as the newest that is ready.
    assert service.apply(3) == "v2=10 v1=90@prev"
    assert service.finish(3) == "v3=100"


def test_zero_percent_takes_traffic_from_a_canary_at_once_even_if_the_newest_failed() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    service.apply(3, 10)
    service.finish(3, "broken")
    assert service.traffic == "v2=10 v1=90@prev"
    assert service.apply(3, 0) == "v1=100@prev"
    assert service.last.blocked_reason == "revision v3 failed: broken"


def test_a_revision_that_is_overtaken_while_it_loads_is_retired() -> None:
    service = rolled_out(1)
    service.apply(2)
    service.apply(3)
    assert service.last.to_retire == ("v2",)


def test_latest_is_a_tag_only_where_tag_routing_is_on() -> None:
    service = rolled_out(1)
    service.apply(2, 10, tag_routing=True)
    assert service.finish(2) == "v2=10@latest v1=90@prev"


def test_the_tag_latest_does_not_move_to_a_revision_that_loads() -> None:
    service = Service()
    service.apply(1, tag_routing=True)
    assert service.finish(1) == "v1=100@latest"
    assert service.apply(2, tag_routing=True) == "v1=100@latest"
    assert service.finish(2) == "v2=100@latest"


def test_stickiness_is_passed_on() -> None:
    service = rolled_out(1)
    service.apply(1, sticky=StickyPolicy(header="x-user"))
    assert service.last.traffic is not None
    assert service.last.traffic.sticky == StickyPolicy(header="x-user")


# canary[]


def test_named_canaries_get_their_percents_and_the_predictor_the_rest() -> None:
    service = rolled_out(1)
    canaries = (canary("small", 2, 10), canary("large", 3, 20))
    assert service.apply(1, canaries=canaries) == "v1=100"
    assert service.finish(2) == "v1=90 v2=10@small"
    assert not service.last.is_settled
    assert service.finish(3) == "v1=70 v2=10@small v3=20@large"
    assert service.last.is_settled
    assert service.last.latest_rolled_out == "v1"


def test_a_named_canary_that_fails_leaves_its_share_to_the_predictor() -> None:
    service = rolled_out(1)
    service.apply(1, canaries=(canary("small", 2, 10),))
    assert service.finish(2, "bad pickle") == "v1=100"
    assert service.last.blocked_reason == "canary small (revision v2) failed: bad pickle"


def test_a_named_canary_is_promoted_by_making_it_the_predictor_without_another_load() -> None:
    service = rolled_out(1)
    service.apply(1, canaries=(canary("small", 2, 10),))
    service.finish(2)
    assert service.apply(2) == "v2=100"
    assert (service.last.latest_rolled_out, service.last.previous_rolled_out) == ("v2", "v1")


def test_a_new_predictor_beside_named_canaries_is_rolled_out() -> None:
    service = rolled_out(1)
    service.apply(1, canaries=(canary("small", 2, 10),))
    service.finish(2)
    assert service.apply(3, canaries=(canary("small", 2, 10),)) == "v1=90 v2=10@small"
    assert service.finish(3) == "v3=90 v2=10@small"
    assert (service.last.latest_rolled_out, service.last.previous_rolled_out) == ("v3", "v1")


def test_canaries_may_take_everything() -> None:
    service = rolled_out(1)
    service.apply(1, canaries=(canary("all", 2, 100),))
    assert service.finish(2) == "v2=100@all"
    service.settle()
    assert 1 in service.running


def test_a_canary_percent_beside_named_canaries_divides_what_they_leave() -> None:
    service = rolled_out(1)
    service.apply(2, 10, canaries=(canary("small", 3, 20),))
    service.finish(2)
    assert service.finish(3) == "v2=10 v1=70@prev v3=20@small"


# Shadow


def test_a_shadow_is_loaded_and_copied_to_once_it_is_ready_but_never_a_target() -> None:
    service = rolled_out(1)
    service.apply(1, shadow=canary("shadow", 2, 25))
    assert service.last.traffic is not None
    assert service.last.traffic.shadow == ""
    assert service.last.to_load == ("v2",)
    assert service.finish(2) == "v1=100"
    assert service.last.traffic is not None
    assert (service.last.traffic.shadow, service.last.traffic.shadow_percent) == ("v2", 25)
    service.apply(1)
    assert service.last.traffic is not None
    assert service.last.traffic.shadow == ""


def test_a_shadow_that_fails_is_nobody_elses_trouble() -> None:
    service = rolled_out(1)
    service.apply(1, shadow=canary("shadow", 2, 100))
    assert service.finish(2, "out of memory") == "v1=100"
    assert service.last.is_settled


# The operator's options.


def test_a_paused_rollout_neither_loads_nor_moves_traffic() -> None:
    service = rolled_out(1)
    service.options = RolloutOptions(paused=True)
    assert service.apply(2) == "v1=100"
    assert service.last.to_load == ()
    assert service.last.blocked_reason.startswith("the rollout is paused")
    service.options = RolloutOptions()
    service.step()
    assert service.finish(2) == "v2=100"


def test_pausing_amid_a_canary_keeps_its_share() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    service.options = RolloutOptions(paused=True)
    assert service.apply(2, 50) == "v2=10 v1=90@prev"


def test_an_undo_pins_a_revision_loading_it_first_if_need_be() -> None:
    service = rolled_out(1, 2, 3)
    service.options = RolloutOptions(pinned="v1")
    assert service.step() == "v3=100"
    assert service.last.to_load == ("v1",)
    assert service.finish(1) == "v1=100"
    assert service.last.latest_rolled_out == "v3"
    service.options = RolloutOptions()
    assert service.step() == "v3=100"


@pytest.mark.parametrize(
    ("pinned", "reason"),
    [
        ("v9", "revision v9 is unknown, traffic stays: it must be one of v1, v2"),
        ("v2", "revision v2 failed, traffic stays: broken"),
    ],
)
def test_an_undo_that_cannot_be_leaves_the_traffic_and_says_why(pinned: str, reason: str) -> None:
    service = rolled_out(1)
    service.apply(2)
    service.finish(2, "broken")
    service.options = RolloutOptions(pinned=pinned)
    assert service.settle() == "v1=100"
    assert service.last.blocked_reason == reason


# What goes wrong later.


def test_a_share_that_is_lost_goes_to_the_largest_that_is_left() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    service.states[2] = "failed"
    assert service.settle() == "v1=100@prev"
    service.states[2] = "ready"
    assert service.settle() == "v2=10 v1=90@prev"
    service.states[1] = "failed"
    assert service.settle() == "v2=100"


def test_if_the_one_that_serves_fails_its_standby_serves() -> None:
    service = rolled_out(1, 2)
    service.states[2] = "failed"
    assert service.settle() == "v1=100"
    assert service.last.latest_rolled_out == "v2"


def test_after_a_restart_a_canary_that_loads_faster_does_not_get_everything() -> None:
    service = rolled_out(1)
    service.apply(2, 10)
    service.finish(2)
    service.restart()
    assert service.settle() == ""
    assert service.running == {1, 2}
    assert service.finish(2) == ""
    assert service.finish(1) == "v2=10 v1=90@prev"


def test_after_a_restart_amid_a_rollout_the_former_revision_is_loaded_again() -> None:
    service = rolled_out(1)
    service.apply(2)
    service.restart()
    service.settle()
    assert service.finish(1) == "v1=100"
    assert service.finish(2) == "v2=100"


def test_the_past_survives_in_the_status() -> None:
    status = {
        "latestCreatedRevision": "v2",
        "latestReadyRevision": "v2",
        "latestRolledoutRevision": "v1",
        "previousRolledoutRevision": "v0",
        "traffic": [
            {"revisionName": "v2", "percent": 10, "latestRevision": True},
            {"revisionName": "v1", "percent": 90, "tag": "prev"},
        ],
    }
    targets = (TrafficTarget("v2", 10), TrafficTarget("v1", 90, "prev"))
    assert past_of(status) == Past("v2", "v2", "v1", "v0", targets)
    assert past_of({}) == Past()


# Shares.


def test_shares_above_100_are_cut_off() -> None:
    assert [each.percent for each in Shares().add("a", 70).add("b", 70).targets()] == [70, 30]


def test_a_tag_of_nothing_is_no_reason_to_hold_on() -> None:
    targets = (TrafficTarget("a", 100), TrafficTarget("b", 0, "prev"))
    assert without_lost(targets, {"b"}.__contains__, "").targets() == ()
    assert without_lost(targets, {"b", "c"}.__contains__, "c").targets() == (
        TrafficTarget("c", 100),
    )


# Properties.

STATES = st.sampled_from(["pending", "loading", "ready", "failed", "retired"])
PERCENTS = st.one_of(st.none(), st.integers(0, 100))
NAMES = st.sampled_from(["", "v1", "v2", "v3", "v4", "v9"])
TARGETS = st.lists(
    st.builds(TrafficTarget, NAMES, st.integers(0, 100), st.sampled_from(["", "prev"])),
    max_size=1,
).map(tuple)


@settings(max_examples=400, deadline=None)
@given(
    states=st.lists(STATES, min_size=4, max_size=4),
    main=st.integers(1, 4),
    percent=PERCENTS,
    canaries=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 100)), max_size=2),
    shadow=st.one_of(st.none(), st.integers(1, 4)),
    names=st.tuples(NAMES, NAMES, NAMES, NAMES),
    targets=TARGETS,
    options=st.builds(RolloutOptions, st.integers(0, 2), st.booleans(), NAMES),
    tag_routing=st.booleans(),
)
def test_the_invariants_hold_from_any_state(
    states: list[RevisionState],
    main: int,
    percent: int | None,
    canaries: list[tuple[int, int]],
    shadow: int | None,
    names: tuple[str, str, str, str],
    targets: tuple[TrafficTarget, ...],
    options: RolloutOptions,
    tag_routing: bool,
) -> None:
    desire = ComponentDesire(
        plan(main),
        percent,
        tuple(canary(f"c{n}", version, part) for n, (version, part) in enumerate(canaries)),
        None if shadow is None else canary("shadow", shadow, 100),
        tag_routing=tag_routing,
    )
    snapshots = [
        RevisionSnapshot(f"v{n}", plan(n).digest, n, state) for n, state in enumerate(states, 1)
    ]
    past = Past(*names, targets)
    decision = decide(desire, snapshots, past, options)
    check_invariants(decision, snapshots, past)
    if any(each.state == "ready" for each in snapshots) and not decision.traffic:
        # Then somebody is awaited who will come or fail.
        assert decision.to_load or any(each.state == "loading" for each in snapshots)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.integers(1, 5), PERCENTS),
        st.tuples(st.just("finish"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("restart"), st.just(0), st.none()),
        st.tuples(st.just("step"), st.just(0), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(OPERATIONS)
def test_any_course_of_events_comes_to_rest_and_ends_with_the_newest_served(
    operations: list[tuple[str, int, Any]],
) -> None:
    service = Service()
    service.apply(1)
    for operation, version, value in operations:
        if operation == "apply":
            service.apply(version, value)
        elif operation == "finish" and service.states.get(version) == "loading":
            service.states[version] = "failed" if value else "ready"
        elif operation == "restart":
            service.restart()
        service.step()
    service.desire = msgspec.structs.replace(service.desire, canary_percent=None)
    service.states = {v: "pending" if s == "failed" else s for v, s in service.states.items()}
    service.settle()
    for version, state in list(service.states.items()):
        if state == "loading":
            service.states[version] = "ready"
    service.settle()
    newest = service.last.latest_created
    assert service.traffic == f"{newest}=100"
    assert service.last.latest_rolled_out == newest
    assert len(service.running) <= 2
