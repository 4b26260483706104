import io

import pytest
from tests.unit.cli.conftest import NOW_S
from tests.unit.cli.objects import condition, service

from salver.cli.ages import age, duration, span
from salver.cli.progress import ProgressLines, is_rolled_out, step_of
from salver.cli.terminal import Style, columns, style_of
from salver.errors import CommandFailed


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (601, "10m"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (50 * 3600, "2d2h"),
        (30 * 86400, "30d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_spans_read_as_kubectls(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_an_age_is_counted_from_a_time_in_any_zone() -> None:
    assert age("2026-11-21T08:09:00Z", NOW_S) == "60s"
    assert age("2026-11-21T09:09:00+01:00", NOW_S) == "60s"
    assert age("soon", NOW_S) == "<unknown>"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1m30s", 90), ("1.5m", 90), ("500ms", 0.5), ("5", 5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "soon", "5x", "m5"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(CommandFailed, match=r"--timeout: .* is not a duration; give such as"):
        duration(text, "--timeout")


def test_columns_are_as_wide_as_their_widest_cell_wide_characters_included() -> None:
    rows = [["名前", "1"], ["ab", "10"]]
    assert columns(rows, right=frozenset({1})) == ["名前    1", "ab     10"]


def test_colours_are_for_terminals_that_want_them() -> None:
    assert style_of(Screen(), {}).is_coloured
    assert not style_of(Screen(), {"NO_COLOR": "1"}).is_coloured
    assert not style_of(Screen(), {"TERM": "dumb"}).is_coloured
    assert not style_of(io.StringIO(), {}).is_coloured


def test_a_bar_is_full_to_its_percent() -> None:
    assert Style().bar(50, 4) == "██░░"
    assert Style(is_unicode=False).bar(250, 4) == "####"


def test_on_a_terminal_one_line_moves_and_goes_away() -> None:
    screen = Screen()
    lines = ProgressLines(screen, Style())
    lines.show("iris", "loading")
    lines.show("iris", "ready")
    lines.clear()
    assert "\n" not in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_elsewhere_each_step_is_a_line() -> None:
    stream = io.StringIO()
    lines = ProgressLines(stream, Style())
    for step in ("loading", "loading", "ready"):
        lines.show("iris", step)
    lines.clear()
    assert stream.getvalue() == "iris: loading\niris: ready\n"


@pytest.mark.parametrize(
    ("conditions", "step"),
    [
        (
            [condition("LatestDeploymentReady", "Unknown", "Downloading", "1 MiB, 50%")],
            "downloading: ██████████░░░░░░░░░░ 1 MiB, 50%",
        ),
        ([condition("Ready", "Unknown", "BuildingEnvironment")], "building environment"),
        ([condition("Ready", "True")], "ready"),
    ],
)
def test_a_step_says_what_goes_on(conditions: list[dict[str, str]], step: str) -> None:
    assert step_of(service("iris", *conditions), Style()) == step


def test_a_status_of_an_older_spec_is_no_success() -> None:
    obj = service()
    assert is_rolled_out(obj)
    obj["metadata"]["generation"] = 3
    assert not is_rolled_out(obj)
