"""Who may start next, and how many copies there are of what."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.engine.rate_limiter import RateLimiter, ResourceClaim
from salver.engine.resource_ledger import Bid, GivenResource, copies_of, next_start
from salver.errors import LoadFailed
from salver.inference.scheduling import LimitedGroup, Need


def group(**needs: int) -> LimitedGroup:
    return LimitedGroup(tuple(Need(name, count) for name, count in needs.items()))


DOCUMENTED = [group(R1=4, R2=4), group(R2=5, R3=10, R4=5), group(R1=1, R3=7, R4=2)]


def test_by_default_there_is_as_much_as_the_largest_need() -> None:
    assert copies_of(DOCUMENTED, ()) == ({"R1": 4, "R2": 5, "R3": 10, "R4": 5}, "")


def test_what_is_given_overrides_the_largest_need_for_that_resource_alone() -> None:
    copies, fault = copies_of(DOCUMENTED, [GivenResource("R1", 10), GivenResource("R2", 8, "0")])
    assert (copies, fault) == ({"R1": 10, "R2": 8, "R3": 10, "R4": 5}, "")


def test_another_device_s_copies_are_not_there_for_workers_but_for_what_is_global() -> None:
    given_elsewhere = [GivenResource("R1", 9, "1")]
    assert copies_of([group(R1=4)], given_elsewhere)[0] == {"R1": 4}
    assert copies_of([LimitedGroup((Need("R1", 4, True),))], given_elsewhere)[0] == {"R1": 9}


def test_a_need_that_can_never_be_met_is_told() -> None:
    _, fault = copies_of([group(R1=4)], [GivenResource("R1", 3)])
    assert fault.startswith(
        'Resource count for "R1" is limited to 3 which will prevent scheduling of one or more '
        "model instances, the minimum required count is 4"
    )


def test_a_resource_is_global_everywhere_or_nowhere() -> None:
    _, fault = copies_of([group(R=1), LimitedGroup((Need("R", 1, True),))], ())
    assert 'Resource "R" is present as both global and device-specific' in fault


def bid(owner: int, turns: float, since: int, **needs: int) -> Bid:
    return Bid(owner, 0, turns, since, group(**needs).needs)


def test_fewer_turns_come_first_then_who_waits_longer() -> None:
    bids = [bid(0, 2.0, 1, R=1), bid(1, 1.0, 3, R=1), bid(2, 1.0, 2, R=1)]
    found = next_start(bids, {"R": 1})
    assert found is not None
    assert found.owner == 2


def test_what_the_first_waits_for_is_kept_for_it_and_the_rest_goes_on() -> None:
    large, small, other = bid(0, 0.0, 1, R=2), bid(1, 1.0, 2, R=1), bid(2, 2.0, 3, S=1)
    assert next_start([large, small], {"R": 1, "S": 1}) is None
    assert next_start([large, small, other], {"R": 1, "S": 1}) == other


class Busy:
    """A model that always has something to start."""

    def __init__(self, limiter: RateLimiter, name: str, limited: LimitedGroup) -> None:
        self.name = name
        self.running: list[int] = []
        self.started = 0
        self.is_wanting = True
        self.claim: ResourceClaim = limiter.claim((limited,))
        self.claim.start = self.start
        self.claim.enter()

    def start(self, group: int) -> bool:
        if not self.is_wanting:
            return False
        self.running.append(group)
        self.started += 1
        return True

    def end(self) -> None:
        self.claim.end(self.running.pop())
        self.claim.ask()


def test_turns_are_shared_by_priority() -> None:
    limiter = RateLimiter()
    need = (Need("R", 1),)
    models = [Busy(limiter, str(number), LimitedGroup(need, number)) for number in (1, 2, 4)]
    for model in models:
        model.claim.ask()
    for _ in range(700):
        next(model for model in models if model.running).end()
    counted = Counter({model.name: model.started for model in models})
    assert counted["1"] == pytest.approx(400, abs=4)
    assert counted["2"] == pytest.approx(200, abs=4)
    assert counted["4"] == pytest.approx(100, abs=4)


def test_who_did_nothing_for_a_while_has_saved_up_no_turns() -> None:
    limiter = RateLimiter()
    need = (Need("R", 1),)
    busy, late = (Busy(limiter, name, LimitedGroup(need)) for name in ("busy", "late"))
    busy.claim.ask()
    for _ in range(100):
        busy.end()
    late.claim.ask()
    for _ in range(20):
        (busy if busy.running else late).end()
    assert late.started <= 11


def test_one_that_has_nothing_to_start_gives_back_what_it_was_given() -> None:
    limiter = RateLimiter()
    idle, other = (Busy(limiter, name, LimitedGroup((Need("R", 1),))) for name in ("a", "b"))
    idle.is_wanting = False
    idle.claim.ask()
    assert limiter.used == {}
    other.claim.ask()
    assert limiter.used == {"R": 1}


def test_a_refused_claim_leaves_the_others_as_they_were() -> None:
    limiter = RateLimiter([GivenResource("R", 2)])
    kept = limiter.claim((group(R=2),))
    kept.enter()
    with pytest.raises(LoadFailed, match="limited to 2"):
        limiter.claim((group(R=3),)).enter()
    assert limiter.copies == {"R": 2}
    kept.leave()
    kept.leave()
    assert limiter.copies == {}


def test_groups_of_one_model_run_as_often_as_they_have_instances() -> None:
    limiter = RateLimiter()
    claim = limiter.claim((LimitedGroup((Need("R", 1),)), LimitedGroup((), count=2)))
    started: list[int] = []
    claim.start = lambda number: started.append(number) is None
    claim.enter()
    for _ in range(5):
        claim.ask()
    assert sorted(started) == [0, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 3)), max_size=6))
def test_only_the_first_may_start_where_all_need_the_same(
    drawn: list[tuple[int, int, int]],
) -> None:
    bids = [bid(i, turns, i, R=r, S=s) for i, (turns, r, s) in enumerate(drawn)]
    found = next_start(bids, {"R": 3, "S": 2})
    first = min(bids, key=lambda each: (each.turns, each.since), default=None)
    fits = first is not None and first.needs[0].count <= 3 and first.needs[1].count <= 2
    assert found == (first if fits else None)
