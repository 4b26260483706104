"""Feedback and routers over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.routers import Gateway, ask_app, choosing, feedback_app, learned

from salver.engine.learned_router import LearnedRouter
from salver.engine.learning import Reward
from salver.errors import Unavailable

FEEDBACK = "/salver/v1/feedback"
ROUTER = "/salver/v1/routers/default/shop/pick"


class Served:
    """One router behind the routes, with some choices."""

    def __init__(self, folder: Path | None = None, *, admin_key: str = "") -> None:
        self.gateway = Gateway(folder)
        self.gateway.routers.chooser("default", "shop", "pick", learned(epsilon="1"))
        self.router: LearnedRouter = self.gateway.routers.find("default", "shop", "pick")
        self.app = feedback_app(self.gateway, admin_key=admin_key)
        for index in range(5):
            self.router.version.choose(choosing(f"r{index}"))

    def post(self, path: str, body: Any, **options: Any) -> tuple[int, dict[str, Any]]:
        answer = ask_app(self.app, "POST", path, json=body, **options)
        return answer.status_code, answer.json()

    @property
    def rewards(self) -> int:
        return sum(b.rewards for b in self.router.version.policy.beliefs(self.router.version.state))


def test_one_reward_is_taken_by_request_id() -> None:
    served = Served()
    assert served.post(FEEDBACK, {"id": "r1", "reward": 1}) == (
        200,
        {"accepted": 1, "duplicate": 0, "unknown": 0},
    )
    assert served.rewards == 1


def test_several_rewards_are_counted_by_what_became_of_them() -> None:
    served = Served()
    body = {
        "router": "default/shop/pick",
        "rewards": [
            {"id": "r1", "reward": 1.0},
            {"id": "r2", "reward": 0.0},
            {"id": "r1", "reward": 1.0},
            {"id": "zz", "reward": 1.0},
        ],
    }
    assert served.post(FEEDBACK, body) == (200, {"accepted": 2, "duplicate": 1, "unknown": 1})
    assert served.post(FEEDBACK, body)[1] == {"accepted": 0, "duplicate": 3, "unknown": 1}
    assert served.rewards == 2


def test_feedback_for_no_known_choice_is_not_found() -> None:
    status, body = Served().post(FEEDBACK, {"id": "zz", "reward": 1.0})
    assert status == 404 and body["unknown"] == 1
    assert body["error"] == (
        "no router has such a choice on record ('zz'): send the x-request-id of the answer, "
        "before the choice is forgotten"
    )
    status, body = Served().post(
        FEEDBACK, {"id": "zz", "reward": 1.0, "router": "default/shop/pick"}
    )
    assert status == 404
    assert body["error"].startswith("router default/shop/pick has no such choice on record ('zz')")


WRONG = [
    ({}, '"id" is the x-request-id'),
    ({"id": "r1"}, '"reward" is None: send a number'),
    ({"id": "r1", "reward": "good"}, "\"reward\" is 'good': send a number"),
    ({"id": "r1", "reward": True}, '"reward" is True'),
    ({"id": "", "reward": 1}, '"id" is the x-request-id'),
    ({"id": "r1", "reward": 1, "score": 2}, "has no field 'score': it has id, reward, router"),
    ({"rewards": []}, '"rewards" is no list of'),
    ({"rewards": [{"id": "r1", "reward": 1}, 5]}, "rewards[1]: is no object"),
    ({"rewards": [{"id": "r1", "reward": 1, "router": "a"}]}, "rewards[0]: has no field 'router'"),
    ({"rewards": [{"id": "r", "reward": 1}] * 10_001}, "10001 rewards are too many"),
    ({"id": "r1", "reward": 1, "router": "shop"}, "not named as NAMESPACE/GRAPH/STEP"),
]


@pytest.mark.parametrize(("body", "words"), WRONG, ids=range(len(WRONG)))
def test_feedback_that_is_wrong_is_refused_and_teaches_nothing(body: Any, words: str) -> None:
    served = Served()
    status, answer = served.post(FEEDBACK, body)
    assert status == 400 and words in answer["error"]
    assert served.rewards == 0


def test_feedback_for_a_router_that_is_not_there_names_those_that_are() -> None:
    status, body = Served().post(FEEDBACK, {"id": "r1", "reward": 1, "router": "default/shop/x"})
    assert status == 404
    assert body["error"] == "there is no router default/shop/x: there are default/shop/pick"


def test_feedback_that_cannot_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()

    def full(records: object) -> None:
        raise Unavailable("the disk is full: free some space")

    monkeypatch.setattr(served.router.log, "append_now", full)
    assert served.post(FEEDBACK, {"id": "r1", "reward": 1}) == (
        503,
        {"error": "the disk is full: free some space"},
    )
    assert served.rewards == 0
    # Choosing goes on.
    assert served.router.version.choose(choosing("r9")) in (0, 1)


def test_the_status_of_all_and_of_one_are_shown() -> None:
    served = Served()
    served.router.take([Reward("r1", 1.0)])
    listed = ask_app(served.app, "GET", "/salver/v1/routers").json()["routers"]
    one = ask_app(served.app, "GET", ROUTER).json()
    assert listed == [one]
    assert one["name"] == "default/shop/pick" and one["mode"] == "learning"
    assert sum(arm["choices"] for arm in one["arms"]) == 5


def test_a_router_is_steered() -> None:
    served = Served()
    assert served.post(f"{ROUTER}/promote", {"arm": "b"})[1]["mode"] == "promoted"
    assert served.router.version.shares() == (0.0, 1.0)
    assert served.post(f"{ROUTER}/freeze", {"mode": "shares"})[1]["mode"] == "shares"
    assert served.post(f"{ROUTER}/unfreeze", {})[1]["mode"] == "learning"
    assert served.post(f"{ROUTER}/reset", {})[1]["arms"][0]["choices"] == 0
    assert served.post(f"{ROUTER}/freeze", {"mode": "hard"})[0] == 400
    assert served.post(f"{ROUTER}/promote", {}) == (
        400,
        {"error": "router default/shop/pick has no arm '': it has a, b"},
    )


@pytest.mark.parametrize("is_kept", [True, False], ids=["on disk", "in memory"])
def test_the_log_has_each_choice_with_its_reward(tmp_path: Path, is_kept: bool) -> None:
    served = Served(tmp_path if is_kept else None)
    served.router.take([Reward("r1", 0.5)])
    text = ask_app(served.app, "GET", f"{ROUTER}/log").text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["id"] for line in lines] == [f"r{i}" for i in range(5)]
    assert [line.get("reward") for line in lines] == [None, 0.5, None, None, None]
    assert {line["propensity"] for line in lines} == {0.5}
    newest = ask_app(served.app, "GET", f"{ROUTER}/log?limit=2").text.splitlines()
    assert [json.loads(line)["id"] for line in newest] == ["r3", "r4"]
    served.router.reset()
    assert ask_app(served.app, "GET", f"{ROUTER}/log").text == ""
    assert ask_app(served.app, "GET", f"{ROUTER}/log?limit=no").status_code == 400


def test_only_feedback_is_open_to_other_machines() -> None:
    served = Served()
    far = {"client": "10.0.0.9"}
    assert served.post(FEEDBACK, {"id": "r1", "reward": 1}, **far)[0] == 200
    for path in ("freeze", "unfreeze", "promote", "reset"):
        status, body = served.post(f"{ROUTER}/{path}", {}, **far)
        assert status == 403 and "not from 10.0.0.9" in body["error"]
    for path in ("/salver/v1/routers", ROUTER, f"{ROUTER}/log"):
        assert ask_app(served.app, "GET", path, client="10.0.0.9").status_code == 403


def test_a_key_lets_in_whoever_has_it() -> None:
    served = Served(admin_key="secret")
    assert served.post(f"{ROUTER}/reset", {})[0] == 401
    key = {"Authorization": "Bearer secret"}
    assert served.post(f"{ROUTER}/reset", {}, headers=key)[0] == 200
