"""The command line of a command or container, made from what a manifest says.

Kubernetes expands `$(NAME)`, and `/mnt/models` is where a model lies on a cluster: here it lies
elsewhere. Pure but for `is_kserve_program`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

MOUNT_PATH = "/mnt/models"
_VARIABLE = re.compile(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.\-]*)\))")
_MOUNT = re.compile(r"/mnt/models(?=$|[/\s:,;'\"])")
_KSERVE = re.compile(rb"^\s*(?:from|import)\s+kserve\b", re.MULTILINE)
_MOST_FILES = 50
_MOST_BYTES = 256 << 10


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
    return _with_port(given, "--http_port", port)


def served_args(args: Sequence[str], *, port: int, grpc_port: int) -> tuple[str, ...]:
    """The arguments of a program that is a `kserve.ModelServer`, with ports of its own.

    It does not look at `PORT`, and its gRPC server would take 8081, which may be Salver's.
    """
    return _with_port(_with_port(args, "--http_port", port), "--grpc_port", grpc_port)


def _with_port(args: Sequence[str], flag: str, port: int) -> tuple[str, ...]:
    """The arguments with this port under the flag, in place of one that is there."""
    given = list(args)
    for index, each in enumerate(given):
        if each.startswith(f"{flag}="):
            given[index] = f"{flag}={port}"
            return tuple(given)
        if each == flag and index + 1 < len(given):
            given[index + 1] = str(port)
            return tuple(given)
    return (*given, flag, str(port))


def is_kserve_program(command: Sequence[str], working_dir: str) -> bool:
    """Whether the Python program that the command runs imports the `kserve` SDK. Reads it."""
    for path in islice(_sources(command, Path(working_dir or ".")), _MOST_FILES):
        try:
            with path.open("rb") as file:
                text = file.read(_MOST_BYTES)
        except OSError:
            continue
        if _KSERVE.search(text):
            return True
    return False


def _sources(command: Sequence[str], folder: Path) -> Iterator[Path]:
    """The files of the program, as far as they lie beside it."""
    for index, word in enumerate(command):
        if word.endswith(".py"):
            yield folder / word
            return
        if word == "-m" and index + 1 < len(command):
            inner = folder / command[index + 1].replace(".", "/")
            yield inner.with_suffix(".py")
            yield from sorted(inner.glob("*.py"))
            return
