"""Routers that learn: choices, rewards, other manifests, restarts, several gateways."""

from __future__ import annotations

import asyncio
import json
from array import array
from pathlib import Path

import pytest
from tests.routers import Gateway, Time, choosing, learned

from salver.backends.state.router_log import FileRouterLog
from salver.engine.learned_router import LearnedRouter
from salver.engine.learning import LearningSettings, Outcome, Reward
from salver.engine.learning_ports import Chosen
from salver.engine.router_status import status_of
from salver.errors import InvalidInput, ModelNotFound, Unavailable
from salver.protocol.messages import Message
from salver.protocol.wire_codes import Codec
from salver.telemetry.snapshot import render

ALWAYS_LEARN = {"epsilon": "0.2"}


def router_of(gateway: Gateway) -> LearnedRouter:
    return gateway.routers.find("default", "shop", "pick")


def begin(gateway: Gateway, algorithm: str = "epsilon_greedy", **parameters: str) -> LearnedRouter:
    gateway.routers.chooser("default", "shop", "pick", learned(algorithm, **parameters))
    return router_of(gateway)


def choose(router: LearnedRouter, *ids: str) -> list[str]:
    arms = router.version.policy.arms
    return [arms[router.version.choose(choosing(run_id))] for run_id in ids]


def rewards(router: LearnedRouter) -> dict[str, tuple[int, float]]:
    beliefs = router.version.policy.beliefs(router.version.state)
    return {
        arm: (belief.rewards, belief.mean)
        for arm, belief in zip(router.version.policy.arms, beliefs, strict=True)
    }


# Rewards.


def test_a_reward_teaches_the_arm_that_was_chosen() -> None:
    router = begin(Gateway())
    (arm,) = choose(router, "r1")
    assert router.take([Reward("r1", 0.5)])[Outcome.ACCEPTED] == 1
    assert rewards(router)[arm] == (1, 0.5)
    assert sum(count for count, _ in rewards(router).values()) == 1


def test_a_second_reward_for_a_choice_is_counted_and_teaches_nothing() -> None:
    router = begin(Gateway())
    choose(router, "r1", "r2")
    assert router.take([Reward("r1", 1.0), Reward("r1", 1.0)]) == {
        Outcome.ACCEPTED: 1,
        Outcome.DUPLICATE: 1,
        Outcome.UNKNOWN: 0,
    }
    assert router.take([Reward("r1", 1.0)])[Outcome.DUPLICATE] == 1
    assert sum(count for count, _ in rewards(router).values()) == 1
    assert router.feedback[Outcome.DUPLICATE] == 2


def test_a_reward_for_no_known_choice_is_counted_and_teaches_nothing() -> None:
    gateway = Gateway()
    router = begin(gateway)
    assert router.take([Reward("r9", 1.0)])[Outcome.UNKNOWN] == 1
    assert sum(count for count, _ in rewards(router).values()) == 0
    line = 'salver_router_feedback_ignored_total{router="default/shop/pick",reason="unknown"} 1'
    assert line in render(gateway.registry.snapshot()).decode()


def test_an_unknown_choice_is_learned_from_once_if_the_feedback_names_its_arm() -> None:
    router = begin(Gateway())
    router.version.reward("r9", 1.0, arm=1)
    router.version.reward("r9", 1.0, arm=1)
    assert rewards(router) == {"a": (0, 0.0), "b": (1, 1.0)}


def test_the_arm_on_record_counts_and_not_the_one_that_feedback_names() -> None:
    router = begin(Gateway())
    (arm,) = choose(router, "r1")
    router.version.reward("r1", 1.0, arm=1 - router.version.policy.arms.index(arm))
    assert rewards(router)[arm] == (1, 1.0)


def test_an_id_that_a_caller_uses_again_is_a_new_choice() -> None:
    gateway = Gateway()
    router = begin(gateway)
    for _ in range(3):
        choose(router, "same")
        gateway.time.now_s += 1.0
        assert router.take([Reward("same", 1.0)])[Outcome.ACCEPTED] == 1
        gateway.time.now_s += 1.0
    assert sum(count for count, _ in rewards(router).values()) == 3


