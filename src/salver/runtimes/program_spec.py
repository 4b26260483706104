"""What command a program's model is: a folder's settings file, a .jar, an .R file, an executable.

Owns the file `salver-program.json` and the commands for Java and R. Starts nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from salver.errors import LoadFailed, MissingFramework
from salver.inference.metadata import DATATYPES, TensorMetadata
from salver.runtimes.ports import ModelSource
from salver.runtimes.program_tensors import MOST_RANK, MOST_SIZE

FILE_NAME = "salver-program.json"
R_WRAPPER = Path(__file__).with_name("program.R")


class ProgramTensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input or output in the settings file; without a shape any will do."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None = None
    optional: bool = False


class ProgramSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file. What is left out, the program says in its hello.

    `answers`: where the program writes its messages, its standard output or the file that the
    environment variable SALVER_ANSWERS names; all that it prints is then its log.
    """

    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    answers: Literal["stdout", "descriptor"] = "stdout"
    start_timeout_s: float = 60.0
    inputs: tuple[ProgramTensor, ...] | None = None
    outputs: tuple[ProgramTensor, ...] | None = None
    batchable: bool | None = None
    idempotent: bool | None = None
    platform: str = ""
    java_options: tuple[str, ...] | None = None


class ProgramSpec(msgspec.Struct, frozen=True):
    """A command to run in a folder, and what is known of it before it says so itself."""

    command: tuple[str, ...]
    folder: Path
    env: Mapping[str, str]
    prints_freely: bool
    """Answers go to a descriptor of their own, so whatever it prints is log."""
    start_timeout_s: float
    platform: str
    inputs: tuple[TensorMetadata, ...] | None = None
    outputs: tuple[TensorMetadata, ...] | None = None
    batchable: bool | None = None
    idempotent: bool | None = None


def program_spec(source: ModelSource) -> ProgramSpec:
    """The program that the model's path stands for.

    Raises `LoadFailed` for settings that are wrong or a command that is not there, and
    `MissingFramework` where Java or R is.
    """
    path = source.path
    if not path.exists():
        raise LoadFailed(f"model '{source.name}': {path} does not exist; check the path")
    if path.is_dir():
        path = path / FILE_NAME
    if path.name == FILE_NAME:
        return _of_settings(source, path, _settings(source, path))
    settings = _decoded(source, source.parameters, "its parameters")
    kind = path.suffix.lower()
    if kind == ".jar":
        return _spec(source, settings, _java(source, settings), "java", prints_freely=True)
    if kind == ".r":
        rscript = _found(source, "Rscript", "R", "apt install r-base-core")
        command = (rscript, "--vanilla", str(R_WRAPPER), str(path))
        return _spec(source, settings, command, "r", prints_freely=True)
    return _spec(source, settings, (*(settings.command or (str(path),)),), "program")


def _of_settings(source: ModelSource, path: Path, settings: ProgramSettings) -> ProgramSpec:
    if not settings.command:
        raise LoadFailed(
            f"model '{source.name}': {path} has no command; give a list, "
            'as "command": ["perl", "model.pl"]'
        )
    return _spec(source, settings, settings.command, "program")


def _spec(
    source: ModelSource,
    settings: ProgramSettings,
    command: tuple[str, ...],
    platform: str,
    *,
    prints_freely: bool = False,
) -> ProgramSpec:
    folder = source.path if source.path.is_dir() else source.path.parent
    _check_command(source, command[0], folder)
    return ProgramSpec(
        command=command,
        folder=folder,
        env={**(_locale(os.environ) if prints_freely else {}), **settings.env},
        prints_freely=prints_freely or settings.answers == "descriptor",
        start_timeout_s=settings.start_timeout_s,
        platform=settings.platform or platform,
        inputs=_tensors(source, settings.inputs),
        outputs=_tensors(source, settings.outputs),
        batchable=settings.batchable,
        idempotent=settings.idempotent,
    )


def _locale(environ: Mapping[str, str]) -> Mapping[str, str]:
    """UTF-8 for Java and R, whose texts are the locale's: containers often have none."""
    names = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "")
    return {} if "utf" in locale.lower() else {"LC_ALL": "C.UTF-8"}


def _java(source: ModelSource, settings: ProgramSettings) -> tuple[str, ...]:
    java = _found(source, "java", "a Java runtime", "apt install default-jre-headless")
    options = settings.java_options
    if options is None:
        # One request at a time: several collectors' threads would only take others' processors.
        options = ("-XX:+UseSerialGC",) if source.threads == 1 else ()
    return (java, *options, "-jar", str(source.path))


def _found(source: ModelSource, program: str, what: str, remedy: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise MissingFramework(
            f"model '{source.name}' ({source.path.name}) needs {what}, and there is no "
            f"'{program}' on the search path; run: {remedy}"
        )
    return found


def _check_command(source: ModelSource, program: str, folder: Path) -> None:
    """Raises `LoadFailed` for what cannot be run, before anything is tried."""
    subject = f"model '{source.name}': its command '{program}'"
    if "/" not in program:
        if shutil.which(program) is None:
            raise LoadFailed(f"{subject} is not on the search path; install it or give its path")
        return
    path = folder / program
    if not path.is_file():
        raise LoadFailed(f"{subject} does not exist in {folder}; correct the command")
    if not os.access(path, os.X_OK):
        raise LoadFailed(f"{subject} is not executable; run: chmod +x {path}")


def _settings(source: ModelSource, path: Path) -> ProgramSettings:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise LoadFailed(
            f"model '{source.name}': {path} cannot be read: {error.strerror}; it says what to run"
        ) from error
    except (ValueError, RecursionError) as error:
        raise LoadFailed(
            f"model '{source.name}': {path} is no JSON: {error}; correct it"
        ) from error
    if not isinstance(found, dict):
        raise LoadFailed(f"model '{source.name}': {path} holds no JSON object; give one")
    return _decoded(source, {**found, **source.parameters}, str(path))


def _decoded(source: ModelSource, values: Mapping[str, Any], where: str) -> ProgramSettings:
    try:
        settings = msgspec.convert(dict(values), ProgramSettings)
    except msgspec.ValidationError as error:
        raise LoadFailed(f"model '{source.name}': {where}: {error}; correct it") from error
    if not 0 < settings.start_timeout_s <= 86400:
        raise LoadFailed(
            f"model '{source.name}': {where}: start_timeout_s is {settings.start_timeout_s:g}; "
            "give seconds above 0"
        )
    return settings


def _tensors(
    source: ModelSource, declared: tuple[ProgramTensor, ...] | None
) -> tuple[TensorMetadata, ...] | None:
    for each in declared or ():
        shape = each.shape or ()
        is_sane = len(shape) <= MOST_RANK and all(-1 <= size <= MOST_SIZE for size in shape)
        if each.datatype not in DATATYPES or not is_sane:
            raise LoadFailed(
                f"model '{source.name}': '{each.name}' is declared as {each.datatype} of shape "
                f"{list(shape[:MOST_RANK])}; use one of {', '.join(sorted(DATATYPES))} and at most "
                f"{MOST_RANK} sizes, each from -1 to {MOST_SIZE}"
            )
    if declared is None:
        return None
    return tuple(
        TensorMetadata(
            each.name,
            each.datatype,  # type: ignore[arg-type]
            each.shape or (),
            any_shape=each.shape is None,
            optional=each.optional,
        )
        for each in declared
    )
