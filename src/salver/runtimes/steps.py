"""Functions, Seldon components and built-in combiners in one worker: what a graph's steps ask.

The parameters of the source say which there are:

    {"functions": {"scale":  {"python": "features.py:scale"},
                   "router": {"component": "router.py:Router", "parameters": {"rate": 0.1}},
                   "mean":   {"builtin": "average", "parameters": {}}}}

Python files are relative to the artifact, or absolute; each is imported once. An entry may have
`"idempotent": false`: then a request is not tried again when a worker dies of it. Owns who is
called and how failures are worded; each kind of function is a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from salver.errors import InvalidInput, LoadFailed, ModelFailed, RequestError, Unsupported
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.builtin_steps import builtin
from salver.runtimes.loading import first_lines
from salver.runtimes.ports import ModelSource
from salver.runtimes.seldon_component import Component
from salver.runtimes.seldon_stand_in import stand_in
from salver.runtimes.step_functions import PythonFunction
from salver.runtimes.step_ports import StepAnswer, StepContext, StepFunction, StepInput
from salver.runtimes.step_values import described
from salver.runtimes.user_module import import_user_module, user_failures

STEP = "step"
"""What the metadata of such a worker names as its operation."""


_OF_ITSELF: Mapping[str, Any] = {"health_status": "healthy", "metadata": {}}
"""What a function says of itself that is no class with methods for it."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One function as the options describe it: exactly one of the first three is given."""

    python: str = ""
    component: str = ""
    builtin: str = ""
    parameters: dict[str, Any] = {}
    idempotent: bool = True


class StepsRuntime:
    """Loads the functions of a graph's unit."""

    name = "steps"
    framework = "python"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> StepsModel:
        entries = _entries(source)
        awaiter = Awaiter()
        modules = _Modules(source)
        functions = {
            name: _loaded(name, entry, modules, source, awaiter) for name, entry in entries.items()
        }
        is_idempotent = all(
            entries[name].idempotent and each.is_idempotent for name, each in functions.items()
        )
        return StepsModel(source.name, functions, awaiter, is_idempotent=is_idempotent)


