"""Long lists: whole, in pieces, and no longer than asked for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from salver.control.resources import ObjectRef
from salver.server.apis.listing import PIECE

MAPS = "/api/v1/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def put(api: Any, name: str, namespace: str = "default", **labels: str) -> None:
    ref = ObjectRef("", "configmaps", namespace, name)
    metadata = {"labels": labels}
    api.store.create(ref, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


@pytest.fixture
def count(api: Any) -> int:
    """How many there are: more than two pieces, in three namespaces."""
    count = 2 * PIECE + 7
    for number in range(count):
        put(api, f"c{number:04}", f"team-{number % 3}", parity=str(number % 2))
    return count


def names(answer: Any) -> list[tuple[str, str]]:
    found = [each["metadata"] for each in answer.json()["items"]]
    return [(each["namespace"], each["name"]) for each in found]


def expected(count: int) -> list[tuple[str, str]]:
    return sorted((f"team-{number % 3}", f"c{number:04}") for number in range(count))


def test_a_list_of_several_pieces_is_whole(api: Any, count: int) -> None:
    answer = api.ask("GET", MAPS)
    assert names(answer) == expected(count)
    assert answer.json()["metadata"] == {"resourceVersion": str(api.store.version)}
    assert answer.json()["kind"] == "ConfigMapList"
    table = api.ask("GET", MAPS, headers={"accept": TABLE}).json()
    assert len(table["rows"]) == count
    assert [each["name"] for each in table["columnDefinitions"]] == ["Name", "Data", "Age"]


@pytest.mark.parametrize("limit", [1, 7, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7])
@pytest.mark.parametrize("selector", ["", "&labelSelector=parity%3D1"])
def test_pages_of_any_size_make_the_whole(api: Any, count: int, limit: int, selector: str) -> None:
    found: list[tuple[str, str]] = []
    token = ""
    while True:
        answer = api.ask("GET", f"{MAPS}?limit={limit}{selector}&continue={token}")
        page = names(answer)
        found += page
        token = answer.json()["metadata"].get("continue", "")
        if not token:
            break
        assert len(page) == limit
    wanted = expected(count)
    if selector:
        wanted = [each for each in wanted if int(each[1][1:]) % 2]
    assert found == wanted


def test_an_empty_list_is_a_list(api: Any) -> None:
    body = api.ask("GET", MAPS).json()
    assert body["items"] == []
    assert body["metadata"]["resourceVersion"] == str(api.store.version)


def test_others_have_their_turn_between_the_pieces(api: Any, count: int) -> None:
    turns = 0
    pages: list[int] = []
    whole = api.store.page

    def page(*arguments: Any, **more: Any) -> Any:
        pages.append(turns)
        return whole(*arguments, **more)

    api.store.page = page

    async def ask() -> bytes:
        nonlocal turns
        pieces: list[bytes] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            pieces.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": "GET",
            "path": MAPS,
            "raw_path": MAPS.encode(),
            "query_string": b"",
            "headers": [],
            "root_path": "",
        }
        answering = asyncio.get_running_loop().create_task(api.app()(scope, receive, send))
        while not answering.done():
            await asyncio.sleep(0)
            turns += 1
        await answering
        return b"".join(pieces)

    body = json.loads(asyncio.run(ask()))
    assert len(body["items"]) == count
    assert len(pages) == 3
    assert pages[0] < pages[1] < pages[2]


def test_all_of_a_type_are_deleted_at_once(api: Any, count: int) -> None:
    path = "/api/v1/namespaces/team-1/configmaps"
    deleted = api.ask("DELETE", f"{path}?labelSelector=parity%3D1").json()["items"]
    left = names(api.ask("GET", MAPS))
    assert len(deleted) + len(left) == count
    assert not [each for each in left if each[0] == "team-1" and int(each[1][1:]) % 2]
