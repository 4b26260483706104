"""Reads the files beside a model that list its packages: requirements.txt, conda.yaml, MLmodel.

Owns their syntax, turned into PEP 508 lines. Follows no URL and leaves out what no package
index offers, saying so in a note; refuses to judge whether the packages exist.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from salver.errors import ArtifactError
from salver.inference.requirements import Requirements

_MAX_BYTES = 1 << 20
_MAX_YAML_BYTES = 16 << 20
"""An MLmodel has the signature too, which may be of many columns."""
_MAX_LINES = 20_000
_MAX_DEPTH = 5
_CONDA_PIN = re.compile(
    r"(?:[\w.-]+::)?(?P<name>[A-Za-z0-9_][\w.-]*)\s*(?P<version>[<>=!~].*|\s\S+)?\Z"
)
_CONDA_NAMES = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "matplotlib-base": "matplotlib",
    "tensorflow-base": "tensorflow",
    "typing_extensions": "typing-extensions",
}
_NOT_PYTHON_PACKAGES = frozenset(
    {"pip", "setuptools", "wheel", "openssl", "ca-certificates", "certifi-data", "tk", "sqlite"}
    | {"readline", "ncurses", "xz", "zlib", "bzip2", "mkl", "blas", "nomkl", "cudatoolkit"}
)
_TRACKERS = frozenset({"mlflow", "mlflow-skinny"})
"""What a model was logged with, which serving it here does not need."""


class _Lines(msgspec.Struct):
    """What has been gathered so far."""

    packages: list[str]
    constraints: list[str]
    notes: list[str]
    read: int = 0
    """Lines, those of included files too: files that include each other have no end."""


def requirements_beside(folder: Path) -> Requirements | None:
    """What the files in `folder` say, None if there is none of them.

    An MLflow model's own environment goes before a requirements.txt, that before a conda.yaml.
    Raises `ArtifactError` for a file that cannot be understood.
    """
    if (folder / "MLmodel").is_file() and (found := _mlflow(folder)) is not None:
        return found
    if (folder / "requirements.txt").is_file():
        return from_requirements(folder / "requirements.txt")
    for name in ("conda.yaml", "conda.yml", "environment.yml"):
        if (folder / name).is_file():
            return from_conda(folder / name)
    return None


def from_requirements(path: Path) -> Requirements:
    """A pip requirements file, with those that it includes."""
    lines = _Lines([], [], [])
    _read_requirements(path, lines.packages, lines, depth=0)
    return _finished(lines, origin=path.name)


def from_conda(path: Path) -> Requirements:
    """A conda environment: its pins as pip's, and the `pip:` list within."""
    content = _mapping(path)
    lines = _Lines([], [], [])
    python = ""
    entries = content.get("dependencies")
    _listed(path, entries, "dependencies")
    for entry in entries or ():
        if isinstance(entry, dict):
            for line in _listed(path, entry.get("pip"), "dependencies: pip"):
                _read_line(line, path, lines.packages, lines, depth=0)
            continue
        if not isinstance(entry, str):
            raise ArtifactError(f"{path}: dependencies holds a {type(entry).__name__}; give texts")
        name, version = _conda_pin(entry)
        if name == "python":
            python = version.lstrip("=~<> ").removesuffix(".*").split(",")[0]
        elif not name or name in _NOT_PYTHON_PACKAGES or name.startswith(("_", "lib")):
            lines.notes.append(f"{path.name}: '{entry}' is no Python package: left out")
        else:
            lines.packages.append(_CONDA_NAMES.get(name, name) + version)
    return _finished(lines, origin=path.name, python=python)


def _mlflow(folder: Path) -> Requirements | None:
    """The environment of an MLflow model: the files that its MLmodel names, or the usual ones."""
    flavors = _mapping(folder / "MLmodel").get("flavors")
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    env = function.get("env") if isinstance(function, dict) else None
    names = env if isinstance(env, dict) else {"conda": env} if isinstance(env, str) else {}
    names = {kind: name for kind, name in names.items() if isinstance(name, str)}
    python_env = _within(folder, names.get("virtualenv", "python_env.yaml"))
    if python_env is not None:
        content = _mapping(python_env)
        lines = _Lines([], [], [])
        for line in _listed(python_env, content.get("dependencies"), "dependencies"):
            _read_line(line, python_env, lines.packages, lines, depth=0)
        return _finished(lines, origin="MLmodel", python=str(content.get("python") or ""))
    conda = _within(folder, names.get("conda", "conda.yaml"))
    if conda is None:
        return None
    return msgspec.structs.replace(from_conda(conda), origin="MLmodel")


