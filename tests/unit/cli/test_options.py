from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.cli.options import SETTINGS, resolve, shown
from salver.errors import SettingsError
from salver.settings import ServeSettings, Unit


def problems_of(
    flags: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    toml: dict[str, Any] | None = None,
    *,
    target_count: int = 1,
) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        resolve(flags or {}, environ or {}, toml or {}, target_count=target_count)
    return caught.value.problems


def test_with_nothing_given_the_defaults_hold() -> None:
    assert resolve({}, {}, {}) == ServeSettings()


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file() -> None:
    toml = {"workers": 2, "http_port": 1, "host": "::1"}
    environ = {"SALVER_WORKERS": "3", "SALVER_HTTP_PORT": "2"}
    settings = resolve({"workers": "4"}, environ, toml)
    assert (settings.workers, settings.http_port, settings.host) == (4, 2, "::1")


def test_an_empty_variable_counts_as_not_given() -> None:
    assert resolve({}, {"SALVER_WORKERS": ""}, {"workers": 2}).workers == 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", 1024), ("64MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("2kB", 2000), (4096, 4096)],
)
def test_a_size_takes_a_unit_or_plain_bytes(text: Any, size: int) -> None:
    assert resolve({"max_body_size": text}, {}, {}).max_body_size == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("5ms", 0.005), ("250us", 0.00025), ("2m", 120.0), ("1.5", 1.5), (7, 7.0)],
)
def test_a_duration_takes_a_unit_or_plain_seconds(text: Any, seconds: float) -> None:
    settings = resolve({}, {}, {"max_batch_delay": text})
    assert settings.max_batch_delay == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("Yes", True), ("off", False), ("false", False)]
)
def test_a_switch_takes_the_usual_words(text: str, value: bool) -> None:
    assert resolve({}, {"SALVER_LOG_REQUESTS": text}, {}).log_requests is value


@pytest.mark.parametrize(
    ("flags", "environ", "toml"),
    [
        ({"filename": ["a.yaml", "b c/"]}, {"SALVER_FILENAME": "x"}, {}),
        ({}, {"SALVER_FILENAME": "a.yaml, b c/"}, {}),
        ({}, {"SALVER_FILENAME": "a.yaml\nb c/\n"}, {}),
        ({}, {}, {"filename": ["a.yaml", "b c/"]}),
    ],
)
def test_a_list_is_read_from_flags_variables_and_the_file(
    flags: dict[str, Any], environ: dict[str, str], toml: dict[str, Any]
) -> None:
    assert resolve(flags, environ, toml, target_count=0).filename == ("a.yaml", "b c/")


def test_another_server_s_variable_is_read_where_ours_is_not_set() -> None:
    peer = {"PROPAGATE_HEADERS": "Authorization, ^X-Team"}
    assert resolve({}, peer, {}).propagate_headers == ("Authorization", "^X-Team")
    both = {**peer, "SALVER_PROPAGATE_HEADERS": "^X-Mine"}
    assert resolve({}, both, {}).propagate_headers == ("^X-Mine",)
    assert resolve({}, {}, {}).propagate_headers == ()


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert resolve({}, {}, {"state_dir": "~/kept"}).state_dir == Path("/home/ada/kept")


