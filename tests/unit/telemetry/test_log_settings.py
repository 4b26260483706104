"""Log settings changed while the server runs, seen in what is written."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from salver.errors import InvalidInput, Unsupported
from salver.telemetry.log_settings import LogControl, LogSettings, changed, log_control, settings_at
from salver.telemetry.logs import configure, log_event

LOG = logging.getLogger("salver.test")
ALL = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


@pytest.fixture(autouse=True)
def _untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), logging.getLogger("salver").level
    yield
    root.handlers[:] = handlers
    logging.getLogger("salver").setLevel(level)


def started(level: str = "info", log_format: str = "text") -> tuple[LogControl, io.StringIO]:
    stream = io.StringIO()
    return log_control(level, log_format, configure(level, log_format, stream)), stream


def written(stream: io.StringIO) -> list[str]:
    """The levels of the lines that come out of one at each level."""
    stream.seek(0)
    stream.truncate()
    for level in ALL:
        log_event(LOG, level, "happened")
    return re.findall(r"\b(debug|info|warning|error)\b", stream.getvalue())


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_server_begins_with_the_level_it_was_started_with(level: str) -> None:
    control, stream = started(level)
    before = written(stream)
    assert before[0] == level
    control.update({})
    assert written(stream) == before


@pytest.mark.parametrize(
    ("wanted", "levels"),
    [
        ({"log_verbose_level": 1}, ["debug", "info", "warning", "error"]),
        ({"log_info": False}, ["warning", "error"]),
        ({"log_warning": False}, ["info", "error"]),
        ({"log_error": False}, ["info", "warning"]),
        ({"log_info": False, "log_warning": False, "log_error": False}, []),
        ({"log_info": None}, ["info", "warning", "error"]),
    ],
)
def test_each_level_is_turned_on_and_off_by_itself(
    wanted: dict[str, Any], levels: list[str]
) -> None:
    control, stream = started()
    control.update(wanted)
    assert written(stream) == levels
    control.update(
        {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0}
    )
    assert written(stream) == ["info", "warning", "error"]


def test_lines_have_whole_dates_on_demand() -> None:
    control, stream = started()
    assert control.update({"log_format": "ISO8601"}).log_format == "ISO8601"
    written(stream)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    happened", stream.getvalue())
    control.update({"log_format": "default"})
    written(stream)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} info    happened", stream.getvalue())


def test_json_lines_stay_json() -> None:
    control, stream = started(log_format="json")
    control.update({"log_format": "ISO8601"})
    assert written(stream) == ["info", "warning", "error"]
    assert stream.getvalue().startswith('{"ts": "')


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"log_info": 1}, "give true or false"),
        ({"log_error": "no"}, "give true or false"),
        ({"log_verbose_level": -1}, "whole number"),
        ({"log_verbose_level": 1.5}, "whole number"),
        ({"log_verbose_level": True}, "whole number"),
        ({"log_verbose_level": 1 << 40}, "whole number"),
        ({"log_format": "xml"}, "default, ISO8601"),
        ({"log_format": 1}, "default, ISO8601"),
        ({"log_warnings": False}, "no log setting 'log_warnings'"),
    ],
)
def test_a_wrong_setting_is_refused_and_changes_nothing(
    wanted: dict[str, Any], message: str
) -> None:
    control, _ = started()
    before = control.settings
    with pytest.raises(InvalidInput, match=message):
        control.update({"log_info": False, **wanted})
    assert control.settings == before


def test_nobody_may_say_which_file_is_written() -> None:
    for value in ("/etc/passwd", "", None):
        with pytest.raises(Unsupported, match="log file location can not be updated"):
            changed(LogSettings(), {"log_file": value})


def test_settings_follow_from_the_level() -> None:
    assert settings_at("info") == LogSettings()
    assert settings_at("error") == LogSettings(log_info=False, log_warning=False)
    assert settings_at("debug").log_verbose_level == 1
