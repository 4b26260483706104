"""GJSON paths over JSON values: the documented examples, and that nothing breaks it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.protocol.gjson import MISSING, compiled, exists, get

PEOPLE = {
    "name": {"first": "Tom", "last": "Anderson"},
    "age": 37,
    "children": ["Sara", "Alex", "Jack"],
    "fav.movie": "Deer Hunter",
    "friends": [
        {"first": "Dale", "last": "Murphy", "age": 44, "nets": ["ig", "fb", "tw"]},
        {"first": "Roger", "last": "Craig", "age": 68, "nets": ["fb", "tw"]},
        {"first": "Jane", "last": "Murphy", "age": 47, "nets": ["ig", "tw"]},
    ],
}
DALE, ROGER, JANE = PEOPLE["friends"]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("name.last", "Anderson"),
        ("age", 37),
        ("children", ["Sara", "Alex", "Jack"]),
        ("children.#", 3),
        ("children.1", "Alex"),
        ("children.3", MISSING),
        ("child*.2", "Jack"),
        ("c?ildren.0", "Sara"),
        ("*.last", "Anderson"),
        (r"fav\.movie", "Deer Hunter"),
        ("friends.#.first", ["Dale", "Roger", "Jane"]),
        ("friends.1.last", "Craig"),
        ('friends.#(last=="Murphy").first', "Dale"),
        ('friends.#(last="Murphy").first', "Dale"),
        ('friends.#[last=="Murphy"].first', "Dale"),
        ("friends.#(last==Murphy).first", "Dale"),
        ('friends.#(last=="Murphy")#.first', ["Dale", "Jane"]),
        ("friends.#(age>45)#.last", ["Craig", "Murphy"]),
        ("friends.#(age>=47)#.age", [68, 47]),
        ("friends.#(age<47)#.age", [44]),
        ("friends.#(age<=47)#.age", [44, 47]),
        ("friends.#(age!=47)#.age", [44, 68]),
        ('friends.#(first%"D*").last', "Murphy"),
        ('friends.#(first!%"D*").last', "Craig"),
        ('friends.#(nets.#(=="fb"))#.first', ["Dale", "Roger"]),
        ('children.#(!%"*a*")', "Alex"),
        ('children.#(%"*a*")#', ["Sara", "Jack"]),
        ("friends.#(nobody)", MISSING),
        ('friends.#(last=="Nobody")#', []),
        ("friends.0|first", "Dale"),
        ("friends|#", 3),
        ('friends.#(last="Murphy")#|first', MISSING),
        ('friends.#(last="Murphy")#|0.first', "Dale"),
        ('friends.#(last="Murphy")#.0', []),
        ('friends.#(last="Murphy")#|#', 2),
        ("children.@reverse", ["Jack", "Alex", "Sara"]),
        ("children.@reverse.0", "Jack"),
        ("name.@keys", ["first", "last"]),
        ("name.@values.1", "Anderson"),
        ("@this.age", 37),
        ("@this|age", 37),
        ("friends.#.nets.@flatten", [["ig", "fb", "tw"], ["fb", "tw"], ["ig", "tw"]]),
        ("friends.#.nets|@flatten|#", 7),
        ("[name,name].@join.first", "Tom"),
        ("name.@tostr", '{"first":"Tom","last":"Anderson"}'),
        ("name.@tostr.@fromstr.first", "Tom"),
        ("@valid.age", 37),
        ("@pretty.age", 37),
        ("@dig:first", ["Tom", "Dale", "Roger", "Jane"]),
        ("@dig:first|#", 4),
        ("[@this].#(age==37).name.first", "Tom"),
        ("[@this].#(age==38)", MISSING),
        ("[@this].#(name.first==Tom).age", 37),
        ("[age,nobody,children.0]", [37, "Sara"]),
        (
            '{name.first,age,"the_murphys":friends.#(last="Murphy")#.first}',
            {"first": "Tom", "age": 37, "the_murphys": ["Dale", "Jane"]},
        ),
        ('!"yes"', "yes"),
        ("!1.5", 1.5),
        ('!{"a":[1,2]}.a.1', 2),
        ("[!true,age]", [True, 37]),
        ("age.x", MISSING),
        ("name.0", MISSING),
    ],
)
def test_the_documented_examples_find_what_they_should(path: str, expected: Any) -> None:
    assert get(path, PEOPLE) == expected


@pytest.mark.parametrize(
    ("query", "picked"),
    [
        ("a==~true", [1, 3, 5, 7]),
        ("a==~false", [2, 4, 6, 8, 9, 0]),
        ("a==~null", [9, 0]),
        ("a==~*", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("a!=~*", [0]),
        ("a==true", [1, 7]),
        ("a!=true", [2, 3, 4, 5, 6, 8]),
        ("a==1", [3, 5]),
    ],
)
def test_a_tilde_asks_for_truth_of_any_kind(query: str, picked: list[int]) -> None:
    values = {1: True, 2: False, 3: 1, 4: 0, 5: "1", 6: "0", 7: "true", 8: "f", 9: None}
    rows: list[dict[str, Any]] = [{"n": n, "a": value} for n, value in values.items()]
    found = get(f"rows.#({query})#.n", {"rows": [*rows, {"n": 0}]})
    assert sorted(found) == sorted(picked)


def test_null_exists_and_a_field_that_is_not_there_does_not() -> None:
    assert exists("a", b'{"a": null}')
    assert not exists("b", b'{"a": null}')


def test_a_number_equals_no_text_that_is_no_number() -> None:
    assert not exists("[@this].#(decision_picker==ERROR)", b'{"decision_picker": 0}')
    assert exists("[@this].#(decision_picker==0)", b'{"decision_picker": 0}')


def test_kserves_own_conditions_are_told_apart() -> None:
    error, success = (
        compiled(f"[@this].#(decision_picker=={name})") for name in ("ERROR", "SUCCESS")
    )
    body = b'{"decision_picker": "ERROR", "key1": {"name": "abc"}}'
    assert error.exists(body)
    assert not success.exists(body)
    body = b'{"predictions": [{"label": "dog", "score": [0.8, 0.2]}]}'
    assert exists('predictions.#(label=="dog")', body)
    assert not exists('predictions.#(label=="cat")', body)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"{", b'{"a": 1} x', b'{"a": [1,,2], "b": 1}', b"\xff", b"[" * 200_000]
)
def test_nothing_exists_in_what_is_no_json(body: bytes) -> None:
    assert not exists("b", body)
    assert not exists("0", body)


def test_a_group_makes_rows_of_columns() -> None:
    columns = {"id": ["a", "b"], "val": [1, 2]}
    assert get("@group", columns) == [{"id": "a", "val": 1}, {"id": "b", "val": 2}]


PATHS = st.lists(
    st.sampled_from(
        [
            *("a", "b", "0", "1", ".", "|", "#", "(", ")", "[", "]", "{", "}", "*", "?", '"'),
            *("\\", ",", ":", "==", "!=", "<", "%", "!%", "~true", "~*", "!", "@this", "@keys"),
            *("@values", "@flatten", '@flatten:{"deep":true}', "@tostr", "@fromstr", "@group"),
            *("@reverse", "@join", "@dig:", "#(", "#.", "[@this]", "#(a==1)#", "é", "\n"),
        ]
    ),
    max_size=25,
).map("".join)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab01"), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(PATHS | st.text(max_size=20), JSON)
def test_no_path_raises_over_any_value(path: str, value: Any) -> None:
    body = json.dumps(value, allow_nan=False).encode()
    assert isinstance(exists(path, body), bool)
    found = compiled(path).find(body)
    assert found is MISSING or exists(path, body)


@settings(max_examples=200, deadline=None)
@given(PATHS, st.binary(max_size=40))
def test_no_body_raises(path: str, body: bytes) -> None:
    assert isinstance(exists(path, body), bool)


@pytest.mark.parametrize(
    "path",
    [
        "|".join(["[@this,@this]"] * 200) + '|@flatten:{"deep":true}',
        "|".join(["{a:@this,b:@this}"] * 200) + "|@tostr",
        "|".join(["@tostr"] * 500),
        "@dig:@dig:@dig:a",
        "#.@this." * 100 + "#",
        "rows.#(" + "a*" * 1000 + '%"' + "*a" * 500 + '*b")',
        "*." * 500 + "x",
        "#(" * 1000,
        "[" * 4000,
        "!" + "." * 4000,
    ],
)
def test_work_is_bounded_by_the_size_of_path_and_body(path: str) -> None:
    rows: list[Any] = [{"a": "a" * 50, "q": '"\\'} for _ in range(2000)]
    body = json.dumps({"rows": rows, "a": {"a": {"a": rows[:10]}}}).encode()
    begin_s = time.process_time()
    compiled.cache_clear()
    exists(path, body)
    assert time.process_time() - begin_s < 2.0


def test_deep_nesting_finds_nothing_rather_than_raise() -> None:
    body = b'{"a":' * 5000 + b"1" + b"}" * 5000
    assert not exists(".".join(["a"] * 2000) + ".b", body)
    assert not exists("@dig:b.c|0", body)
