"""Routers that learn, served: rewards by request id, what people see of them, what they may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.router_kit import (
    ARMS,
    FEEDBACK,
    ROUTERS,
    Visitors,
    arms_file,
    column,
    declared,
    graph,
    is_ready,
    put_graph,
    salver,
    status_of,
)
from tests.e2e.server import Server, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

To = Callable[[str], Visitors]
CHANCES = (0.2, 0.4, 0.7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routers")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    source = arms_file(folder)
    objects = [
        graph("ids", source),
        graph("moves", source, min_share=0.02),
        graph("steered", source, "thompson", min_share=0.1),
        graph("judged", source, "epsilon_greedy", epsilon=0.3),
        graph("changed", source),
        graph("named", source, "ucb1"),
    ]
    with declared(folder, objects) as running:
        names = [each["metadata"]["name"] for each in objects]
        wait_until(lambda: all(is_ready(running, name) for name in names), 60)
        yield running


@pytest.fixture
def to(server: Server) -> Iterator[To]:
    """Visitors to a graph, by its name."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Visitors(server, name, CHANCES))


# Rewards by id.


def test_a_reward_finds_its_choice_by_the_caller_s_id_and_by_the_server_s(
    server: Server, to: To
) -> None:
    visitors = to("ids")
    own, _ = visitors.visit("visit-1")
    made, arm = visitors.visit()
    assert own == "visit-1" and len(made) > 8
    one = visitors.web.post(FEEDBACK, json={"id": own, "reward": 1})
    assert one.json() == {"accepted": 1, "duplicate": 0, "unknown": 0}
    assert visitors.tell((made, 0.5))["accepted"] == 1
    assert visitors.tell((made, 1.0), (own, 0.0), ("nobody", 1.0)) == {
        "accepted": 0, "duplicate": 2, "unknown": 1,
    }  # fmt: skip
    status = status_of(server, "ids")
    assert sum(column(status, "rewards")) == sum(column(status, "choices")) == 2
    assert column(status, "mean")[arm] > 0


def test_one_body_may_say_the_same_twice(server: Server, to: To) -> None:
    visitors = to("ids")
    run_id, _ = visitors.visit()
    assert visitors.tell((run_id, 1.0), (run_id, 0.0)) == {
        "accepted": 1, "duplicate": 1, "unknown": 0,
    }  # fmt: skip


def test_an_id_that_nobody_knows_is_not_found(server: Server) -> None:
    answer = server.post(FEEDBACK, {"id": "nobody", "reward": 1})
    assert answer.status_code == 404
    assert "no router has such a choice on record ('nobody')" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"id": "known", "reward": 2}, "from 0 to 1"),
        ({"id": "known", "reward": "1"}, "send a number"),
        ({"id": "known", "reward": True}, "send a number"),
        ({"id": "", "reward": 1}, "x-request-id"),
        ({"id": "known", "rewards": 1}, "is no list"),
        ({"rewards": []}, "is no list"),
        ({"rewards": [{"id": "known", "reward": 1, "arm": "a"}]}, "has no field 'arm'"),
        ({"id": "known", "reward": 1, "router": "pick"}, "NAMESPACE/GRAPH/STEP"),
        (b"not json", "JSON"),
    ],
)
def test_a_wrong_reward_is_refused_and_changes_nothing(
    server: Server, to: To, body: Any, words: str
) -> None:
    to("ids").visit("known")
    before = status_of(server, "ids")
    answer = server.post(FEEDBACK, body)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]
    assert column(status_of(server, "ids"), "rewards") == column(before, "rewards")


def test_a_batch_with_one_wrong_reward_is_refused_whole(server: Server, to: To) -> None:
    visitors = to("ids")
    first, _ = visitors.visit()
    second, _ = visitors.visit()
    both = [{"id": first, "reward": 1}, {"id": second, "reward": 7}]
    assert server.post(FEEDBACK, {"rewards": both}).status_code == 400
    assert visitors.tell((first, 1.0), (second, 1.0))["accepted"] == 2