def test_a_batch_with_a_reward_that_cannot_be_is_refused_whole() -> None:
    router = begin(Gateway(), "thompson")
    choose(router, "r1", "r2")
    with pytest.raises(InvalidInput, match="router default/shop/pick: the reward 3 is not from 0"):
        router.take([Reward("r1", 1.0), Reward("r2", 3.0)])
    with pytest.raises(InvalidInput, match="not finite"):
        router.take([Reward("r1", float("nan"))])
    assert sum(count for count, _ in rewards(router).values()) == 0
    assert router.take([Reward("r1", 1.0)])[Outcome.ACCEPTED] == 1


def test_the_oldest_choices_are_forgotten_beyond_a_number_and_an_age() -> None:
    time = Time()
    settings = LearningSettings(most_choices=3, keep_choices_s=10.0, refresh_s=0.0)
    gateway = Gateway(time=time, settings=settings)
    router = begin(gateway)
    choose(router, "r1", "r2", "r3", "r4")
    assert not router.knows("r1") and router.knows("r2")
    time.now_s += 11.0
    choose(router, "r5")
    assert not router.knows("r4") and router.knows("r5")
    router.tend()
    text = render(gateway.registry.snapshot()).decode()
    assert 'salver_router_choices_forgotten_total{router="default/shop/pick"} 4' in text


# Choosing.


def test_the_propensity_that_is_logged_is_the_share_that_was_drawn_from() -> None:
    gateway = Gateway()
    router = begin(gateway, epsilon="0.3", min_share="0.1")
    choose(router, "r0")
    router.version.reward("x", 1.0, arm=1)
    count = 4000
    picked = choose(router, *[f"r{i}" for i in range(1, count + 1)])
    # 0.8 * (0.7 + 0.15) + 0.1 for the better one.
    records = [each.record for each in router.log.history(10_000, router.epoch)]
    logged = {each.arm: each.propensity for each in records[-count:] if isinstance(each, Chosen)}
    assert logged == pytest.approx({"a": 0.22, "b": 0.78})
    # Three standard errors of 4000 choices.
    assert picked.count("b") / count == pytest.approx(0.78, abs=0.02)


def test_the_posterior_is_looked_at_again_only_after_a_while() -> None:
    time = Time()
    gateway = Gateway(time=time, settings=LearningSettings(refresh_s=1.0))
    router = begin(gateway, "thompson")
    before = router.version.shares()
    for index in range(20):
        router.version.reward(f"x{index}", 1.0, arm=1)
    assert router.version.shares() == before
    time.now_s += 1.0
    assert router.version.shares()[1] > 0.8


V2 = {
    "inputs": [
        {"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [[0.5, 2.0]]},
        {"name": "who", "datatype": "INT64", "shape": [1], "data": [7]},
    ]
}


def test_a_contextual_router_sees_the_request_and_learns_from_it() -> None:
    router = begin(Gateway(), "linucb", context="x,who", alpha="0.5")
    run = choosing("r1", json.dumps(V2).encode(), Codec.V2_JSON)
    index = router.version.choose(run)
    router.take([Reward("r1", 1.0)])
    arm = router.version.state.arms[index]  # type: ignore[union-attr]
    assert arm.moment.tolist() == [0.5, 2.0, 7.0, 1.0]


def test_feedback_brings_the_context_of_a_choice_that_is_not_on_record() -> None:
    router = begin(Gateway(), "linucb", context="x")
    message = Message(int(Codec.V2_JSON), 0, json.dumps(V2).encode(), is_request=True)
    router.version.reward("lost", 2.0, arm=1, context=message)
    arm = router.version.state.arms[1]  # type: ignore[union-attr]
    assert arm.moment.tolist() == [1.0, 4.0, 2.0]


def test_a_request_without_the_context_is_refused_by_name() -> None:
    router = begin(Gateway(), "lints", context="age")
    with pytest.raises(InvalidInput, match="router 'default/shop/pick' sees 'age'"):
        router.version.choose(choosing("r1", json.dumps(V2).encode(), Codec.V2_JSON))


def test_a_context_of_another_length_is_refused() -> None:
    router = begin(Gateway(), "linucb", context="x")
    router.version.choose(choosing("r1", json.dumps(V2).encode(), Codec.V2_JSON))
    router.take([Reward("r1", 1.0)])
    other = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}]}
    with pytest.raises(InvalidInput, match="has 2 numbers, and what was learned has 3"):
        router.version.choose(choosing("r2", json.dumps(other).encode(), Codec.V2_JSON))


# Rulings.


