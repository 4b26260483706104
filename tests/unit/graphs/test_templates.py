"""Templates in the containers of serving runtimes."""

from __future__ import annotations

import pytest

from salver.graphs.selection import PlanError
from salver.graphs.templates import render_args, rendered
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container, EnvVar


def test_kserve_s_templates_are_filled_in() -> None:
    args = [
        "--model_name={{.Name}}",
        "--class={{ .Labels.modelClass }}",
        '{{index .Annotations "a.b/c"}}',
        "{{- .Namespace -}}",
        "--plain",
    ]
    made = render_args(args, "iris", {"modelClass": "Net"}, {"a.b/c": "x"}, "team")
    assert made == ("--model_name=iris", "--class=Net", "x", "team", "--plain")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.Labels.modelClass}}", "names a label it does not have: add 'modelClass'"),
        ('{{index .Annotations "a/b"}}', "names an annotation it does not have: add 'a/b'"),
        ("{{range .Labels}}", "is not understood"),
    ],
)
def test_templates_that_cannot_be_filled_in_are_told(template: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        render_args([template], "iris", {}, {})


def test_a_container_is_filled_in_everywhere() -> None:
    container = Container(
        image="server:{{.Labels.version}}",
        command=("serve", "{{.Name}}"),
        args=("--ns={{.Namespace}}",),
        env=(EnvVar("NAME", "{{.Name}}"),),
    )
    made = rendered(container, ObjectMeta(name="iris", labels={"version": "2"}))
    assert made.image == "server:2"
    assert (made.command, made.args) == (("serve", "iris"), ("--ns=default",))
    assert made.env == (EnvVar("NAME", "iris"),)