def test_all_problems_are_reported_at_once() -> None:
    found = problems_of(
        {"http_port": "99999", "tls_cert": "cert.pem"},
        {"SALVER_WORKERS": "many"},
        {"max_body_size": "3mob", "wrokers": 2},
    )
    assert len(found) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"http_port": "99999"}, "--http-port: 99999 is out of range; give 0 to 65535"),
        ({"workers": "0"}, "--workers: 0 is out of range; give 1 to 1024"),
        ({"workers": "1.5"}, "--workers: '1.5' is not a whole number"),
        ({"workers": ""}, "--workers: '' is not a whole number"),
        ({"max_batch_delay": "soon"}, "--max-batch-delay: 'soon' is not a duration; give seconds"),
        ({"max_batch_delay": "-1s"}, "--max-batch-delay: -1.0 is out of range; give 0 or more"),
        ({"max_batch_delay": "nan"}, "--max-batch-delay: 'nan' is not a duration"),
        ({"max_body_size": "1e99"}, "--max-body-size: '1e99' is not a size"),
        ({"trace_sample": "2"}, "--trace-sample: 2.0 is out of range; give 0 to 1"),
        ({"map": ["gs://a"]}, "--map: 'gs://a' is not PREFIX=TARGET; give such as gs://bucket="),
        ({"propagate_headers": ["x["]}, "--propagate-headers: 'x[' is no regular expression: "),
        ({"log_format": "xml"}, "--log-format: 'xml' is not one of text, json"),
        ({"tls_key": "key.pem"}, "--tls-key is given without --tls-cert"),
        ({"grpc_port": "8080"}, "--http-port and --grpc-port are both 8080"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(
    flags: dict[str, str], message: str
) -> None:
    (problem,) = problems_of(flags)
    assert problem.startswith(message)


def test_one_name_for_two_targets_is_refused() -> None:
    (problem,) = problems_of({"name": "iris"}, target_count=2)
    assert "--name iris is given with 2 targets" in problem


def test_a_list_with_numbers_is_refused() -> None:
    (problem,) = problems_of(toml={"filename": [1]})
    assert problem.startswith("filename in salver.toml: [1] is not a list of texts")


def test_a_name_without_a_target_is_refused() -> None:
    (problem,) = problems_of({"name": "iris"}, target_count=0)
    assert problem.startswith("--name iris is given without a TARGET")


def test_an_unknown_key_of_the_file_names_the_nearest_known_one() -> None:
    (problem,) = problems_of(toml={"http-prt": 9000})
    assert problem == "http-prt in salver.toml: no such setting; did you mean http_port?"


def test_a_key_like_no_other_points_to_the_help() -> None:
    (problem,) = problems_of(toml={"zzz": 1})
    assert problem == "zzz in salver.toml: no such setting; salver serve --help lists all settings"


@pytest.mark.parametrize("value", [True, 1.5, "x", [1], {"a": 1}, None])
def test_a_toml_value_of_the_wrong_type_is_refused(value: Any) -> None:
    (problem,) = problems_of(toml={"workers": value})
    assert problem.startswith("workers in salver.toml: ")


def test_a_number_where_text_belongs_is_refused() -> None:
    (problem,) = problems_of(toml={"host": 1})
    assert problem == "host in salver.toml: 1 is not text; write it in quotes"


def test_a_misspelt_variable_is_refused() -> None:
    (problem,) = problems_of(environ={"SALVER_HTP_PORT": "1"})
    assert problem == "SALVER_HTP_PORT: no such variable; did you mean SALVER_HTTP_PORT?"


def test_the_variables_that_kubernetes_sets_beside_a_service_are_let_be() -> None:
    environ = {
        "SALVER_SERVICE_HOST": "10.0.0.1",
        "SALVER_SERVICE_PORT": "80",
        "SALVER_SERVICE_PORT_HTTP": "80",
        "SALVER_PORT": "tcp://10.0.0.1:80",
        "SALVER_PORT_80_TCP_ADDR": "10.0.0.1",
        "SALVER_DEBUG": "1",
    }
    assert resolve({}, environ, {}) == ServeSettings()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_default_reads_back_as_it_is_shown(setting: Any) -> None:
    if not setting.is_switch and setting.default != "":
        assert setting.parse(shown(setting.default, setting.option.unit)) == setting.default


@given(st.integers(0, 1 << 50))
def test_a_size_reads_back_as_it_is_shown(size: int) -> None:
    setting = next(setting for setting in SETTINGS if setting.key == "worker_memory")
    assert setting.parse(shown(size, Unit.BYTES)) == size


@given(st.sampled_from(SETTINGS), st.text(max_size=20))
def test_any_text_is_read_or_refused_in_one_line(setting: Any, text: str) -> None:
    try:
        resolve({setting.key: text}, {}, {})
    except SettingsError as error:
        assert all(problem.isprintable() for problem in error.problems)
