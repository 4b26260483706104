"""Command lines made from manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from salver.backends.processes.arguments import (
    at_model,
    controller_args,
    expand_variables,
    is_kserve_program,
    process_env,
    served_args,
)


def test_variables_expand_as_in_a_pod() -> None:
    env = {"PORT": "99"}
    assert expand_variables("--port=$(PORT) $(NOPE) $$(PORT) $PORT", env) == (
        "--port=99 $(NOPE) $(PORT) $PORT"
    )


def test_the_mount_path_becomes_the_model_s_folder_and_nothing_else() -> None:
    assert at_model("--dir=/mnt/models", "/srv/x") == "--dir=/srv/x"
    assert at_model("/mnt/models/a:/mnt/models2", "/srv/x") == "/srv/x/a:/mnt/models2"
    assert at_model("/mnt/models", "") == "/mnt/models"


def test_a_process_gets_its_own_port_and_none_of_salver_s_settings() -> None:
    env = process_env(
        {"PATH": "/bin", "SALVER_API_KEY": "secret"},
        [("PORT", "8080"), ("DIR", "/mnt/models/a"), ("URL", "http://h:$(PORT)")],
        name="iris",
        port=99,
        uri="s3://b/iris",
        model_path="/srv/x",
    )
    assert env["PORT"] == "99"
    assert (env["DIR"], env["MODEL_DIR"], env["MODEL_NAME"]) == ("/srv/x/a", "/srv/x", "iris")
    assert (env["STORAGE_URI"], env["PATH"]) == ("s3://b/iris", "/bin")
    assert "SALVER_API_KEY" not in env


def test_transformers_get_the_arguments_that_kserve_adds() -> None:
    made = controller_args(["-m", "x"], name="iris", predictor_host="h:1/p", port=9)
    assert made == (
        *("-m", "x", "--model_name", "iris", "--predictor_host", "h:1/p", "--http_port", "9"),
    )
    own = ["--model_name=a", "--predictor_host", "b", "--http_port", "8080"]
    assert controller_args(own, name="iris", predictor_host="h", port=9) == (*own[:4], "9")
    assert controller_args(["--http_port=8080"], name="i", predictor_host="", port=9) == (
        *("--http_port=9", "--model_name", "i"),
    )


def test_a_kserve_program_gets_both_of_its_ports() -> None:
    made = served_args(["python", "x.py", "--http_port", "8080"], port=9, grpc_port=10)
    assert made == ("python", "x.py", "--http_port", "9", "--grpc_port", "10")
    assert served_args(["--grpc_port=8081"], port=9, grpc_port=10) == (
        *("--grpc_port=10", "--http_port", "9"),
    )


@pytest.mark.parametrize(
    ("command", "is_one"),
    [
        (("python", "own.py"), True),
        (("python", "other.py"), False),
        (("python", "-m", "pack", "--x", "own.py"), True),
        (("python", "-m", "other"), False),
        (("python", "absent.py"), False),
        (("serve",), False),
    ],
)
def test_a_kserve_program_is_known_by_what_it_imports(
    tmp_path: Path, command: tuple[str, ...], is_one: bool
) -> None:
    (tmp_path / "own.py").write_text("import os\nfrom kserve import Model\n")
    (tmp_path / "other.py").write_text("import kserves  # import kserve\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__main__.py").write_text("from .model import main\n")
    (tmp_path / "pack" / "model.py").write_text("  import kserve\n")
    assert is_kserve_program(command, str(tmp_path)) is is_one