def test_a_reward_for_a_named_router_is_only_its_own(server: Server, to: To) -> None:
    one, other = to("ids"), to("named")
    one.visit("shared")
    other.visit("shared")
    assert one.tell(("shared", 1.0), router="default/named/pick")["accepted"] == 1
    assert one.tell(("shared", 1.0)) == {"accepted": 1, "duplicate": 1, "unknown": 0}
    answer = one.web.post(FEEDBACK, json={"id": "x", "reward": 1, "router": "default/ids/none"})
    assert answer.status_code == 404
    assert "there is no router default/ids/none" in answer.json()["error"]


# Learning.


def test_traffic_moves_to_the_arm_that_earns_more_though_rewards_come_late(
    server: Server, to: To
) -> None:
    visitors = to("moves")
    visitors.play(300, batch=7, late=60)
    visitors.play(500)
    status = status_of(server, "moves")
    assert column(status, "name") == list(ARMS)
    assert column(status, "choices") == [visitors.chosen[arm] for arm in range(3)]
    assert column(status, "rewards") == [visitors.rewarded[arm] for arm in range(3)]
    assert status["feedback"] == {"accepted": 800, "duplicate": 0, "unknown": 0}
    assert column(status, "share")[2] > 0.9
    assert sum(column(status, "share")) == pytest.approx(1)
    assert visitors.chosen[2] > 450
    mean, low, high = (column(status, field)[2] for field in ("mean", "low", "high"))
    assert low < mean < high and low < CHANCES[2] < high
    assert status["regret"]["choices"] == 800
    assert status["regret"]["total"] == pytest.approx(visitors.regret, rel=0.5)


def test_people_see_what_a_router_knows(server: Server, to: To) -> None:
    visitors = to("moves")
    visitors.play(20)
    shown = json.loads(salver(server, "router", "status", "moves", "-o", "json"))
    assert shown["name"] == "default/moves/pick"
    assert shown["parameters"] == {"min_share": "0.02"}
    assert set(shown["arms"][0]["posterior"]) == {"alpha", "beta"}
    lines = salver(server, "router", "status", "moves/pick").splitlines()
    assert lines[0].split() == ["Router:", "default/moves/pick"]
    header = next(index for index, line in enumerate(lines) if line.startswith("ARM"))
    assert [line.split()[0] for line in lines[header + 1 :]] == list(ARMS)
    assert [int(line.split()[2]) for line in lines[header + 1 :]] == column(shown, "choices")
    listed = salver(server, "router", "list")
    assert "default     moves     pick   thompson         learning      3" in listed
    router = {"router": "default/moves/pick"}
    assert server.metric("salver_router_choices_total", **router) == sum(column(shown, "choices"))
    assert server.metric("salver_router_rewards_total", **router) == sum(column(shown, "rewards"))
    problem = salver(server, "router", "status", "movse", fails=True)
    assert "did you mean moves?" in problem
    assert problem.count("\n") == 1


# Steering.


def shares_of(visitors: Visitors, rounds: int) -> list[float]:
    for _ in range(rounds):
        visitors.visit()
    return [visitors.chosen[arm] / rounds for arm in range(3)]


def test_the_floor_holds_and_rulings_are_followed(server: Server, to: To) -> None:
    to("steered").play(300)
    rounds = 2000
    # 0.1 for each of the worse arms: 4.5 standard deviations of a binomial are 0.03.
    worst, middle, best = shares_of(to("steered"), rounds)
    assert abs(worst - 0.1) < 0.03
    assert abs(middle - 0.1) < 0.05 and abs(best - 0.8) < 0.06
    frozen = json.loads(salver(server, "router", "freeze", "steered", "-o", "json"))
    assert frozen["mode"] == "best" and column(frozen, "share") == [0, 0, 1]
    assert shares_of(to("steered"), 50) == [0, 0, 1]
    salver(server, "router", "unfreeze", "steered")
    kept = json.loads(
        salver(server, "router", "freeze", "steered", "--mode", "shares", "-o", "json")
    )
    assert column(kept, "share")[0] == pytest.approx(0.1, abs=0.01)
    assert "router default/steered/pick promoted a" in salver(
        server, "router", "promote", "steered", "a"
    )
    assert shares_of(to("steered"), 50) == [1, 0, 0]
    visitors = to("steered")
    run_id, _ = visitors.visit()
    assert visitors.tell((run_id, 1.0))["accepted"] == 1
    assert "it has a, b, c" in salver(server, "router", "promote", "steered", "d", fails=True)
    salver(server, "router", "unfreeze", "steered")
    assert shares_of(to("steered"), 200)[2] > 0.6
    salver(server, "router", "reset", "steered")
    status = status_of(server, "steered")
    assert column(status, "rewards") == column(status, "choices") == [0, 0, 0]
    assert column(status, "share") == pytest.approx([1 / 3] * 3, abs=0.01)
    # A choice of before teaches nothing any more.
    assert server.post(FEEDBACK, {"id": run_id, "reward": 1}).status_code == 404


