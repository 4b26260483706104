from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from salver.cli.three_way import (
    last_applied,
    merge,
    three_way_patch,
    two_way_patch,
    with_last_applied,
    without_last_applied,
)

VALUES = st.recursive(
    st.integers(0, 3) | st.sampled_from(["a", "b"]) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)
Json = dict[str, Any]


@given(OBJECTS, OBJECTS)
def test_a_patch_makes_the_one_object_into_the_other(before: Json, after: Json) -> None:
    assert merge(before, two_way_patch(before, after)) == after


@given(OBJECTS, OBJECTS, OBJECTS)
def test_after_the_patch_the_file_holds_and_applying_again_changes_nothing(
    original: Json, modified: Json, current: Json
) -> None:
    after = merge(current, three_way_patch(original, modified, current))
    assert holds(modified, after)
    assert three_way_patch(modified, modified, after) == {}


def holds(wanted: Any, found: Any) -> bool:
    """Whether everything in `wanted` is in `found`; empty mappings may hold more."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and holds(wanted[key], found[key]) for key in wanted)
    return bool(wanted == found)


@given(OBJECTS, OBJECTS)
def test_fields_that_the_file_never_had_stay(modified: Json, current: Json) -> None:
    after = merge(current, three_way_patch({}, modified, current))
    for key in current:
        assert key in after


def test_a_field_that_left_the_file_is_removed_and_only_that() -> None:
    original = {"spec": {"a": 1, "b": {"c": 1, "d": 2}}}
    modified = {"spec": {"b": {"c": 1}}}
    current = {"spec": {"a": 1, "b": {"c": 1, "d": 2, "set": "by another"}, "e": 5}}
    assert three_way_patch(original, modified, current) == {"spec": {"a": None, "b": {"d": None}}}


def test_a_field_that_is_gone_already_needs_no_patch() -> None:
    assert three_way_patch({"a": 1, "b": {"c": 1}}, {"b": {}}, {"b": {"d": 1}}) == {}


def test_lists_are_replaced_whole() -> None:
    assert three_way_patch({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}) == {"a": [1, 2]}


def test_true_is_not_one() -> None:
    assert two_way_patch({"a": 1}, {"a": True}) == {"a": True}


def test_what_was_applied_reads_back_without_itself() -> None:
    manifest = {"kind": "A", "metadata": {"name": "é", "annotations": {"b": "c"}}}
    applied = with_last_applied(with_last_applied(manifest))
    assert last_applied(applied) == manifest
    assert without_last_applied(applied) == manifest


def test_an_annotation_that_is_no_json_counts_as_none() -> None:
    key = "kubectl.kubernetes.io/last-applied-configuration"
    assert last_applied({"metadata": {"annotations": {key: "{"}}}) is None
    assert last_applied({"metadata": {}}) is None
