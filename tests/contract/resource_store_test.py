"""The contract of `ResourceStore`: one suite on each kind of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.resources import ObjectRef, WatchEvent
from salver.errors import AlreadyExists, Conflict, ResourceNotFound, WatchExpired

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HISTORY = 20


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteResourceStore]:
    uids = count(1)
    opened = SqliteResourceStore(
        tmp_path / "state.db" if request.param == "file" else None,
        now=lambda: NOW,
        new_uid=lambda: f"uid-{next(uids)}",
        history_length=HISTORY,
    )
    yield opened
    opened.close()


def ref(name: str = "iris", namespace: str = "default", plural: str = "services") -> ObjectRef:
    return ObjectRef("example.com", plural, namespace, name)


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Service", "metadata": {}, "spec": spec}


def changes(store: SqliteResourceStore, version: int = 0) -> list[tuple[str, str]]:
    found = store.changes_since(version, "example.com", "services")
    return [(event.type, event.ref.name) for event in found]


def test_a_created_object_gets_what_the_store_sets(store: SqliteResourceStore) -> None:
    given = service(replicas=1)
    created = store.create(ref(), given)
    assert created["metadata"] == {
        "name": "iris",
        "namespace": "default",
        "uid": "uid-1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "generation": 1,
        "resourceVersion": "1",
    }
    assert created["spec"] == {"replicas": 1}
    assert given["metadata"] == {}, "what is given is not changed"
    assert store.get(ref()) == created


def test_an_object_cannot_be_created_twice(store: SqliteResourceStore) -> None:
    store.create(ref(), service())
    with pytest.raises(AlreadyExists, match='"iris" already exists in namespace default'):
        store.create(ref(), service())
    store.create(ref(namespace="other"), service())
    store.create(ref(plural="runtimes"), service())


@pytest.mark.parametrize("ask", ["get", "delete", "update", "update_status"])
def test_what_is_not_there_is_not_found(store: SqliteResourceStore, ask: str) -> None:
    arguments = (ref(),) if ask in ("get", "delete") else (ref(), service())
    with pytest.raises(ResourceNotFound, match=r'services.example.com "iris" not found'):
        getattr(store, ask)(*arguments)


def test_returned_objects_are_the_callers_own(store: SqliteResourceStore) -> None:
    heard: list[WatchEvent] = []
    store.subscribe(heard.append)
    store.create(ref(), service(a=1))["spec"]["a"] = 2
    store.get(ref())["spec"]["a"] = 3
    store.list("example.com", "services")[0][0]["spec"]["a"] = 4
    assert store.get(ref())["spec"] == {"a": 1}
    assert heard[0].object["spec"] == {"a": 1}


def test_an_update_replaces_all_but_status(store: SqliteResourceStore) -> None:
    store.create(ref(), {**service(a=1), "data": {"x": "y"}})
    store.update_status(ref(), {"status": {"ready": True}})
    new = service(b=2) | {"status": {"ready": False}}
    new["metadata"] = {"labels": {"team": "a"}, "uid": ""}
    updated = store.update(ref(), new)
    assert updated["spec"] == {"b": 2}
    assert "data" not in updated
    assert updated["status"] == {"ready": True}
    assert updated["metadata"]["labels"] == {"team": "a"}
    assert updated["metadata"]["uid"] == "uid-1"
    assert updated["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert updated["metadata"]["resourceVersion"] == "3"


def test_the_generation_rises_with_the_spec_alone(store: SqliteResourceStore) -> None:
    store.create(ref(), service(a=1))
    labelled = store.update(ref(), {**service(a=1), "metadata": {"labels": {"x": "y"}}})
    assert labelled["metadata"]["generation"] == 1
    ready = store.update_status(ref(), {"status": {"ready": True}})
    assert ready["metadata"]["generation"] == 1
    assert store.update(ref(), service(a=2))["metadata"]["generation"] == 2


def test_a_status_update_leaves_the_rest(store: SqliteResourceStore) -> None:
    store.create(ref(), service(a=1))
    changed = store.update_status(ref(), service(a=2) | {"status": {"ready": True}})
    assert changed["spec"] == {"a": 1}
    assert changed["status"] == {"ready": True}
    assert "status" not in store.update_status(ref(), {})


def test_an_update_from_an_old_version_conflicts(store: SqliteResourceStore) -> None:
    old = store.create(ref(), service(a=1))
    store.update(ref(), service(a=2))
    for change in (store.update, store.update_status):
        with pytest.raises(Conflict, match="resourceVersion is 2, not 1"):
            change(ref(), old)
    with pytest.raises(Conflict, match="uid"):
        store.update(ref(), {**service(), "metadata": {"uid": "another"}})
    assert store.get(ref())["spec"] == {"a": 2}


def test_an_update_that_changes_nothing_is_no_change(store: SqliteResourceStore) -> None:
    created = store.create(ref(), service(a=1))
    assert store.update(ref(), service(a=1)) == created
    assert store.update_status(ref(), {}) == created
    assert changes(store) == [("ADDED", "iris")]


def test_a_list_is_ordered_and_of_one_type(store: SqliteResourceStore) -> None:
    for name, namespace in (("b", "two"), ("a", "two"), ("c", "one")):
        store.create(ref(name, namespace), service())
    store.create(ref("x", plural="runtimes"), service())
    found, version = store.list("example.com", "services")
    assert [obj["metadata"]["name"] for obj in found] == ["c", "a", "b"]
    assert version == 4
    assert [obj["metadata"]["name"] for obj in store.list("example.com", "services", "two")[0]] == [
        "a",
        "b",
    ]
    assert store.list("example.com", "nothing") == ([], 4)


def test_pages_make_up_the_list(store: SqliteResourceStore) -> None:
    for name in "abcde":
        store.create(ref(name, "two" if name < "c" else "one"), service())
    names = []
    after = ("", "")
    while True:
        page, _ = store.page("example.com", "services", after=after, limit=2)
        if not page:
            break
        after = (page[-1]["metadata"]["namespace"], page[-1]["metadata"]["name"])
        names.append([obj["metadata"]["name"] for obj in page])
    assert names == [["c", "d"], ["e", "a"], ["b"]]


def test_deleting_takes_what_the_object_owns(store: SqliteResourceStore) -> None:
    owner = store.create(ref("owner"), service())["metadata"]["uid"]
    child = service()
    child["metadata"] = {"ownerReferences": [{"uid": owner}]}
    uid = store.create(ref("child"), child)["metadata"]["uid"]
    grandchild = service()
    grandchild["metadata"] = {"ownerReferences": [{"uid": uid}, {"uid": owner}]}
    store.create(ref("grandchild"), grandchild)
    store.create(ref("stranger"), service())
    assert store.delete(ref("owner"))["metadata"]["uid"] == owner
    left, _ = store.list("example.com", "services")
    assert [obj["metadata"]["name"] for obj in left] == ["stranger"]
    assert [kind for kind, _ in changes(store, 4)] == ["DELETED"] * 3


def test_objects_that_own_each_other_go_together(store: SqliteResourceStore) -> None:
    one = store.create(ref("one"), service())["metadata"]["uid"]
    two = service()
    two["metadata"] = {"ownerReferences": [{"uid": one}]}
    uid = store.create(ref("two"), two)["metadata"]["uid"]
    store.update(ref("one"), {**service(), "metadata": {"ownerReferences": [{"uid": uid}]}})
    store.delete(ref("two"))
    assert store.list("example.com", "services")[0] == []


def test_changes_come_in_order_and_of_one_type(store: SqliteResourceStore) -> None:
    store.create(ref("a"), service(n=1))
    store.create(ref("x", plural="runtimes"), service())
    store.update(ref("a"), service(n=2))
    store.delete(ref("a"))
    found = store.changes_since(0, "example.com", "services")
    assert [(event.type, event.version) for event in found] == [
        ("ADDED", 1),
        ("MODIFIED", 3),
        ("DELETED", 4),
    ]
    assert found[2].object["spec"] == {"n": 2}, "as it was before"
    assert changes(store, 3) == [("DELETED", "a")]
    assert store.changes_since(0, "example.com", "services", "other") == []


def test_changes_that_are_no_longer_kept_have_expired(store: SqliteResourceStore) -> None:
    for n in range(HISTORY + 5):
        store.create(ref(f"s{n}"), service())
    assert len(changes(store, 5)) == HISTORY
    with pytest.raises(WatchExpired, match="changes since version 4 are not kept"):
        changes(store, 4)
    with pytest.raises(WatchExpired):
        changes(store, HISTORY + 6)
    assert changes(store, HISTORY + 5) == []


def test_a_transaction_is_all_or_nothing(store: SqliteResourceStore) -> None:
    heard: list[str] = []
    store.subscribe(lambda event: heard.append(event.ref.name))
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.create(ref("a"), service())
        store.set_value("k", b"v")
        raise ZeroDivisionError
    assert store.list("example.com", "services") == ([], 0)
    assert store.get_value("k") is None
    with store.transaction():
        store.create(ref("b"), service())
        assert heard == [], "listeners hear of nothing that may still be taken back"
        store.create(ref("c"), service())
    assert heard == ["b", "c"]


def test_transactions_nest(store: SqliteResourceStore) -> None:
    heard: list[str] = []
    store.subscribe(lambda event: heard.append(event.ref.name))
    with store.transaction():
        store.create(ref("a"), service())
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.create(ref("b"), service())
            raise ZeroDivisionError
        with store.transaction():
            store.create(ref("c"), service())
    assert heard == ["a", "c"]
    found, version = store.list("example.com", "services")
    assert [obj["metadata"]["resourceVersion"] for obj in found] == ["1", "2"]
    assert version == 2


def test_a_listener_hears_until_it_stops(store: SqliteResourceStore) -> None:
    heard: list[tuple[str, int]] = []
    stop = store.subscribe(lambda event: heard.append((event.type, event.version)))
    store.create(ref(), service())
    stop()
    store.delete(ref())
    assert heard == [("ADDED", 1)]


def test_what_a_listener_writes_comes_after_what_it_heard(store: SqliteResourceStore) -> None:
    heard: list[str] = []

    def follow(event: WatchEvent) -> None:
        if event.ref.name == "a":
            store.create(ref("b"), service())

    store.subscribe(follow)
    store.subscribe(lambda event: heard.append(event.ref.name))
    store.create(ref("a"), service())
    assert heard == ["a", "b"]


def test_a_listener_that_fails_harms_nobody(
    store: SqliteResourceStore, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def fail(event: WatchEvent) -> None:
        raise ZeroDivisionError

    store.subscribe(fail)
    store.subscribe(lambda event: heard.append(event.ref.name))
    store.create(ref("a"), service())
    assert heard == ["a"]
    assert "a listener failed" in caplog.text


def test_values_are_kept_under_their_keys(store: SqliteResourceStore) -> None:
    assert store.get_value("plan") is None
    store.set_value("plan", b"\x00one")
    store.set_value("plan", b"two")
    assert store.get_value("plan") == b"two"
