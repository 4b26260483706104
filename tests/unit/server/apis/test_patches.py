"""Patches: the examples of their RFCs, and the lists that strategic ones merge."""

from __future__ import annotations

from typing import Any

import pytest

from salver.server.apis.patches import json_patch, merge_patch, strategic_patch
from salver.server.apis.status import Refusal


@pytest.mark.parametrize(
    ("value", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        (["a"], {"a": None}, {}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": 1}, [2], [2]),
    ],
)
def test_merge_patches_do_as_rfc_7396_says(value: Any, patch: Any, result: Any) -> None:
    assert merge_patch(value, patch) == result


@pytest.mark.parametrize(
    ("value", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a/b": {"~": 1}}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}], {"a/b": {"~": 2}}),
        ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}],
         {"a": {}, "b": {"y": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"},
                      {"op": "add", "path": "/b/-", "value": 2}], {"a": [1], "b": [1, 2]}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)  # fmt: skip
def test_json_patches_do_as_rfc_6902_says(value: Any, operations: Any, result: Any) -> None:
    before = repr(value)
    assert json_patch(value, operations) == result
    assert repr(value) == before, "what is given is not changed"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nothing"},
        {"op": "replace", "path": "/nothing", "value": 1},
        {"op": "add", "path": "/list/5", "value": 1},
        {"op": "add", "path": "/nothing/x", "value": 1},
        {"op": "test", "path": "/list", "value": 1},
        {"op": "frob", "path": "/list"},
        {"op": "add", "path": "list", "value": 1},
        {"op": "add", "path": "/x"},
        {"path": "/x"},
        "nonsense",
        {"op": "add", "path": 7, "value": 1},
    ],
)
def test_an_operation_that_cannot_be_done_is_named(operation: Any) -> None:
    with pytest.raises(Refusal, match="operation 0 of the JSON patch cannot be done") as caught:
        json_patch({"list": [1]}, [operation])
    assert caught.value.code == 422


def test_a_json_patch_is_a_list() -> None:
    with pytest.raises(Refusal, match="list of at most"):
        json_patch({}, {"op": "add"})


def test_strategic_patches_merge_lists_by_their_keys() -> None:
    account = {"secrets": [{"name": "a"}, {"name": "b"}], "metadata": {"finalizers": ["x"]}}
    patch = {
        "$setElementOrder/secrets": [{"name": "b"}, {"name": "c"}],
        "secrets": [{"name": "c", "k": 1}, {"name": "a", "$patch": "delete"}],
        "metadata": {"finalizers": ["y"], "$deleteFromPrimitiveList/finalizers": ["x"]},
    }
    assert strategic_patch(account, patch) == {
        "secrets": [{"name": "b"}, {"name": "c", "k": 1}],
        "metadata": {"finalizers": ["y"]},
    }
    replace = {"secrets": [{"$patch": "replace"}, {"name": "z"}]}
    assert strategic_patch(account, replace)["secrets"] == [{"name": "z"}]
    assert strategic_patch({"data": {"a": 1}}, {"data": {"$patch": "replace", "b": 2}}) == {
        "data": {"b": 2}
    }
    assert strategic_patch({"data": {"a": 1, "b": 2}}, {"data": {"a": None}}) == {"data": {"b": 2}}
