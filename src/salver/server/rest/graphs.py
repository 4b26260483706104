"""The last messages on a pipeline's edges, as JSON: for `salver pipeline inspect`.

Payloads are shown to those only who may use the admin API. Bodies go out as they are, in base64:
who asks can read every wire format, and this server need not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.flow_inspection import FlowInspection, Kept, Topic
from salver.server.apis.status import Refusal
from salver.server.rest.answers import error_answer

PATH = "/salver/v1/graphs/{namespace}/{name}/edges"
Authorise = Callable[[Request], None]
"""Raises `Refusal` for those who may not look."""


class EdgeRoutes:
    """The route, over what the inspection keeps."""

    def __init__(self, inspection: FlowInspection, authorise: Authorise) -> None:
        self._inspection = inspection
        self._authorise = authorise

    def routes(self) -> list[Route]:
        """`GET`; `?step=`, `?end=inputs|outputs|errors` and `?last=` narrow it."""
        return [Route(PATH, self.edges, methods=["GET"])]

    async def edges(self, request: Request) -> Response:
        """The topics of a graph, the newest message of each last."""
        try:
            self._authorise(request)
        except Refusal as error:
            return error_answer(error.code, str(error))
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        topics = self._inspection.topics(namespace, name)
        if topics is None:
            return error_answer(
                404,
                f"no pipeline '{namespace}/{name}' is served (salver get mlp lists those that are "
                "declared); messages of other graphs are not kept",
            )
        step, end, last = (request.query_params.get(key, "") for key in ("step", "end", "last"))
        if last and not last.isdigit():
            return error_answer(400, f"last is '{last}': write how many messages of each edge")
        shown = [
            _shown(topic, int(last or 0))
            for topic in topics
            if (not step or topic.step == step) and (not end or topic.end == end)
        ]
        steps = list(dict.fromkeys(topic.step for topic in topics if topic.step))
        body = {"namespace": namespace, "graph": name, "steps": steps, "topics": shown}
        return Response(msgspec.json.encode(body), media_type="application/json")


def _shown(topic: Topic, last: int) -> dict[str, Any]:
    kept: Sequence[Kept] = tuple(topic.kept)
    return {
        "name": topic.name,
        "step": topic.step,
        "end": topic.end,
        "seen": topic.seen,
        "messages": [_message(each) for each in kept[-last:]],
    }


def _message(kept: Kept) -> dict[str, Any]:
    found: dict[str, Any] = {"time": kept.time_s, "runId": kept.run_id, "size": kept.size_bytes}
    if kept.error:
        found |= {"error": kept.error, "step": kept.step}
    parts = [
        {
            "codec": int(each.codec),
            "aux": each.aux,
            "coding": int(each.coding),
            "isRequest": each.is_request,
            "status": each.status,
            "body": bytes(each.body),
        }
        for each in kept.messages
    ]
    return found | {"parts": parts}
