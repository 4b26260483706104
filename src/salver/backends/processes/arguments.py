"""The command line of a command or container, made from what a manifest says. Pure.

KServe's runtimes write Go templates in their arguments, Kubernetes expands `$(NAME)`, and
`/mnt/models` is where a model lies on a cluster: here it lies elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from salver.errors import LoadFailed

MOUNT_PATH = "/mnt/models"
_TEMPLATE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_FIELD = re.compile(r"\.(Name|Namespace)|\.(Labels|Annotations)\.([A-Za-z0-9_]+)")
_INDEX = re.compile(r"index\s+\.(Labels|Annotations)\s+\"([^\"]+)\"")
_VARIABLE = re.compile(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.\-]*)\))")
_MOUNT = re.compile(r"/mnt/models(?=$|[/\s:,;'\"])")


def render_args(
    args: Sequence[str],
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    namespace: str = "default",
) -> tuple[str, ...]:
    """The arguments with `{{.Name}}`, `{{.Labels.x}}` and `{{.Annotations.x}}` filled in.

    Raises `LoadFailed` for a template that is none of these or names what is not there.
    """
    sources = {"Labels": labels, "Annotations": annotations}
    fixed = {"Name": name, "Namespace": namespace}

    def value_of(match: re.Match[str]) -> str:
        expression = match[1]
        field = _FIELD.fullmatch(expression)
        if field is not None and field[1]:
            return fixed[field[1]]
        index = _INDEX.fullmatch(expression)
        if field is None and index is None:
            raise LoadFailed(
                f"the argument template '{match[0]}' of '{name}' is not understood: use .Name, "
                ".Labels.x, .Annotations.x"
            )
        kind, key = (field[2], field[3]) if field is not None else (index[1], index[2])  # type: ignore[index]
        if key not in sources[kind]:
            raise LoadFailed(
                f"the argument template '{match[0]}' of '{name}' names a {kind[:-1].lower()} it "
                f"does not have: add '{key}' to its metadata"
            )
        return sources[kind][key]

    return tuple(_TEMPLATE.sub(value_of, each) for each in args)


def expand_variables(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: unknown names stay, `$$` is one dollar sign."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return env.get(match[2], match[0])

    return _VARIABLE.sub(value_of, text)


def at_model(text: str, model_path: str) -> str:
    """The text with `/mnt/models` replaced by where the model lies here."""
    return _MOUNT.sub(lambda _: model_path, text) if model_path else text


def process_env(
    inherited: Mapping[str, str],
    own: Sequence[tuple[str, str]],
    *,
    name: str,
    port: int,
    uri: str,
    model_path: str,
) -> dict[str, str]:
    """The environment of a command: this process's, what is promised to it, and its own.

    Salver's own settings are kept from it: it is no part of Salver.
    """
    env = {key: value for key, value in inherited.items() if not key.startswith("SALVER_")}
    env["PYTHONUNBUFFERED"] = "1"
    env |= _promised(name=name, port=port, uri=uri, model_path=model_path)
    for key, value in own:
        env[key] = at_model(expand_variables(value, env), model_path)
    # A port written in the manifest is the container's; here the process must have its own.
    env["PORT"] = str(port)
    return env


def _promised(*, name: str, port: int, uri: str, model_path: str) -> dict[str, str]:
    promised = {"PORT": str(port), "MODEL_NAME": name}
    if uri:
        promised["STORAGE_URI"] = uri
    if model_path:
        promised["MODEL_DIR"] = model_path
    return promised


def process_args(args: Sequence[str], env: Mapping[str, str], model_path: str) -> tuple[str, ...]:
    """The arguments of a command, variables expanded and paths where they are here."""
    return tuple(at_model(expand_variables(each, env), model_path) for each in args)


def controller_args(
    args: Sequence[str], *, name: str, predictor_host: str, port: int
) -> tuple[str, ...]:
    """The arguments of a transformer or explainer with those that KServe adds to them.

    `--model_name`, `--predictor_host` and `--http_port` are added unless they are there; a port
    that is there becomes this process's, since no two can have the one of the manifest.
    """
    given = list(args)
    for flag, value in (("--model_name", name), ("--predictor_host", predictor_host)):
        if value and not any(each == flag or each.startswith(f"{flag}=") for each in given):
            given += [flag, value]
    for index, each in enumerate(given):
        if each.startswith("--http_port="):
            given[index] = f"--http_port={port}"
            return tuple(given)
        if each == "--http_port" and index + 1 < len(given):
            given[index + 1] = str(port)
            return tuple(given)
    return (*given, "--http_port", str(port))