# Judging others by the log.


def test_another_policy_is_judged_by_the_log(server: Server, to: To) -> None:
    visitors = to("judged")
    visitors.play(1500, batch=50)
    found = judge(server, "--policy", "epsilon_greedy", "--param", "epsilon=1")
    truth = sum(CHANCES) / 3
    assert found["choices"] == 1500
    for estimate in found["estimates"]:
        assert abs(estimate["value"] - truth) < 4 * estimate["error"], estimate
        assert estimate["error"] < 0.05
    assert [each["method"] for each in found["estimates"]] == ["ips", "snips", "dr"]
    lines = salver(server, "router", "evaluate", "judged", "--policy", "thompson").splitlines()
    assert lines[0].startswith("1500 choices of default/judged/pick")
    assert [line.split()[1] for line in lines if line.startswith("thompson")] == [
        "ips", "snips", "dr",
    ]  # fmt: skip
    log = server.get(f"{ROUTERS}/default/judged/pick/log?limit=10").text.splitlines()
    assert len(log) == 10
    assert set(json.loads(log[-1])) == {"id", "time", "arm", "propensity", "reward", "rewarded"}


def judge(server: Server, *words: str) -> dict[str, Any]:
    text = salver(server, "router", "evaluate", "judged", "--fixed", "-o", "json", *words)
    found: dict[str, Any] = json.loads(text)
    return found


# Who may.


def test_only_this_machine_s_programs_may_steer(server: Server) -> None:
    proxied = {"x-forwarded-for": "10.1.2.3"}
    one = f"{ROUTERS}/default/ids/pick"
    for path in (ROUTERS, one, f"{one}/log"):
        answer = server.get(path, headers=proxied)
        assert answer.status_code == 403
        assert "behind a proxy" in answer.json()["error"]
    for action in ("freeze", "unfreeze", "promote", "reset"):
        body = {"arm": "a"} if action == "promote" else {}
        answer = server.post(f"{one}/{action}", body, headers=proxied)
        assert answer.status_code == 403, action
    page = {"origin": "http://elsewhere.example"}
    assert server.post(f"{one}/reset", {}, headers=page).status_code == 403
    assert status_of(server, "ids")["mode"] == "learning"
    # Feedback comes from wherever requests come from.
    answer = server.post(FEEDBACK, {"id": "nobody", "reward": 1}, headers=proxied)
    assert answer.status_code == 404


# Another manifest.


def test_a_changed_graph_keeps_what_it_learned_of_the_arms_that_stay(
    server: Server, to: To, folder: Path
) -> None:
    source = folder / "arms.py"
    visitors = to("changed")
    visitors.play(150, batch=10)
    early, _ = visitors.visit()
    before = status_of(server, "changed")
    put_graph(server, graph("changed", source, arms=("b", "c"), min_share=0.3))
    after = status_of(server, "changed")
    assert column(after, "rewards") == column(before, "rewards")[1:]
    assert column(after, "posterior") == column(before, "posterior")[1:]
    assert min(column(after, "share")) > 0.29
    put_graph(server, graph("changed", source))
    again = status_of(server, "changed")
    assert column(again, "rewards")[1:] == column(before, "rewards")[1:]
    assert column(again, "rewards")[0] == 0
    assert visitors.tell((early, 1.0))["accepted"] == 1
    put_graph(server, graph("changed", source, "ucb1"))
    assert column(status_of(server, "changed"), "rewards") == [0, 0, 0]
