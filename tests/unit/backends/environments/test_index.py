"""pip's configuration, as uv is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from salver.backends.environments.index import (
    IndexSettings,
    configured_index,
    index_settings,
    pip_files,
    pip_options,
)


def test_pips_files_and_variables_are_read_weakest_first() -> None:
    texts = [
        "[global]\nindex-url = http://a/simple\ntimeout = 5\n",
        "[install]\nextra_index_url =\n  http://b/simple\n  http://c/simple\n",
        "[global]\nindex-url = http://d/simple\n",
        "no configuration at all",
    ]
    assert pip_options({"PIP_TRUSTED_HOST": "d"}, texts) == {
        "index-url": "http://d/simple",
        "extra-index-url": "\nhttp://b/simple\nhttp://c/simple",
        "trusted-host": "d",
    }


@pytest.mark.parametrize(
    ("pip", "variables"),
    [
        ({}, {}),
        ({"index-url": "http://a/simple"}, {"UV_DEFAULT_INDEX": "http://a/simple"}),
        (
            {"extra-index-url": "\nhttp://b\nhttp://c"},
            {"UV_INDEX": "http://b http://c", "UV_INDEX_STRATEGY": "unsafe-best-match"},
        ),
        ({"find-links": "/wheels http://w"}, {"UV_FIND_LINKS": "/wheels,http://w"}),
        ({"trusted-host": "a\nb"}, {"UV_INSECURE_HOST": "a b"}),
        ({"cert": "/ca.pem"}, {"SSL_CERT_FILE": "/ca.pem"}),
    ],
)
def test_each_option_has_its_variable(pip: dict[str, str], variables: dict[str, str]) -> None:
    assert index_settings({}, pip) == IndexSettings(variables)


def test_no_index_is_an_option_since_uv_has_no_variable_for_it() -> None:
    assert index_settings({}, {"no-index": "true"}) == IndexSettings({}, ("--no-index",))
    assert index_settings({}, {"no-index": "0"}) == IndexSettings()


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"])
def test_what_uv_has_been_told_itself_wins(name: str) -> None:
    assert index_settings({name: "x"}, {"index-url": "http://a"}) == IndexSettings()


def test_a_certificate_that_is_set_for_all_stays() -> None:
    assert index_settings({"SSL_CERT_FILE": "/mine"}, {"cert": "/ca.pem"}) == IndexSettings()


def test_the_machines_files_are_found_and_uvs_own_go_first(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert pip_files(environ, tmp_path) == [tmp_path / "pip.conf"]
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://a\n")
    found = configured_index(environ, tmp_path)
    assert found.variables == {"UV_DEFAULT_INDEX": "http://a"}
    (tmp_path / ".config/uv").mkdir(parents=True)
    (tmp_path / ".config/uv/uv.toml").write_text("")
    assert configured_index(environ, tmp_path) == IndexSettings()
