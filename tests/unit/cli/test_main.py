import os
import subprocess
import sys
from pathlib import Path

import pytest

from salver.cli.main import error_lines, main, read_toml
from salver.errors import LoadFailed, SettingsError


def run(*arguments: str, cwd: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "salver.cli.main", *arguments]
    env = {key: value for key, value in os.environ.items() if not key.startswith("SALVER_")}
    return subprocess.run(
        command, cwd=cwd, env=env | environ, capture_output=True, text=True, timeout=60
    )


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("salver 0.")


def test_wrong_settings_end_with_code_2_and_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "salver.toml").write_text("wrokers = 2\n")
    done = run("serve", "x.onnx", "--http-port", "no", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert sorted(done.stderr.splitlines()) == [
        "salver: --http-port: 'no' is not a whole number",
        "salver: wrokers in salver.toml: no such setting; did you mean workers?",
    ]


def test_a_missing_model_ends_with_code_1_and_one_line(tmp_path: Path) -> None:
    done = run("serve", "nothing.onnx", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("salver: ")
    assert "nothing.onnx" in line


def test_manifests_that_are_wrong_stop_serve_with_a_line_each(tmp_path: Path) -> None:
    text = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: A}\n"
    (tmp_path / "isvc.yaml").write_text(text + "spec: {predictor: {minReplica: 1}}\n")
    done = run("serve", "-f", "isvc.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("salver: isvc.yaml:") for line in lines)


def test_a_diff_that_fails_ends_with_code_2(tmp_path: Path) -> None:
    done = run("diff", "-f", "isvc.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "salver: isvc.yaml: cannot be read: No such file or directory; check -f\n"
    )


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run("serve", "nothing.onnx", cwd=tmp_path, SALVER_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_no_command_prints_the_help_and_fails(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 2
    assert "serve models over HTTP and gRPC" in done.stderr


def test_an_interrupt_leaves_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("salver.cli.parser.parse_command", interrupted)
    assert main(["serve"]) == 130


def test_an_error_of_many_lines_is_shown_on_one() -> None:
    assert error_lines(LoadFailed("model 'x':\n  bad\n")) == ("model 'x': bad",)


def test_an_unexpected_error_says_how_to_see_more() -> None:
    (line,) = error_lines(KeyError("a"))
    assert line == ("unexpected error: KeyError: 'a'; run again with SALVER_DEBUG=1 to see where")


def test_the_default_file_may_be_missing(tmp_path: Path) -> None:
    assert read_toml(tmp_path / "salver.toml", is_required=False) == {}


def test_a_file_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such settings file; check --config"):
        read_toml(tmp_path / "mine.toml", is_required=True)


def test_a_file_that_is_no_toml_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "salver.toml"
    path.write_text("workers = \n")
    with pytest.raises(SettingsError, match=r"is not valid TOML: .*line 1"):
        read_toml(path, is_required=False)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_toml(tmp_path, is_required=True)
