"""`salver router` against the server's own routes."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from starlette.applications import Starlette
from tests.routers import Gateway, ask_app, choosing, feedback_app, learned

from salver.cli import router
from salver.cli.client import Answer, Client, api_error
from salver.cli.main import error_lines
from salver.cli.parser import parse_client
from salver.cli.session import Session
from salver.engine.learning import Reward
from salver.errors import SalverError


class AppClient(Client):
    """Asks the application itself."""

    def __init__(self, app: Starlette) -> None:
        super().__init__("http://127.0.0.1:8080")
        self._app = app

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "",
    ) -> Answer:
        answer = ask_app(self._app, method, path, params=dict(query or {}), content=body)
        if answer.status_code >= 400:
            raise api_error(answer.status_code, answer.content, self.server)
        return Answer(answer.status_code, dict(answer.headers), answer.content)


Salver = Callable[..., tuple[int, str]]


@pytest.fixture
def gateway() -> Gateway:
    gateway = Gateway()
    gateway.routers.chooser("default", "shop", "pick", learned(epsilon="0.5"))
    found = gateway.routers.find("default", "shop", "pick")
    rng = random.Random(2)
    for index in range(400):
        gateway.time.now_s += 1.0
        arm = found.version.choose(choosing(f"r{index}"))
        found.take([Reward(f"r{index}", float(rng.random() < (0.2, 0.6)[arm]))])
    return gateway


@pytest.fixture
def salver(gateway: Gateway) -> Salver:
    app = feedback_app(gateway)

    def run(*words: str, stdin: str = "") -> tuple[int, str]:
        out = io.StringIO()
        given = parse_client("router", router, words)
        session = Session(given, {}, out=out, err=out, stdin=io.StringIO(stdin), clock=gateway.time)
        session.__dict__["client"] = AppClient(app)
        try:
            code = router.run(given, session)
        except SalverError as error:
            return 1, "\n".join(error_lines(error))
        return code, out.getvalue()

    return run


def test_routers_are_listed(salver: Salver) -> None:
    code, out = salver("list")
    header, line = out.splitlines()
    assert code == 0 and header.split()[:4] == ["NAMESPACE", "GRAPH", "STEP", "ALGORITHM"]
    assert line.split() == [
        "default",
        "shop",
        "pick",
        "epsilon_greedy",
        "learning",
        *["2"],
        "400",
        "400",
    ]


def test_the_status_shows_arms_shares_and_regret(salver: Salver) -> None:
    code, out = salver("status", "shop")
    assert code == 0
    assert "Router:      default/shop/pick" in out
    assert "Algorithm:   epsilon_greedy (epsilon 0.5)" in out
    assert "Feedback:    400 accepted, 0 duplicate, 0 unknown" in out
    arms = {line.split()[0]: line.split() for line in out.splitlines()[-2:]}
    assert arms["a"][1] == "25.0%" and arms["b"][1] == "75.0%"
    assert 0.5 < float(arms["b"][4]) < 0.7
    assert "Regret:      about " in out


@pytest.mark.parametrize("name", ["shop", "shop/pick", "default/shop/pick"])
def test_a_router_is_named_as_shortly_as_it_can_be(salver: Salver, name: str) -> None:
    code, out = salver("status", name, "-o", "json")
    assert code == 0 and json.loads(out)["name"] == "default/shop/pick"


def test_a_wrong_name_gets_the_nearest(salver: Salver) -> None:
    assert salver("status", "shup") == (
        1,
        "no router 'shup' learns in namespace 'default'; did you mean shop?",
    )


def test_a_graph_with_two_routers_needs_the_step(gateway: Gateway, salver: Salver) -> None:
    gateway.routers.chooser("default", "shop", "other", learned())
    code, out = salver("status", "shop")
    assert code == 1 and "name one of shop/other, shop/pick" in out


def test_a_router_is_steered(gateway: Gateway, salver: Salver) -> None:
    assert salver("promote", "shop", "a") == (0, "router default/shop/pick promoted a\n")
    assert salver("freeze", "shop", "--mode", "shares")[0] == 0
    assert "Mode:        frozen: fixed shares (since 0s)" in salver("status", "shop")[1]
    assert salver("unfreeze", "shop")[0] == 0
    assert salver("reset", "shop") == (0, "router default/shop/pick reset\n")
    assert salver("promote", "shop", "z") == (
        1,
        "router default/shop/pick has no arm 'z': it has a, b",
    )
    assert salver("promote", "shop")[0] == 1
    assert salver("reset")[1] == "router reset: name the router; see salver router list"


def test_one_reward_is_told(gateway: Gateway, salver: Salver) -> None:
    gateway.routers.find("default", "shop", "pick").version.choose(choosing("new"))
    assert salver("reward", "shop", "--id", "new", "--reward", "1")[1] == "request new rewarded\n"
    assert "had its reward already" in salver("reward", "--id", "new", "--reward", "1")[1]
    code, out = salver("reward", "shop", "--id", "none", "--reward", "1")
    assert code == 1 and "no such choice on record ('none')" in out


def test_another_policy_is_judged_by_the_log(salver: Salver) -> None:
    code, out = salver("evaluate", "shop", "--policy", "thompson", "-o", "json")
    found = json.loads(out)
    assert code == 0 and found["choices"] == 400 and found["warnings"] == []
    values = {each["method"]: each for each in found["estimates"]}
    # Nearly all to the better arm, which pays 0.6.
    for method in ("ips", "snips", "dr"):
        assert values[method]["low"] < 0.6 < values[method]["high"]
    assert values["dr"]["value"] > found["logged"]["value"]
    table = salver("evaluate", "shop", "--policy", "thompson")[1]
    assert [line.split()[:2] for line in table.splitlines()[4:]] == [
        ["thompson", "ips"],
        ["thompson", "snips"],
        ["thompson", "dr"],
    ]


def test_a_log_in_a_file_is_judged_without_a_server(salver: Salver, tmp_path: Path) -> None:
    lines = [
        json.dumps({"arm": "ab"[i % 2], "propensity": 0.5, "reward": i % 2, "context": [1.0, i]})
        for i in range(200)
    ]
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(lines))
    code, out = salver("evaluate", "--log", str(file), "--policy", "linucb", "-o", "json")
    found = json.loads(out)
    assert code == 0 and found["estimates"][2]["value"] == pytest.approx(1.0, abs=0.1)
    assert salver("evaluate", "--log", "-", "--policy", "thompson", stdin=lines[0] + "\n{")[1] == (
        "-:2: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); each "
        'line is such as {"arm": "a", "propensity": 0.5, "reward": 1.0}'
    )


def test_choices_without_a_reward_are_left_out_or_count_as_told(salver: Salver) -> None:
    lines = "\n".join(
        json.dumps({"arm": "ab"[i % 2], "propensity": 0.5, **({"reward": 1.0} if i < 50 else {})})
        for i in range(100)
    )
    words = ("evaluate", "--log", "-", "--policy", "epsilon_greedy", "--fixed", "-o", "json")
    left_out = json.loads(salver(*words, stdin=lines)[1])
    assert (left_out["choices"], left_out["without_reward"]) == (50, 50)
    assert left_out["logged"]["value"] == 1.0
    counted = json.loads(salver(*words, "--missing-reward", "0", stdin=lines)[1])
    assert counted["logged"]["value"] == 0.5


WRONG = [
    (("evaluate", "shop"), "give --policy ALGORITHM"),
    (("evaluate", "shop", "--policy", "tompson"), "did you mean 'thompson'?"),
    (("evaluate", "shop", "--policy", "ucb1", "--param", "alpa=2"), "did you mean 'alpha'?"),
    (("evaluate", "shop", "--policy", "ucb1", "--param", "alpha"), "is no KEY=VALUE"),
    (("evaluate", "shop", "--policy", "linucb"), "needs a context with each choice"),
    (("evaluate", "--log", "nowhere", "--policy", "ucb1"), "--log: nowhere cannot be read"),
    (("status", "shop", "-o", "yaml"), "there is no format 'yaml' here"),
    (("status", "shop", "too"), "'too' is too much"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_with_the_next_step(
    salver: Salver, words: tuple[str, ...], says: str
) -> None:
    code, out = salver(*words)
    assert code == 1 and says in out
