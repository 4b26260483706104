"""YAML texts as values with places: traps of YAML 1.1, faults, and hostile texts."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.spec.yaml_source import Mark, first_value, read_documents


def value(text: str) -> object:
    (document,) = read_documents(text)
    assert document.findings == ()
    return document.value


def fault(text: str) -> str:
    (document,) = [each for each in read_documents(text) if each.findings]
    ((_, message),) = document.findings
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("12", 12),
        ("-1_000", -1000),
        ("0644", 420),
        ("0o17", 15),
        ("-0x1F", -31),
        ("0b101", 5),
        ("0x", "0x"),
        ("0_", "0_"),
        ("1.50", 1.5),
        ("-.5e-1", -0.05),
        ("1e400", "1e400"),
        (".inf", ".inf"),
        ("99999999999999999999", 1e20),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("|\n  a\n  b", "a\nb"),
    ],
)
def test_a_scalar_means_what_people_mean(text: str, expected: object) -> None:
    assert value(f"[{text}]" if "\n" not in text else f"- {text}") == [expected]


def test_plain_scalars_that_are_no_texts_keep_how_they_were_written() -> None:
    (document,) = read_documents("a: 1.10\nb: Yes\nc: text\nd: '1'\ne: 0x10\nf: null\n")
    assert document.plain == {("a",): "1.10", ("b",): "Yes", ("e",): "0x10"}


def test_every_value_has_a_place() -> None:
    (document,) = read_documents("# c\na:\n  - b: 1\n    c: 2\n  - d\n")
    assert document.marks == {
        (): Mark(2, 1),
        ("a",): Mark(2, 1),
        ("a", 0): Mark(3, 5),
        ("a", 0, "b"): Mark(3, 5),
        ("a", 0, "c"): Mark(4, 5),
        ("a", 1): Mark(5, 5),
    }
    assert document.mark(("a", 0, "c", "not", "there")) == Mark(4, 5)


def test_keys_are_texts() -> None:
    assert value("1: a\ntrue: b\n~: c\n1.10: d") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "1.10": "d",
    }


def test_merged_mappings_yield_to_what_is_given() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: '9'\n"
    (document,) = read_documents(text)
    assert document.value["c"] == {"x": "9", "y": 2, "z": 4}
    assert document.mark(("c", "x")) == Mark(5, 3)
    assert document.mark(("c", "z")) == Mark(2, 14)
    assert ("c", "x") not in document.plain
    assert document.plain["c", "y"] == "2"


def test_a_key_given_twice_is_a_fault_with_both_lines() -> None:
    (document,) = read_documents("a: 1\nb: 2\na: 3\n")
    assert document.findings == ((("a",), "is given twice, first in line 1"),)
    assert document.mark(("a",)) == Mark(3, 1)


def test_json_is_read_too_with_tabs_and_pairs_of_escapes() -> None:
    text = '{\n\t"a": "\\ud83d\\ude00 \\u00e9 \\/",\n\t"b": [1.10, null, true]\n}'
    (document,) = read_documents(text)
    assert document.value == {"a": "\N{GRINNING FACE} é /", "b": [1.1, None, True]}
    assert document.mark(("b",)).line == 3


def test_an_escaped_backslash_before_what_looks_like_a_pair_stays() -> None:
    assert value('["\\\\ud83d\\\\ude00"]') == ["\\ud83d\\ude00"]


def test_documents_after_a_faulty_one_are_still_read_on_their_own_lines() -> None:
    documents = read_documents("a: 1\n---\nb: 'x\n---\nc: 3\n---\n\td: 4\n---\ne: 5\n")
    assert [each.value for each in documents] == [{"a": 1}, None, {"c": 3}, None, {"e": 5}]
    assert [each.mark(()).line for each in documents] == [1, 3, 5, 7, 9]


def test_empty_documents_are_left_out() -> None:
    assert [each.value for each in read_documents("---\n# a\n---\nb: 1\n---\n...\n")] == [{"b": 1}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1\n", "not valid YAML: a tab; use spaces"),
        ("a: @b", "not valid YAML: '@' before a text; quote it"),
        ("a: 'b", "not valid YAML: a quote or bracket that is never closed"),
        ("a: *b", "the alias 'b' has no anchor in this document"),
        ("a: &a [*a]", "the alias 'a' is within what it stands for"),
        ("? {a: b}\n: c", "a list or mapping cannot be a key"),
        ("a: !secret b", "the tag '!secret' is not allowed; remove it"),
        ("a: !!set {b}", "the tag '!!set' is not allowed; remove it"),
        ("<<: a", "only mappings can be merged with '<<'"),
    ],
)
def test_a_fault_is_said_in_words_for_people(text: str, message: str) -> None:
    assert fault(text) == message


@pytest.mark.parametrize("text", ["a: \x00", "\x01", "a: \ud800"])
def test_what_is_no_text_is_refused(text: str) -> None:
    assert fault(text).startswith("is not text: the character U+")


def test_deep_nesting_is_refused_without_recursion() -> None:
    assert fault("[" * 100_000) == "is nested deeper than 64 levels"


def test_aliases_cannot_nest_deeper_than_texts() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 90))
    assert fault(text) == "is nested deeper than 64 levels"


def test_aliases_cannot_multiply() -> None:
    text = "a0: &a0 [x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    assert fault(text) == "its aliases stand for more than 20000 values"


def test_a_text_of_faults_is_given_up_on() -> None:
    assert len(read_documents("---\na: 'b\n'c\n" * 1000)) < 60


def test_a_huge_text_is_refused_before_it_is_parsed() -> None:
    assert fault(" " * ((32 << 20) + 1)) == "is larger than 32 MiB; split it into several files"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ).filter(lambda each: each is not None)
)
def test_what_json_writes_is_read_back(written: object) -> None:
    # YAML has no DEL and no lone surrogates; `<<` merges.
    text = json.dumps({"value": written})
    if "\\ud" not in text and "\\u" not in text and "<<" not in text and "\x7f" not in text:
        assert value(text) == {"value": written}


def test_reading_the_types_loads_no_yaml_and_no_numpy() -> None:
    modules = "salver.spec.read, salver.spec.explain, salver.spec.schema"
    program = f"import sys, json, {modules}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    assert "salver.spec.kserve" in loaded
    assert not loaded & {"yaml", "numpy", "orjson", "asyncio"}


def test_the_first_value_of_a_text_is_what_its_first_document_says() -> None:
    assert first_value("a: 1\n---\nb: 2\n") == ({"a": 1}, "")
    assert first_value("") == (None, "")
    value, fault = first_value("a: 1\nb: [1\n")
    assert value is None
    assert fault.startswith("line ")
