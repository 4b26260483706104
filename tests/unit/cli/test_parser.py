import pytest

from salver.cli.options import SETTINGS
from salver.cli.parser import parse_command, parse_serve, serve_parser
from salver.errors import SettingsError


def test_targets_and_flags_may_be_mixed() -> None:
    targets, flags = parse_serve(["a.onnx", "--workers", "2", "b.ubj", "--log-requests"])
    assert targets == ["a.onnx", "b.ubj"]
    assert flags == {"workers": "2", "log_requests": True}


def test_a_flag_not_given_is_not_there() -> None:
    assert parse_serve(["a.onnx"]) == (["a.onnx"], {})


def test_what_can_be_repeated_is_collected() -> None:
    targets, flags = parse_serve(["-f", "a.yaml", "--filename=b/", "--map", "gs://x=./x"])
    assert targets == []
    assert flags == {"filename": ["a.yaml", "b/"], "map": ["gs://x=./x"]}


def test_the_flags_of_every_command_may_stand_before_it() -> None:
    assert parse_command(["-n", "a", "--server=http://b", "get", "isvc"]) == (
        "get",
        ["-n", "a", "--server=http://b", "isvc"],
    )


def test_a_switch_can_be_turned_off() -> None:
    assert parse_serve(["a", "--no-log-requests"])[1] == {"log_requests": False}


def test_every_setting_is_explained_in_the_help() -> None:
    text = serve_parser().format_help()
    assert [setting.flag for setting in SETTINGS if setting.flag not in text] == []


def test_the_help_shows_examples_and_fits_the_screen() -> None:
    text = serve_parser().format_help()
    assert "examples:\n  salver serve examples/iris.skops" in text
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--htp-port=1"], "no such option --htp-port=1, did you mean --http-port?"),
        (["a", "--http-port"], "argument --http-port: expected one argument"),
        (["a", "--work", "2"], "no such option --work, did you mean --workers?"),
    ],
)
def test_a_wrong_command_line_is_refused_with_a_pointer_to_the_help(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_serve(arguments)
    (problem,) = caught.value.problems
    assert problem.startswith(message)
    assert problem.endswith("; see salver serve --help")


def test_a_model_without_a_command_is_told_how_it_is_served() -> None:
    with pytest.raises(SettingsError, match=r"to serve it: salver serve iris\.skops"):
        parse_command(["iris.skops"])


def test_a_misspelt_command_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean salver serve"):
        parse_command(["sreve", "x"])