def test_a_frozen_router_takes_the_best_arm_and_still_learns() -> None:
    router = begin(Gateway(), epsilon="1")
    router.version.reward("x", 1.0, arm=1)
    router.freeze("best")
    assert set(choose(router, *[f"r{i}" for i in range(20)])) == {"b"}
    router.version.reward("y", 5.0, arm=0)
    assert rewards(router)["a"] == (1, 5.0)
    assert set(choose(router, *[f"s{i}" for i in range(20)])) == {"b"}
    router.unfreeze()
    assert set(choose(router, *[f"t{i}" for i in range(20)])) == {"a", "b"}


def test_a_router_can_be_frozen_at_the_shares_of_now() -> None:
    router = begin(Gateway(), epsilon="0.5")
    router.version.reward("x", 1.0, arm=1)
    router.freeze("shares")
    router.version.reward("y", 5.0, arm=0)
    assert router.version.shares() == pytest.approx((0.25, 0.75))


def test_a_contextual_router_frozen_at_the_best_takes_the_best_for_each_context() -> None:
    router = begin(Gateway(), "linucb", bias="false")
    for index, arm in enumerate((0, 1)):
        body = json.dumps({"instances": [[1.0, 0.0] if arm == 0 else [0.0, 1.0]]}).encode()
        message = Message(int(Codec.V1_JSON), 0, body, is_request=True)
        router.version.reward(f"x{index}", 1.0, arm=arm, context=message)
    router.freeze("best")
    assert router.version.shares(array("d", [1.0, 0.0])) == (1.0, 0.0)
    assert router.version.shares(array("d", [0.0, 1.0])) == (0.0, 1.0)


def test_all_goes_to_an_arm_that_is_promoted() -> None:
    router = begin(Gateway(), epsilon="1")
    router.promote("a")
    assert set(choose(router, *[f"r{i}" for i in range(20)])) == {"a"}
    with pytest.raises(InvalidInput, match="has no arm 'z': it has a, b"):
        router.promote("z")


def test_a_reset_forgets_everything() -> None:
    router = begin(Gateway())
    choose(router, "r1")
    router.version.reward("x", 1.0, arm=1)
    router.promote("a")
    router.reset()
    assert rewards(router) == {"a": (0, 0.0), "b": (0, 0.0)}
    assert router.ruling.mode == "learning"
    assert router.take([Reward("r1", 1.0)])[Outcome.UNKNOWN] == 1
    assert status_of(router).arms[0].choices == 0


# Other manifests.


def test_the_same_manifest_again_gives_the_same_chooser() -> None:
    gateway = Gateway()
    first = gateway.routers.chooser("default", "shop", "pick", learned())
    assert gateway.routers.chooser("default", "shop", "pick", learned()) is first


def test_other_parameters_keep_what_was_learned() -> None:
    gateway = Gateway()
    router = begin(gateway, epsilon="0.5")
    router.version.reward("x", 1.0, arm=1)
    begin(gateway, epsilon="0.1")
    assert rewards(router)["b"] == (1, 1.0)
    assert router.version.shares() == pytest.approx((0.05, 0.95))


def test_arms_come_and_go_and_the_others_keep_what_was_learned() -> None:
    gateway = Gateway()
    router = begin(gateway)
    old = router.version
    old.reward("x", 1.0, arm=1)
    gateway.routers.chooser("default", "shop", "pick", learned(arms=("b", "c")))
    assert rewards(router) == {"b": (1, 1.0), "c": (0, 0.0)}
    # A request amid the old flow is chosen for by the arms of that flow.
    assert old.choose(choosing("r1")) in (0, 1)
    assert router.take([Reward("r1", 1.0)])[Outcome.ACCEPTED] == 1


def test_another_algorithm_begins_anew() -> None:
    gateway = Gateway()
    router = begin(gateway)
    router.version.reward("x", 1.0, arm=1)
    begin(gateway, "ucb1")
    assert rewards(router) == {"a": (0, 0.0), "b": (0, 0.0)}


def test_another_context_begins_anew() -> None:
    gateway = Gateway()
    router = begin(gateway, "linucb", context="x")
    message = Message(int(Codec.V2_JSON), 0, json.dumps(V2).encode(), is_request=True)
    router.version.reward("y", 1.0, arm=0, context=message)
    begin(gateway, "linucb", context="x", alpha="2")
    assert [arm.rewards for arm in status_of(router).arms] == [1, 0]
    begin(gateway, "linucb", context="who")
    assert [arm.rewards for arm in status_of(router).arms] == [0, 0]


