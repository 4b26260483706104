"""Server-side apply: whose field is whose."""

from __future__ import annotations

from typing import Any

import pytest

from salver.server.apis.ownership import Manager, applied, fields_of, managers_of, updated
from salver.server.apis.status import Refusal


def by(name: str, operation: str = "Apply", time: str = "t1") -> Manager:
    return Manager(name, operation, "x/v1", time, frozenset())


def in_version(name: str, version: str) -> Manager:
    return Manager(name, "Apply", f"g/{version}", "t1", frozenset())


def thing(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "x/v1",
        "kind": "X",
        "metadata": {"name": "a", **metadata},
        "spec": spec,
    }


def owners(obj: dict[str, Any]) -> dict[str, set[str]]:
    return {each.name: {".".join(path) for path in each.fields} for each in managers_of(obj)}


def test_identity_and_status_are_nobodys_fields() -> None:
    obj = thing({"a": 1, "b": {}, "c": [1]}, labels={"x": "y"}, uid="u", generation=1)
    obj["status"] = {"ready": True}
    assert {".".join(path) for path in fields_of(obj)} == {
        "spec.a",
        "spec.b",
        "spec.c",
        "metadata.labels.x",
    }


def test_two_managers_own_what_they_applied() -> None:
    first = applied(thing({"a": 1}), None, by("one"), force=False)
    both = applied(thing({"b": 2}), first, by("two"), force=False)
    assert both["spec"] == {"a": 1, "b": 2}
    assert owners(both) == {"one": {"spec.a"}, "two": {"spec.b"}}


def test_what_is_left_out_is_removed_if_nobody_else_has_it() -> None:
    first = applied(thing({"a": 1, "b": {"c": 1}, "d": 1}), None, by("one"), force=False)
    shared = applied(thing({"a": 1}), first, by("two"), force=False)
    left = applied(thing({"d": 1}), shared, by("one"), force=False)
    assert left["spec"] == {"a": 1, "d": 1}
    assert owners(left) == {"one": {"spec.d"}, "two": {"spec.a"}}


def test_the_same_value_is_shared_and_another_is_a_conflict() -> None:
    first = applied(thing({"a": 1}), None, by("one"), force=False)
    assert owners(applied(thing({"a": 1}), first, by("two"), force=False)) == {
        "one": {"spec.a"},
        "two": {"spec.a"},
    }
    with pytest.raises(Refusal, match=r'1 conflict: conflict with "one" using x/v1: \.spec\.a'):
        applied(thing({"a": 2}), first, by("two"), force=False)
    forced = applied(thing({"a": 2}), first, by("two"), force=True)
    assert forced["spec"] == {"a": 2}
    assert owners(forced) == {"two": {"spec.a"}}


def test_a_value_in_place_of_an_object_conflicts_with_its_fields() -> None:
    first = applied(thing({"a": {"b": 1}}), None, by("one"), force=False)
    with pytest.raises(Refusal, match=r"\.spec\.a\.b"):
        applied(thing({"a": 7}), first, by("two"), force=False)
    assert applied(thing({"a": {}}), first, by("two"), force=False)["spec"] == {"a": {"b": 1}}


def test_applying_the_same_again_changes_nothing() -> None:
    first = applied(thing({"a": 1}), None, by("one"), force=False)
    assert applied(thing({"a": 1}), first, by("one", time="t2"), force=False) == first


def test_an_update_takes_over_what_it_changes() -> None:
    first = applied(thing({"a": 1, "b": 1}), None, by("one"), force=False)
    changed = {**first, "spec": {"a": 2, "b": 1, "c": 3}}
    after = updated(changed, first, by("two", "Update"))
    assert owners(after) == {"one": {"spec.b"}, "two": {"spec.a", "spec.c"}}
    gone = {**after, "spec": {"a": 2}}
    assert owners(updated(gone, after, by("three", "Update"))) == {"two": {"spec.a"}}


def test_an_update_that_changes_nothing_keeps_the_entries() -> None:
    first = applied(thing({"a": 1}), None, by("one"), force=False)
    assert updated(first, first, by("two", "Update")) == first
    bare = thing({"a": 1})
    assert updated(bare, bare, by("two", "Update")) == bare


def test_entries_that_others_wrote_are_read() -> None:
    entry = {
        "manager": "kubectl",
        "operation": "Apply",
        "fieldsV1": {
            "f:spec": {".": {}, "f:list": {'k:{"name":"x"}': {"f:value": {}}}, "f:a": {".": {}}}
        },
    }
    obj = thing({"a": {"b": 1}}, managedFields=[entry, "nonsense", {"operation": "Apply"}])
    assert owners(obj) == {"kubectl": {"spec.list", "spec.a"}}


def test_fields_of_another_version_are_left_alone() -> None:
    former = {"apiVersion": "g/v1alpha2", "kind": "K", "metadata": {}, "spec": {"old": 1}}
    here = updated(former, None, in_version("a", "v1alpha2"))
    entries = here["metadata"]["managedFields"]
    present = {
        "apiVersion": "g/v1beta1",
        "kind": "K",
        "metadata": {"managedFields": entries},
        "spec": {"new": 1},
    }
    changed = {**present, "spec": {"new": 2}}
    after = managers_of(updated(changed, present, in_version("a", "v1beta1")))
    assert [(each.version, sorted(each.fields)) for each in after] == [
        ("v1alpha2", [("spec", "old")]),
        ("v1beta1", [("spec", "new")]),
    ]
    wanted = {"apiVersion": "g/v1beta1", "kind": "K", "metadata": {}, "spec": {"old": 3}}
    now = applied(wanted, {**present, "spec": {"old": 1}}, in_version("b", "v1beta1"), force=False)
    assert now["spec"] == {"old": 3}