def _read_requirements(path: Path, target: list[str], lines: _Lines, depth: int) -> None:
    text = _text(path).replace("\\\n", " ")
    for line in text.splitlines():
        lines.read += 1
        if lines.read > _MAX_LINES:
            raise ArtifactError(
                f"{path}, with what it includes, has more than {_MAX_LINES} lines; shorten it"
            )
        _read_line(line, path, target, lines, depth)


def _read_line(line: str, path: Path, target: list[str], lines: _Lines, depth: int) -> None:
    """One line of a requirements file: a package, an inclusion, or an option with no effect."""
    line = re.sub(r"(^|\s)#.*$", "", line).strip()
    if not line:
        return
    if not line.startswith("-"):
        target.append(re.split(r"\s--(?:hash|config-settings|global-option)", line)[0].strip())
        return
    option, _, value = line.replace("=", " ", 1).partition(" ")
    if option in ("-r", "--requirement", "-c", "--constraint") or line[:2] in ("-r", "-c"):
        value = value.strip() or line[2:].strip()
        included = _within(path.parent, value)
        if included is None or depth >= _MAX_DEPTH:
            raise ArtifactError(
                f"{path} includes '{value}', which is not in its folder; put it there"
            )
        is_constraint = option in ("-c", "--constraint") or line[:2] == "-c"
        _read_requirements(
            included, lines.constraints if is_constraint else target, lines, depth + 1
        )
    elif option in ("-e", "--editable"):
        target.append(line)
    else:
        lines.notes.append(
            f"{path.name}: '{option}' has no effect: the machine's package index is used"
        )


def _conda_pin(entry: str) -> tuple[str, str]:
    """A conda match specification as a name and a PEP 440 specifier."""
    match = _CONDA_PIN.match(entry.strip())
    if match is None:
        return "", ""
    name, version = match["name"].lower(), (match["version"] or "").strip()
    if not version:
        return name, ""
    if version.startswith("==") or version[0] in "<>!~":
        return name, version.split(" ")[0]
    version = version.lstrip("=").strip().split("=")[0].split(" ")[0]
    # One `=` means "this version or one that goes on from it".
    is_whole = version.count(".") >= 2 or version.endswith("*")
    return name, f"=={version}" if is_whole else f"=={version}.*"


def _finished(lines: _Lines, *, origin: str, python: str = "") -> Requirements:
    packages = []
    for line in lines.packages:
        if re.split(r"[\s<>=!~;\[@]", line, maxsplit=1)[0].lower() in _TRACKERS:
            lines.notes.append(f"{origin}: '{line}' is left out: serving does not need it")
        else:
            packages.append(line)
    return Requirements(
        packages=tuple(dict.fromkeys(packages)),
        python=python,
        origin=origin,
        constraints=tuple(dict.fromkeys(lines.constraints)),
        python_is_preferred=True,
        notes=tuple(lines.notes),
    )


def _within(folder: Path, name: str) -> Path | None:
    """The file of that name, if it is there and not outside of the folder."""
    try:
        path = (folder / name).resolve()
        return path if path.is_file() and path.is_relative_to(folder.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        # A name that no file can have, or links that lead round.
        return None


def _text(path: Path, most_bytes: int = _MAX_BYTES) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror or error}; check its permissions"
        ) from error
    if len(content) > most_bytes:
        raise ArtifactError(
            f"{path} is larger than {most_bytes >> 20} MiB, which no list of packages is; shorten "
            "it"
        )
    return content.decode("utf-8-sig", "replace")


def _mapping(path: Path) -> dict[str, Any]:
    # Here, since most models have no such file beside them. Its bounds hold aliases too, of which
    # a small text can make more than the memory has.
    from salver.spec.yaml_source import first_value

    content, fault = first_value(_text(path, _MAX_YAML_BYTES))
    if fault:
        raise ArtifactError(f"{path} is not valid YAML: {fault}; correct it")
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds no mapping, so nothing can be read from it; correct it")
    return content


def _listed(path: Path, found: Any, what: str) -> list[str]:
    """The lines of a list in the file; none if it is not there. Raises `ArtifactError`."""
    if not isinstance(found, list) and found is not None:
        raise ArtifactError(
            f"{path}: {what} is {type(found).__name__} and no list; give a list of packages"
        )
    return [each for each in found or () if isinstance(each, str)]
