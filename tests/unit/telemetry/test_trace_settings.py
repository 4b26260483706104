"""Trace settings: what is set, cleared and refused, and which requests are sampled by them."""

from __future__ import annotations

import pytest

from salver.errors import InvalidInput, Unsupported
from salver.telemetry.trace_settings import TraceBook, Wanted, settings_in

ON: Wanted = {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]}


def shown(book: TraceBook, model: str = "") -> list[str]:
    found = book.shown(model)
    return [found[name][0] for name in ("trace_level", "trace_rate", "trace_count")]


def test_nothing_is_traced_at_first() -> None:
    book = TraceBook("/t/trace.json")
    assert book.shown() == {
        "trace_level": ("OFF",),
        "trace_rate": ("1000",),
        "trace_count": ("-1",),
        "log_frequency": ("0",),
        "trace_file": ("/t/trace.json",),
        "trace_mode": ("triton",),
    }
    assert not book.sampler("m").samples()


def test_a_model_has_the_global_settings_where_it_has_none_of_its_own() -> None:
    book = TraceBook("f")
    book.update("m", {"trace_rate": ["4"]})
    book.update("", {"trace_rate": ["9"], "log_frequency": ["7"]})
    assert shown(book, "m") == ["OFF", "4", "-1"]
    assert book.shown("m")["log_frequency"] == ("7",)
    assert shown(book, "other") == shown(book) == ["OFF", "9", "-1"]
    book.update("m", {"trace_rate": None})
    assert shown(book, "m") == ["OFF", "9", "-1"]
    book.update("", {"trace_rate": None, "log_frequency": None})
    assert shown(book) == ["OFF", "1000", "-1"]


@pytest.mark.parametrize(("rate", "traced"), [(1, 7), (2, 3), (3, 2), (8, 0), (0, 0)])
def test_one_request_of_so_many_is_traced(rate: int, traced: int) -> None:
    book = TraceBook("f")
    book.update("", {**ON, "trace_rate": [str(rate)]})
    assert [book.sampler("m").samples() for _ in range(7)].count(True) == traced


def test_so_many_are_traced_in_all_and_what_is_left_is_shown() -> None:
    book = TraceBook("f")
    book.update("m", {**ON, "trace_count": ["2"]})
    assert [book.sampler("m").samples() for _ in range(3)] == [True, True, False]
    assert book.shown("m")["trace_count"] == ("0",)
    assert not book.sampler("m").is_on
    book.update("m", {"log_frequency": ["5"]})
    assert book.shown("m")["trace_count"] == ("0",), "another setting gives no new traces"
    book.update("m", {"trace_count": ["2"]})
    assert book.sampler("m").samples()


def test_requests_of_a_model_count_by_its_own_settings() -> None:
    book = TraceBook("f")
    book.update("m", {**ON, "trace_rate": ["2"]})
    assert [book.sampler("m").samples(), book.sampler("n").samples()] == [False, False]
    assert book.sampler("m").samples()


def test_levels_are_told_in_their_own_order() -> None:
    both = settings_in({"trace_level": ["TENSORS", "TIMESTAMPS"]})
    assert both == {"trace_level": ("TIMESTAMPS", "TENSORS")}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"trace_level": ["BAD"]}, "'BAD': give one or more of OFF, TIMESTAMPS, TENSORS"),
        ({"trace_level": []}, "empty"),
        ({"trace_level": ["OFF", "TENSORS"]}, "only one trace level 'OFF'"),
        ({"trace_rate": ["x"]}, "Unable to parse 'trace_rate', got: 'x'"),
        ({"trace_rate": ["-1"]}, "0 to 4294967295"),
        ({"trace_rate": ["99999999999"]}, "0 to 4294967295"),
        ({"trace_rate": ["1", "2"]}, "expect only 1 value for 'trace_rate'"),
        ({"trace_rate": ["٣"]}, "Unable to parse"),
        ({"trace_count": ["-2"]}, "-1 to"),
        ({"log_frequency": ["1e3"]}, "Unable to parse 'log_frequency'"),
        ({"rate": ["1"]}, "no trace setting 'rate': use trace_level, trace_rate"),
    ],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(wanted: Wanted, message: str) -> None:
    book = TraceBook("f")
    before = book.shown("m")
    with pytest.raises(InvalidInput, match=message):
        book.update("m", {**ON, "trace_count": ["5"], **wanted})
    assert book.shown("m") == before


@pytest.mark.parametrize("values", [["/etc/passwd"], None])
def test_nobody_may_say_which_file_is_written(values: list[str] | None) -> None:
    with pytest.raises(Unsupported, match="trace file location can not be updated"):
        settings_in({"trace_file": values})


def test_the_mode_stays_as_it_is() -> None:
    assert settings_in({"trace_mode": ["triton"]}) == {}
    with pytest.raises(Unsupported, match="--otlp-endpoint"):
        settings_in({"trace_mode": ["opentelemetry"]})