def test_a_router_that_is_not_there_is_told_with_those_that_are() -> None:
    gateway = Gateway()
    begin(gateway)
    with pytest.raises(ModelNotFound, match="no router default/shop/other: there are default"):
        gateway.routers.find("default", "shop", "other")


# Restarts and several gateways.


@pytest.mark.parametrize("algorithm", ["epsilon_greedy", "ucb1", "thompson", "thompson_gaussian"])
@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "killed"])
def test_a_restart_goes_on_with_all_that_was_learned(
    tmp_path: Path, algorithm: str, is_closed: bool
) -> None:
    gateway = Gateway(tmp_path)
    router = begin(gateway, algorithm, half_life="100")
    for index in range(50):
        gateway.time.now_s += 1.0
        choose(router, f"r{index}")
        if index % 3:
            router.take([Reward(f"r{index}", float(index % 2))])
        if index == 25:
            router.save()
    router.freeze("shares")
    before, state = status_of(router), router.version.state
    if is_closed:
        gateway.close()
    again = begin(Gateway(tmp_path, "two", time=gateway.time), algorithm, half_life="100")
    after = status_of(again)
    assert after.arms == before.arms
    assert after.mode == "shares" and again.version.shares() == router.version.shares()
    assert again.version.state == state
    # The choices are on record, with whether they have their reward.
    assert again.take([Reward("r1", 1.0), Reward("r30", 1.0)]) == {
        Outcome.ACCEPTED: 1,
        Outcome.DUPLICATE: 1,
        Outcome.UNKNOWN: 0,
    }


