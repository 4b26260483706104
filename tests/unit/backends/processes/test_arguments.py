"""Command lines made from manifests."""

from __future__ import annotations

import pytest

from salver.backends.processes.arguments import (
    at_model,
    controller_args,
    expand_variables,
    process_env,
    render_args,
)
from salver.errors import LoadFailed


def test_kserve_s_templates_are_filled_in() -> None:
    args = [
        "--model_name={{.Name}}",
        "--class={{ .Labels.modelClass }}",
        '{{index .Annotations "a.b/c"}}',
        "--plain",
    ]
    rendered = render_args(args, "iris", {"modelClass": "Net"}, {"a.b/c": "x"})
    assert rendered == ("--model_name=iris", "--class=Net", "x", "--plain")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.Labels.modelClass}}", "names a label it does not have: add 'modelClass'"),
        ("{{range .Labels}}", "is not understood"),
    ],
)
def test_templates_that_cannot_be_filled_in_are_told(template: str, reason: str) -> None:
    with pytest.raises(LoadFailed, match=reason):
        render_args([template], "iris", {}, {})


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
