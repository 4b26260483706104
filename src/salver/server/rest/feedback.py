"""Rewards for what routers have chosen, and the routers themselves.

    POST /salver/v1/feedback                          rewards, by request id
    GET  /salver/v1/routers[/NAMESPACE/GRAPH/STEP]    status
    GET  /salver/v1/routers/NAMESPACE/GRAPH/STEP/log  choices and rewards, JSON lines
    POST /salver/v1/routers/NAMESPACE/GRAPH/STEP/{freeze,unfreeze,promote,reset}

Feedback is open to whoever may ask for predictions; all else is guarded as the admin API is. An
answer to feedback or to a change means that it is on disk.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.learning import LearnedRouter, LearnedRouters, Outcome, Reward
from salver.engine.learning_ports import Chosen, Replayed, Rewarded, unpacked
from salver.engine.router_status import status_of
from salver.errors import InvalidInput, RequestError
from salver.server.apis.access import why_refused
from salver.server.rest.answers import error_answer, json_answer, read_json_object, refusal

MOST_REWARDS = 10_000
DEFAULT_LOG, MOST_LOG = 100_000, 1_000_000
_MOST_ID = 512
_PREFIX = "/salver/v1/routers"

Answer = Callable[[Request], Awaitable[Response]]


class FeedbackRoutes:
    """`admin_key`: see `apis/access.py`."""

    def __init__(self, routers: LearnedRouters, *, max_body_size: int, admin_key: str) -> None:
        self._routers = routers
        self._max_body_size = max_body_size
        self._admin_key = admin_key

    def routes(self) -> list[Route]:
        """For the application; they come before those that take any path."""
        one = _PREFIX + "/{namespace}/{graph}/{step:path}"
        actions = {
            "freeze": self._freeze,
            "unfreeze": self._unfreeze,
            "promote": self._promote,
            "reset": self._reset,
        }
        return [
            Route("/salver/v1/feedback", self._plain(self.feedback), methods=["POST"]),
            Route(_PREFIX, self._guarded(self.list_all), methods=["GET"]),
            *[
                Route(f"{one}/{name}", self._guarded(answer), methods=["POST"])
                for name, answer in actions.items()
            ],
            Route(f"{one}/log", self._guarded(self.log), methods=["GET"]),
            Route(one, self._guarded(self.show), methods=["GET"]),
        ]

    def _plain(self, answer: Answer) -> Answer:
        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestError as error:
                return refusal(error)

        return answered

    def _guarded(self, answer: Answer) -> Answer:
        plain = self._plain(answer)

        async def answered(request: Request) -> Response:
            client = request.client.host if request.client is not None else ""
            reason = why_refused(client, request.headers, self._admin_key)
            if reason:
                return error_answer(401 if self._admin_key else 403, reason)
            return await plain(request)

        return answered

    # Feedback.

    async def feedback(self, request: Request) -> Response:
        """How many rewards were accepted, duplicate, unknown; 404 if none of them is known."""
        body = await read_json_object(request, self._max_body_size)
        router = self._named(body["router"]) if body.get("router") else None
        rewards = rewards_of(body)
        counts, takers = self._routers.take(rewards, router)
        await self._routers.wait_durable(takers)
        found: dict[str, Any] = {outcome.value: counts[outcome] for outcome in Outcome}
        if counts[Outcome.UNKNOWN] == len(rewards):
            where = f"router {router.name}" if router is not None else "no router"
            has = "has no such choice" if router is not None else "has such a choice"
            found["error"] = (
                f"{where} {has} on record ('{rewards[0].id}'): send the x-request-id of the "
                "answer, before the choice is forgotten"
            )
            return json_answer(found, 404)
        return json_answer(found)

    def _named(self, name: object) -> LearnedRouter:
        parts = name.split("/", 2) if isinstance(name, str) else []
        if len(parts) != 3:
            raise InvalidInput(f"the router {name!r} is not named as NAMESPACE/GRAPH/STEP")
        return self._routers.find(parts[0], parts[1], parts[2])

    # Looking.

    async def list_all(self, request: Request) -> Response:
        """The status of all routers."""
        return json_answer({"routers": [status_of(each) for each in self._routers.listed()]})

    async def show(self, request: Request) -> Response:
        """The status of one."""
        return json_answer(status_of(self._of(request)))

    async def log(self, request: Request) -> Response:
        """The newest choices of this epoch with their rewards, oldest first, a line each."""
        router = self._of(request)
        text = request.query_params.get("limit", str(DEFAULT_LOG))
        if not text.isdecimal() or not 0 < int(text) <= MOST_LOG:
            raise InvalidInput(f"limit is '{text}': give a number from 1 to {MOST_LOG}")
        epoch = router.epoch
        await self._routers.wait_durable([router])
        lines = await asyncio.to_thread(_log_lines, router, epoch, int(text))
        return Response(lines, media_type="application/x-ndjson")

    def _of(self, request: Request) -> LearnedRouter:
        given = request.path_params
        return self._routers.find(given["namespace"], given["graph"], given["step"])

    # Changing.

    async def _freeze(self, request: Request) -> Response:
        body = await read_json_object(request, self._max_body_size)
        router = self._of(request)
        router.freeze(str(body.get("mode", "best")))
        return await self._changed(router)

    async def _unfreeze(self, request: Request) -> Response:
        router = self._of(request)
        router.unfreeze()
        return await self._changed(router)

    async def _promote(self, request: Request) -> Response:
        body = await read_json_object(request, self._max_body_size)
        router = self._of(request)
        router.promote(str(body.get("arm", "")))
        return await self._changed(router)

    async def _reset(self, request: Request) -> Response:
        router = self._of(request)
        router.reset()
        return await self._changed(router)

    async def _changed(self, router: LearnedRouter) -> Response:
        await self._routers.wait_durable([router])
        return json_answer(status_of(router))


def rewards_of(body: dict[str, Any]) -> list[Reward]:
    """The rewards in a body: one, or a list of them. Raises `InvalidInput`."""
    listed = body.get("rewards", [body])
    if not isinstance(listed, list) or not listed:
        raise InvalidInput('"rewards" is no list of {"id": ..., "reward": ...}')
    if len(listed) > MOST_REWARDS:
        raise InvalidInput(
            f"{len(listed)} rewards are too many for one request: send at most {MOST_REWARDS}"
        )
    return [_reward(each, index, "rewards" in body) for index, each in enumerate(listed)]


def _reward(given: Any, index: int, is_listed: bool) -> Reward:
    at = f"rewards[{index}]: " if is_listed else ""
    if not isinstance(given, dict):
        raise InvalidInput(f'{at}is no object: send {{"id": ..., "reward": ...}}')
    known = {"id", "reward"} if is_listed else {"id", "reward", "router"}
    for key in given:
        if key not in known:
            raise InvalidInput(f"{at}has no field '{key}': it has {', '.join(sorted(known))}")
    run_id, value = given.get("id"), given.get("reward")
    if not isinstance(run_id, str) or not 0 < len(run_id) <= _MOST_ID:
        raise InvalidInput(f'{at}"id" is the x-request-id of the answer, a text: send it')
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f'{at}"reward" is {value!r}: send a number, such as 1.0')
    return Reward(run_id, float(value))


def _log_lines(router: LearnedRouter, epoch: int, limit: int) -> bytes:
    encode = msgspec.json.encode
    lines = logged_lines(list(router.log.history(limit, epoch)), limit)
    return b"".join(encode(line) + b"\n" for line in lines)


def logged_lines(replayed: list[Replayed], limit: int) -> Iterator[dict[str, Any]]:
    """Each choice with its reward, if it has one."""
    rewards = {
        each.record.id: each.record for each in replayed if isinstance(each.record, Rewarded)
    }
    chosen = {each.record.id: each.record for each in replayed if isinstance(each.record, Chosen)}
    in_time = sorted(chosen.values(), key=lambda record: record.at_s)
    for choice in itertools.islice(in_time, max(0, len(in_time) - limit), None):
        line: dict[str, Any] = {
            "id": choice.id,
            "time": choice.at_s,
            "arm": choice.arm,
            "propensity": choice.propensity,
        }
        if choice.context:
            line["context"] = list(unpacked(choice.context))
        reward = rewards.get(choice.id)
        if reward is not None:
            line |= {"reward": reward.reward, "rewarded": reward.at_s}
        yield line
