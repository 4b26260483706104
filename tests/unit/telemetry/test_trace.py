"""W3C trace context: the specification's rules, one by one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.telemetry.trace import (
    TraceContext,
    format_traceparent,
    is_sampled,
    new_span,
    parse_traceparent,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_the_specifications_example_is_read() -> None:
    assert parse_traceparent(VALID) == TraceContext(TRACE, SPAN, is_sampled=True)


@pytest.mark.parametrize(
    ("flags", "expected"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_lowest_flag_says_sampled(flags: str, expected: bool) -> None:
    context = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert context is not None
    assert context.is_sampled is expected


def test_a_later_version_may_carry_more_after_the_flags() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") is not None
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01") is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.extra",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"0-{TRACE}-{SPAN}-01",
        f" {VALID}",
        f"{VALID}\n",
        f"00-{TRACE[:-1]}\N{ARABIC-INDIC DIGIT ONE}-{SPAN}-01",
        VALID.replace("-", "_"),
    ],
)
def test_an_invalid_header_is_ignored(header: str | None) -> None:
    assert parse_traceparent(header) is None


@given(st.text())
def test_no_text_makes_the_parser_raise(header: str) -> None:
    context = parse_traceparent(header)
    assert context is None or header.startswith(format_traceparent(context)[3:], 3)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read_back(trace: int, span: int, flag: bool) -> None:
    context = TraceContext(f"{trace:032x}", f"{span:016x}", flag)
    assert parse_traceparent(format_traceparent(context)) == context


@pytest.mark.parametrize("flag", [True, False])
def test_the_parents_flag_wins_over_the_sampling_rate(flag: bool) -> None:
    parent = TraceContext(TRACE, SPAN, flag)
    place = new_span(parent, 0.0 if flag else 1.0, random.Random(1).getrandbits)
    assert place.context.is_sampled is flag
    assert place.context.trace_id == TRACE
    assert place.context.span_id != SPAN
    assert place.parent_span_id == SPAN


def test_a_root_span_has_new_ids_and_no_parent() -> None:
    place = new_span(None, 1.0, random.Random(1).getrandbits)
    assert place.parent_span_id == ""
    assert parse_traceparent(format_traceparent(place.context)) == place.context


def test_random_zeros_make_no_invalid_ids() -> None:
    place = new_span(None, 1.0, lambda bits: 0)
    assert parse_traceparent(format_traceparent(place.context)) is not None


def test_the_rate_is_the_fraction_of_traces_that_are_sampled() -> None:
    bits = random.Random(7).getrandbits
    sampled = sum(new_span(None, 0.25, bits).context.is_sampled for _ in range(4000))
    assert 900 < sampled < 1100


@given(st.integers(0, 2**128 - 1))
def test_rate_one_samples_all_and_rate_zero_none(trace: int) -> None:
    assert is_sampled(trace, 1.0)
    assert not is_sampled(trace, 0.0)
