"""`salver router`: routers that learn. What they know, and what another policy would have earned.

A NAME is NAMESPACE/GRAPH/STEP, GRAPH/STEP, or the GRAPH alone if one router is in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from salver.cli.options import nearest
from salver.cli.router_tables import Json, list_lines, status_lines
from salver.cli.session import Session
from salver.errors import CommandFailed

USAGE = "ACTION [NAME] [ARM] [options]"
DESCRIPTION = """\
  list      list the routers that learn
  status    show a router's arms: choices, rewards, means, shares; and its regret
  freeze    explore no more: take the best arm, or with --mode shares keep the shares of now
  unfreeze  follow what is learned again, also after promote
  promote   give all requests to one arm
  reset     forget all that was learned
  reward    tell of one reward, by request id
  evaluate  estimate from the log what another policy would have earned

A NAME is GRAPH/STEP, or GRAPH if it has one router; NAMESPACE/GRAPH/STEP works everywhere.
"""
EXAMPLES = """\
examples:
  salver router list
  salver router status shop
  salver router status shop/pick -o json
  salver router promote shop/pick new-model
  salver router reward shop --id 4f1c... --reward 1
  salver router evaluate shop --policy thompson
  salver router evaluate shop --policy epsilon_greedy --param epsilon=0.02 --param min_share=0.01
  salver router evaluate --log choices.jsonl --policy linucb --param alpha=0.5