class StepsModel:
    """The functions of one worker. Implements `LoadedModel`, but predicts nothing."""

    def __init__(
        self,
        name: str,
        functions: Mapping[str, StepFunction],
        awaiter: Awaiter,
        *,
        is_idempotent: bool = True,
    ) -> None:
        self.name = name
        self._functions = dict(functions)
        self._awaiter = awaiter
        self._metadata = ModelMetadata(
            platform="python",
            inputs=(),
            outputs=(),
            batchable=False,
            idempotent=is_idempotent,
            operations=(STEP,),
            wants_headers=any(each.wants_headers for each in functions.values()),
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        raise Unsupported(f"'{self.name}' has the steps of a graph and no model: ask the graph")

    def invoke(
        self,
        step: str,
        function: str,
        method: str,
        inputs: Sequence[StepInput],
        context: StepContext,
    ) -> StepAnswer:
        """Calls one function. Errors name the step, the function, its input and the cause.

        Raises `InvalidInput` if the function refuses its input, `ModelFailed` for whatever else
        goes wrong in it.
        """
        found = self._functions.get(function)
        if found is None:
            known = ", ".join(sorted(self._functions)) or "none"
            raise ModelFailed(f"step '{step}': there is no function '{function}', only {known}")
        if method in _OF_ITSELF and not isinstance(found, Component):
            return StepAnswer(content=_OF_ITSELF[method])
        try:
            return found.perform(method, inputs, context)
        except InvalidInput as error:
            raise InvalidInput(f"step '{step}' ({found.label}): {error}") from error
        except RequestError as error:
            text = f"step '{step}' ({found.label}, {described(inputs)}): {error}"
            raise type(error)(text) from error
        except MemoryError:
            raise
        except Exception as error:
            raise ModelFailed(
                f"step '{step}' ({found.label}, {described(inputs)}): "
                f"{type(error).__name__}: {first_lines(error)}"
            ) from error

    def unload(self) -> None:
        for each in self._functions.values():
            each.close()
        self._awaiter.close()


def _entries(source: ModelSource) -> dict[str, _Entry]:
    subject = f"model '{source.name}'"
    given = source.parameters.get("functions")
    if not isinstance(given, Mapping) or not given:
        raise LoadFailed(f"{subject} has no functions: name them in the options of its runtime")
    entries = {}
    for name, each in given.items():
        try:
            entry = msgspec.convert(each, _Entry)
        except msgspec.ValidationError as error:
            raise LoadFailed(f"{subject}: function '{name}': {error}") from error
        if sum(map(bool, (entry.python, entry.component, entry.builtin))) != 1:
            raise LoadFailed(
                f"{subject}: function '{name}' needs one of python, component and builtin"
            )
        if entry.python and entry.parameters:
            raise LoadFailed(
                f"{subject}: function '{name}' is a plain function and takes no parameters"
            )
        entries[str(name)] = entry
    return entries


class _Modules:
    """The user's files, each imported when it is first named."""

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._by_path: dict[Path, ModuleType] = {}

    def attribute(self, function: str, where: str) -> tuple[Any, ModelSource]:
        """What `file.py:attr` names, and the source that errors about it speak of."""
        file, colon, attribute = where.rpartition(":")
        if not colon or not attribute or not all(x.isidentifier() for x in attribute.split(".")):
            raise LoadFailed(
                f"model '{self._source.name}': function '{function}' names '{where}'; name it as "
                "file.py:name"
            )
        path = self._path(function, file)
        source = msgspec.structs.replace(self._source, path=path, attribute=attribute)
        module = self._by_path.get(path)
        if module is None:
            name = f"salver_steps_{len(self._by_path)}_{path.stem}"
            module = self._by_path[path] = import_user_module(source, name)
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            fact = "has no" if found is None else "cannot call its"
            raise LoadFailed(
                f"model '{source.name}': function '{function}': {path} {fact} '{attribute}'; name "
                f"a function or class of it"
            )
        return found, source

    def _path(self, function: str, file: str) -> Path:
        path, artifact = Path(file), self._source.path
        if not path.is_absolute():
            if artifact == Path():
                raise LoadFailed(
                    f"model '{self._source.name}': function '{function}' names the relative file "
                    f"'{file}', but there is no artifact for it to be in: give a uri"
                )
            if not file or (artifact.name == file and not artifact.is_dir()):
                path = artifact
            else:
                path = (artifact if artifact.is_dir() else artifact.parent) / file
        if not path.is_file():
            raise LoadFailed(
                f"model '{self._source.name}': function '{function}': {path} does not exist; check "
                "the uri and the file's name"
            )
        return path


def _loaded(
    name: str, entry: _Entry, modules: _Modules, source: ModelSource, awaiter: Awaiter
) -> StepFunction:
    if entry.builtin:
        try:
            return builtin(entry.builtin, entry.parameters)
        except LoadFailed as error:
            raise LoadFailed(f"model '{source.name}': function '{name}': {error}") from error
    if entry.python:
        function, place = modules.attribute(name, entry.python)
        if isinstance(function, type):
            with user_failures(place, f"{place.attribute}()"):
                function = function()
        if not callable(function):
            raise LoadFailed(
                f"model '{source.name}': function '{name}': {place.attribute} is a class without "
                "__call__; define it, or name it as a component"
            )
        return PythonFunction(name, function, awaiter)
    stand_in()
    factory, place = modules.attribute(name, entry.component)
    return _component(name, factory, entry.parameters, place, awaiter)


def _component(
    name: str,
    factory: Callable[..., Any],
    parameters: Mapping[str, Any],
    source: ModelSource,
    awaiter: Awaiter,
) -> Component:
    with user_failures(source, f"{source.attribute}()"):
        instance = factory(**parameters)
    load = getattr(instance, "load", None)
    if callable(load):
        with user_failures(source, f"{source.attribute}.load"):
            awaiter.finished(load())
    with user_failures(source, f"reading {source.attribute}"):
        return Component(name, instance, awaiter)