def test_a_contextual_router_goes_on_after_a_restart(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    router = begin(gateway, "linucb")
    for index in range(20):
        body = json.dumps({"instances": [[index / 10, 1.0 - index / 20]]}).encode()
        router.version.choose(choosing(f"r{index}", body))
        router.take([Reward(f"r{index}", index / 5)])
        if index == 10:
            router.save()
    again = begin(Gateway(tmp_path, "two"), "linucb")
    seen = array("d", [0.3, 0.7, 1.0])
    assert again.version.policy.means(again.version.state, seen) == pytest.approx(
        router.version.policy.means(router.version.state, seen), rel=1e-9
    )


def test_a_reset_is_kept_over_a_restart(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    router = begin(gateway)
    router.version.reward("x", 1.0, arm=1)
    router.save()
    router.reset()
    router.version.reward("y", 0.25, arm=0)
    again = begin(Gateway(tmp_path, "two"))
    assert rewards(again) == {"a": (1, 0.25), "b": (0, 0.0)}


def test_another_algorithm_after_a_restart_begins_anew(tmp_path: Path) -> None:
    router = begin(Gateway(tmp_path))
    router.version.reward("x", 1.0, arm=1)
    again = begin(Gateway(tmp_path, "two"), "ucb1")
    assert rewards(again) == {"a": (0, 0.0), "b": (0, 0.0)}
    third = begin(Gateway(tmp_path, "three"), "ucb1")
    assert third.epoch == again.epoch


def test_two_gateways_learn_from_each_others_rewards(tmp_path: Path) -> None:
    time = Time()
    one, two = Gateway(tmp_path, "one", time=time), Gateway(tmp_path, "two", seed=2, time=time)
    first, second = begin(one, half_life="10"), begin(two, half_life="10")
    for index in range(40):
        time.now_s += 1.0
        here, there = (first, second) if index % 3 else (second, first)
        choose(here, f"r{index}")
        # Feedback comes to the other gateway.
        assert there.take([Reward(f"r{index}", float(index % 5))])[Outcome.ACCEPTED] == 1
    one.routers.tend()
    two.routers.tend()
    assert [arm.choices for arm in status_of(first).arms] == [
        arm.choices for arm in status_of(second).arms
    ]
    for arm in ("a", "b"):
        assert rewards(first)[arm] == pytest.approx(rewards(second)[arm], rel=1e-12)
    assert sum(count for count, _ in rewards(first).values()) == 40
    third = begin(Gateway(tmp_path, "three", time=time), half_life="10")
    for arm in ("a", "b"):
        assert rewards(third)[arm] == pytest.approx(rewards(first)[arm], rel=1e-12)


def test_a_reward_that_both_gateways_are_told_counts_once(tmp_path: Path) -> None:
    time = Time()
    one, two = Gateway(tmp_path, "one", time=time), Gateway(tmp_path, "two", time=time)
    first, second = begin(one), begin(two)
    choose(first, "r1")
    second.read_news()
    assert first.take([Reward("r1", 1.0)])[Outcome.ACCEPTED] == 1
    # The second has not read the first one's reward yet.
    assert second.take([Reward("r1", 1.0)])[Outcome.ACCEPTED] == 1
    one.routers.tend()
    two.routers.tend()
    third = begin(Gateway(tmp_path, "three", time=time))
    for router in (first, second, third):
        assert sum(count for count, _ in rewards(router).values()) == 1


def test_a_reset_and_a_ruling_reach_the_other_gateway(tmp_path: Path) -> None:
    time = Time()
    one, two = Gateway(tmp_path, "one", time=time), Gateway(tmp_path, "two", time=time)
    first, second = begin(one), begin(two)
    first.version.reward("x", 1.0, arm=1)
    first.promote("a")
    two.routers.tend()
    assert second.version.shares() == (1.0, 0.0) and rewards(second)["b"] == (1, 1.0)
    time.now_s += 1.0
    second.reset()
    second.version.reward("y", 1.0, arm=0)
    one.routers.tend()
    assert rewards(first) == {"a": (1, 1.0), "b": (0, 0.0)} and first.ruling.mode == "learning"


def test_feedback_without_a_router_goes_to_all_that_know_the_run() -> None:
    gateway = Gateway()
    for step in ("first", "second", "third"):
        gateway.routers.chooser("default", "shop", step, learned())
    routers = gateway.routers.listed()
    for router in routers[:2]:
        router.version.choose(choosing("r1"))
    counts, takers = gateway.routers.take([Reward("r1", 1.0), Reward("zz", 1.0)])
    assert takers == set(routers[:2])
    assert (counts[Outcome.ACCEPTED], counts[Outcome.UNKNOWN]) == (2, 1)


def test_durability_is_waited_for_and_its_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(tmp_path)
    router = begin(gateway)

    async def wait() -> None:
        router.version.reward("x", 1.0, arm=0)
        await gateway.routers.wait_durable([router])

    asyncio.run(wait())
    assert isinstance(router.log, FileRouterLog)
    monkeypatch.setattr(router.log, "_sync", lambda: fail(router))
    with pytest.raises(Unavailable, match="on fire"):
        asyncio.run(wait())


def fail(router: LearnedRouter) -> None:
    log = router.log
    assert isinstance(log, FileRouterLog)
    waiting, log._waiting = log._waiting, []
    for loop, done in waiting:
        assert loop is not None
        loop.call_soon_threadsafe(done, "the disk is on fire")


def test_a_graph_that_is_gone_and_comes_back_finds_what_was_learned(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    router = begin(gateway)
    router.version.reward("x", 1.0, arm=1)
    gateway.routers.forget("default", "shop")
    assert gateway.routers.listed() == []
    assert "shop" not in render(gateway.registry.snapshot()).decode()
    gateway.routers.tend()
    assert rewards(begin(gateway))["b"] == (1, 1.0)


# Status.


def test_the_status_has_regret_as_soon_as_two_arms_have_rewards() -> None:
    router = begin(Gateway(), epsilon="1")
    assert status_of(router).regret is None
    choose(router, *[f"r{i}" for i in range(30)])
    picked = {arm.name: arm.choices for arm in status_of(router).arms}
    router.version.reward("x", 1.0, arm=0)
    assert status_of(router).regret is None
    router.version.reward("y", 0.25, arm=1)
    regret = status_of(router).regret
    assert regret is not None and regret.choices == 30
    assert regret.total == pytest.approx(0.75 * picked["b"])


def test_the_status_of_a_contextual_router_has_weights_and_regret_but_no_means() -> None:
    router = begin(Gateway(), "lints", bias="false")
    for index in range(10):
        body = json.dumps({"instances": [[1.0, index / 10]]}).encode()
        router.version.choose(choosing(f"r{index}", body))
        router.take([Reward(f"r{index}", index / 10)])
    status = status_of(router)
    assert {arm.mean for arm in status.arms} == {None}
    assert list(status.arms[0].posterior) == ["theta[0]", "theta[1]"]
    assert status.regret is not None and status.regret.choices == 10
