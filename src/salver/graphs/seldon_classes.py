"""Which Python class a container of a SeldonDeployment is, if it is one. Pure.

Seldon's wrapper is started as `seldon-core-microservice NAME ...`, or by an image with the class in
`MODEL_NAME`. With a working directory here, the class can be loaded from its file by a worker, and
needs no process of its own. Nothing here looks whether the file is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from salver.graphs.selection import PlanError
from salver.spec.pods import Container
from salver.spec.seldon import Parameter
from salver.spec.seldon_node_checks import parameter_value

_PROGRAM = "seldon-core-microservice"
_MODULE = "seldon_core.microservice"
_TRANSPORTS = ("REST", "GRPC")
_SWITCHES = ("--debug", "--tracing", "--persistence", "--single-threaded", "--access-log")
"""Options that may stand without a value; all others have one."""


class ComponentClass(msgspec.Struct, frozen=True):
    """A class in a file of a folder (or URI). `parameters` None: those of the graph's node."""

    folder: str
    file: str
    name: str
    parameters: tuple[Parameter, ...] | None = None

    @property
    def written(self) -> str:
        """As the `steps` runtime has it."""
        return f"{self.file}:{self.name}"


def class_of_annotation(value: str) -> ComponentClass:
    """The class of `folder/file.py:Class`, of which `spec/` has seen that it is such."""
    path, _, name = value.rpartition(":")
    folder, slash, file = path.rpartition("/")
    return ComponentClass((folder or slash) or ".", file, name)


def class_of_container(container: Container) -> ComponentClass | None:
    """The class that a container runs; None if it is no class, or not known to be here.

    Raises `PlanError` for parameters that cannot be read.
    """
    if not container.working_dir:
        return None
    words = (*container.command, *container.args)
    interface, parameters = "", None
    if words:
        interface, parameters = _interface(words)
    elif not any(each.value_from for each in container.env):
        interface = {each.name: each.value for each in container.env}.get("MODEL_NAME", "")
    if not interface:
        return None
    module, _, name = interface.rpartition(".")
    module = module or name
    return ComponentClass(
        container.working_dir,
        f"{module.replace('.', '/')}.py",
        name,
        None if parameters is None else _parameters(parameters, container.name),
    )


def values_of(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Parameters as the arguments of a class, each of its type. `spec/` has seen that they are."""
    return {each.name: parameter_value(each) for each in parameters}


def _interface(words: Sequence[str]) -> tuple[str, str | None]:
    """The wrapper's class and its `--parameters`; the class is empty for another program."""
    at = _end_of_program(words)
    interface, parameters = "", None
    while at < len(words):
        word = words[at]
        option, equals, value = word.partition("=")
        if not word.startswith("-"):
            interface = interface or (word if word not in _TRANSPORTS else "")
        elif not equals and at + 1 < len(words) and _has_value(option, words[at + 1]):
            at, value = at + 1, words[at + 1]
        if option == "--parameters":
            parameters = value
        at += 1
    return interface, parameters


def _has_value(option: str, after: str) -> bool:
    return option not in _SWITCHES or after.isdigit()


def _end_of_program(words: Sequence[str]) -> int:
    for index, word in enumerate(words):
        if word.rpartition("/")[2] == _PROGRAM or (
            word == _MODULE and index and words[index - 1] == "-m"
        ):
            return index + 1
    return len(words)


def _parameters(text: str, container: str) -> tuple[Parameter, ...]:
    try:
        listed = json.loads(text)
        found = tuple(
            Parameter(str(each["name"]), str(each["value"]), str(each["type"]))  # type: ignore[arg-type]
            for each in listed
        )
        values_of(found)
    except (ValueError, TypeError, KeyError) as error:
        raise PlanError(
            "InvalidPredictorSpec",
            f"container '{container}' has --parameters that cannot be read: write a JSON list of "
            'objects with "name", "value" and "type"',
        ) from error
    return found


def plain_variables(container: Container | None) -> Mapping[str, str]:
    """The variables of a container whose values are in the manifest."""
    if container is None:
        return {}
    return {each.name: each.value for each in container.env if not each.value_from}
