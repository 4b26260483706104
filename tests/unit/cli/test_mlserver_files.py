"""MLServer's `settings.json` as defaults of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from salver.cli.mlserver_files import find_server_file, read_defaults, split_files
from salver.errors import SettingsError


def test_only_what_the_file_says_is_a_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    given = {
        "http_port": "9000",
        "parallel_workers": 0,
        "debug": "false",
        "grpc_max_message_length": 1000,
    }
    file.write_text(json.dumps(given))
    defaults, notes, folder = read_defaults(file)
    assert defaults == {
        "http_port": 9000,
        "workers": 1,
        "log_level": "info",
        "max_body_size": 1000,
    }
    assert (notes, folder) == ([], "")


def test_what_has_no_meaning_here_is_noted_once_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"tracing_server": "otel:4317", "kafka_enabled": True}))
    _, notes, _ = read_defaults(file)
    assert len(notes) == 2
    assert any("kafka_enabled: has no meaning on this backend" in note for note in notes)
    assert any("give --otlp-endpoint" in note for note in notes)


def test_the_models_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"model_repository_root": "models"}))
    assert read_defaults(file)[2] == str(tmp_path / "models")


@pytest.mark.parametrize("text", ["{", '{"http_port": 70000}'])
def test_a_wrong_file_is_a_wrong_setting(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(SettingsError):
        read_defaults(file)


def test_mlservers_files_among_those_to_apply_are_models(tmp_path: Path) -> None:
    ours, models = split_files(["a.yaml", "m/model-settings.json", "m/settings.json"])
    assert (ours, models) == (["a.yaml"], ["m/model-settings.json", "m"])


def test_the_settings_lie_in_a_target_or_beside_a_models_file(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    for target in (tmp_path, tmp_path / "model-settings.json"):
        assert find_server_file(["nowhere", str(target)]) == tmp_path / "settings.json"
    assert find_server_file([str(tmp_path / "model.onnx")]) is None