"""

_API = "/salver/v1/routers"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver router`."""
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="ACTION", help="see above")
    parser.add_argument("names", nargs="*", metavar="NAME", help="the router; promote: and its arm")
    parser.add_argument("-o", "--output", default="", metavar="FORMAT", help="json")
    parser.add_argument(
        "--mode",
        default="best",
        choices=("best", "shares"),
        metavar="MODE",
        help="freeze: best or shares (default: best)",
    )
    parser.add_argument("--id", default="", metavar="ID", help="reward: the answer's x-request-id")
    parser.add_argument("--reward", type=float, metavar="X", help="reward: how good it was")
    group = parser.add_argument_group("evaluate")
    group.add_argument("--policy", default="", metavar="ALGORITHM", help="the policy to judge")
    group.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the policy; may be repeated",
    )
    group.add_argument(
        "--log", default="", metavar="FILE", help="JSON lines, as GET .../log gives; - is stdin"
    )
    group.add_argument(
        "--limit", type=int, default=100_000, metavar="N", help="the newest N choices only"
    )
    group.add_argument(
        "--missing-reward",
        type=float,
        metavar="X",
        help="what a choice without a reward counts as (default: left out)",
    )
    group.add_argument(
        "--fixed", action="store_true", help="the policy as it starts, learning nothing"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Runs the action."""
    if arguments.output not in ("", "json"):
        raise CommandFailed(f"--output: there is no format '{arguments.output}' here; use json")
    action, names, most = arguments.action, arguments.names, _MOST_NAMES
    if len(names) > most.get(arguments.action, 1):
        raise CommandFailed(f"router {action}: '{names[-1]}' is too much; see --help")
    return _ACTIONS[action](arguments, session)


def _list(arguments: argparse.Namespace, session: Session) -> int:
    routers = _routers(session)
    if arguments.output:
        session.say(json.dumps(routers, indent=2))
        return 0
    if not routers:
        session.complain("no router that learns is served")
        return 0
    session.say(*list_lines(routers))
    return 0


def _status(arguments: argparse.Namespace, session: Session) -> int:
    return _show(_find(arguments, session), arguments, session)


def _freeze(arguments: argparse.Namespace, session: Session) -> int:
    return _change(arguments, session, "freeze", {"mode": arguments.mode}, "frozen")


def _unfreeze(arguments: argparse.Namespace, session: Session) -> int:
    return _change(arguments, session, "unfreeze", {}, "learning")


def _reset(arguments: argparse.Namespace, session: Session) -> int:
    return _change(arguments, session, "reset", {}, "reset")


def _promote(arguments: argparse.Namespace, session: Session) -> int:
    if len(arguments.names) != 2:
        raise CommandFailed("router promote: give the router and the arm, as in: promote shop new")
    arm = arguments.names[1]
    return _change(arguments, session, "promote", {"arm": arm}, f"promoted {arm}")


def _reward(arguments: argparse.Namespace, session: Session) -> int:
    if not arguments.id or arguments.reward is None:
        raise CommandFailed("router reward: give --id ID and --reward X")
    body: Json = {"id": arguments.id, "reward": arguments.reward}
    if arguments.names:
        body["router"] = _find(arguments, session)["name"]
    answer = _post(session, "/salver/v1/feedback", body)
    if arguments.output:
        session.say(json.dumps(answer, indent=2))
    elif answer.get("duplicate"):
        session.say(f"request {arguments.id} had its reward already: nothing is changed")
    else:
        session.say(f"request {arguments.id} rewarded")
    return 0


def _evaluate(arguments: argparse.Namespace, session: Session) -> int:
    from salver.cli.router_evaluation import evaluate_log

    if not arguments.policy:
        raise CommandFailed(
            "router evaluate: give --policy ALGORITHM, such as thompson, linucb or epsilon_greedy"
        )
    if arguments.log:
        if arguments.names:
            raise CommandFailed("router evaluate: give a router or --log, not both")
        source, arms, lines = arguments.log, (), _file_lines(arguments.log, session)
    else:
        router = _find(arguments, session)
        answer = session.client.send(
            "GET", f"{_path(router)}/log", query={"limit": str(arguments.limit)}
        )
        source = router["name"]
        arms = tuple(arm["name"] for arm in router["arms"])
        lines = answer.body.decode()
    found, table = evaluate_log(
        lines,
        source=source,
        arms=arms,
        policy=arguments.policy,
        parameters=_parameters(arguments.param),
        missing_reward=arguments.missing_reward,
        learns=not arguments.fixed,
    )
    session.say(*([json.dumps(found, indent=2)] if arguments.output else table))
    return 0


_ACTIONS: dict[str, Callable[[argparse.Namespace, Session], int]] = {
    "list": _list,
    "status": _status,
    "freeze": _freeze,
    "unfreeze": _unfreeze,
    "promote": _promote,
    "reset": _reset,
    "reward": _reward,
    "evaluate": _evaluate,
}
_MOST_NAMES = {"list": 0, "promote": 2}


def _change(
    arguments: argparse.Namespace, session: Session, action: str, body: Json, done: str
) -> int:
    router = _find(arguments, session)
    changed = _post(session, f"{_path(router)}/{action}", body)
    if arguments.output:
        return _show(changed, arguments, session)
    session.say(f"router {router['name']} {done}")
    return 0


def _show(router: Json, arguments: argparse.Namespace, session: Session) -> int:
    if arguments.output:
        session.say(json.dumps(router, indent=2))
    else:
        session.say(*status_lines(router, session.clock()))
    return 0


def _routers(session: Session) -> list[Json]:
    found: list[Json] = session.client.get(_API)["routers"]
    return found


def _find(arguments: argparse.Namespace, session: Session) -> Json:
    """The router that is named. Raises `CommandFailed` if there is none, or more than one."""
    if not arguments.names:
        raise CommandFailed(f"router {arguments.action}: name the router; see salver router list")
    name = arguments.names[0]
    routers = _routers(session)
    here = [each for each in routers if each["namespace"] == session.namespace]
    found = [each for each in routers if each["name"] == name] or [
        each for each in here if name in (each["graph"], f"{each['graph']}/{each['step']}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{each['graph']}/{each['step']}" for each in found)
        raise CommandFailed(f"graph '{name}' has several routers: name one of {names}")
    known = {each["name"]: "" for each in routers}
    known |= {f"{each['graph']}/{each['step']}": "" for each in here}
    known |= {each["graph"]: "" for each in here}
    near = nearest(name, list(known))
    hint = f"did you mean {near}?" if near else "see salver router list"
    raise CommandFailed(f"no router '{name}' learns in namespace '{session.namespace}'; {hint}")


def _path(router: Json) -> str:
    parts = (router["namespace"], router["graph"], router["step"])
    return "/".join([_API, *(quote(part) for part in parts)])


def _post(session: Session, path: str, body: Json) -> Any:
    return session.client.send("POST", path, body=json.dumps(body).encode()).json()


def _file_lines(name: str, session: Session) -> str:
    if name == "-":
        return session.stdin.read()
    try:
        with open(name, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--log: {name} cannot be read: {error}") from error


def _parameters(given: list[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise CommandFailed(f"--param: '{each}' is no KEY=VALUE, such as epsilon=0.1")
        found.append((key.strip(), value.strip()))
    return tuple(found)
