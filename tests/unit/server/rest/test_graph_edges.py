"""The route that shows the last messages on a graph's edges."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
from starlette.applications import Starlette

from salver.engine.call import Call
from salver.engine.flow_inspection import FlowInspection
from salver.engine.flow_ports import Failure, Message
from salver.errors import ErrorKind
from salver.graphs.flow import Edge, Flow, Service, Step
from salver.protocol.wire_codes import Codec
from salver.server.apis.access import authoriser
from salver.server.rest.graphs import EdgeRoutes

FLOW = Flow("chain", (Step("a", Service("default", "a")),), (Edge("a"),))
CALL = Call(int(Codec.V2_JSON), 0, b"", arrived_s=0.0, deadline_s=1.0)
PATH = "/salver/v1/graphs/default/chain/edges"


def inspected() -> FlowInspection:
    found = FlowInspection(now=lambda: 5.0, new_id=lambda: "id")
    observer = found.observer("default", "chain", FLOW)
    for text in (b"1", b"2"):
        request = Message(int(Codec.V2_JSON), 0, text, is_request=True)
        run = observer.begin("run", request, CALL)
        run.on_answer(0, (), Message(int(Codec.V2_JSON), 0, text, is_request=False), 0.0)
    run.on_failure(0, Failure(ErrorKind.MODEL_FAILED, "no"), 0.0)
    return found


def get(path: str, key: str = "", **headers: str) -> httpx.Response:
    app = Starlette(routes=EdgeRoutes(inspected(), authoriser(key)).routes())

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(send())


def test_topics_come_with_their_messages_as_they_were_sent() -> None:
    answer: dict[str, Any] = get(PATH).json()
    assert answer["steps"] == ["a"]
    first = answer["topics"][0]
    assert first["name"] == "seldon.default.pipeline.chain.inputs"
    assert [base64.b64decode(each["parts"][0]["body"]) for each in first["messages"]] == [
        b"1",
        b"2",
    ]
    part = first["messages"][0]["parts"][0]
    assert (part["codec"], part["isRequest"]) == (int(Codec.V2_JSON), True)
    (error,) = answer["topics"][-1]["messages"]
    assert (error["step"], error["error"], error["parts"]) == ("a", "no", [])


def test_what_is_asked_for_narrows_it() -> None:
    topics = get(f"{PATH}?step=a&end=outputs&last=1").json()["topics"]
    assert [topic["name"] for topic in topics] == ["seldon.default.model.a.outputs"]
    assert len(topics[0]["messages"]) == 1
    assert topics[0]["seen"] == 2


def test_payloads_are_for_those_who_may_use_the_admin_api() -> None:
    assert get(PATH, key="secret").status_code == 401
    assert get(PATH, key="secret", authorization="Bearer secret").status_code == 200
    assert get(PATH, origin="http://evil.example").status_code == 403


def test_a_graph_that_is_not_there_is_not_found() -> None:
    answer = get("/salver/v1/graphs/default/other/edges")
    assert answer.status_code == 404
    assert "no pipeline 'default/other'" in answer.json()["error"]
    assert get(f"{PATH}?last=x").status_code == 400
