"""Steps around a model as a Python class: `my_transformer.py:Scaler`.

The class has `preprocess(payload, headers)`, `postprocess(result, headers)` or, for an
explainer, `explain(payload, headers)`; `headers` may be left out. A parameter hinted as an
array, a DataFrame or a list gets the tensors decoded; `dict`, or no hint, gets the JSON of the
protocol (V1: `{"instances": ...}`; V2: its document, for gRPC too). What comes back may be a
dict of the same kind, arrays, or a DataFrame. Classes of the KServe SDK get what it gives them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from salver.errors import LoadFailed, ModelFailed, Unsupported
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.answers import response_of
from salver.runtimes.arguments import Argument, argument_of, call_arguments
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.kserve_objects import (
    is_kserve,
    is_kserve_model,
    kserve_object,
    names_kserve,
    tell_predictor,
    tensors_of_object,
)
from salver.runtimes.ports import ModelSource, StepPayload, StepResult
from salver.runtimes.predictor_client import PredictorClient
from salver.runtimes.user_module import import_user_module, user_failures

OPERATIONS = ("preprocess", "postprocess", "explain")
_NAME_PARAMETERS = ("name", "model_name")
_HEADERS = "headers"


class TransformerRuntime:
    """Loads transformers and explainers from Python files."""

    name = "transformer"
    framework = "python"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> StepModel:
        module = import_user_module(source)
        factory = getattr(module, source.attribute, None)
        if not callable(factory):
            raise LoadFailed(
                f"model '{source.name}': {source.path} has no class '{source.attribute}'; name "
                f"it as {source.path.name}:Class"
            )
        with user_failures(source, f"{source.attribute}()"):
            instance = factory(**_construction(factory, source))
        model = StepModel(instance, source)
        model.start()
        return model


class _Step(msgspec.Struct, frozen=True):
    """A method and what it wants: `document`, `kserve` objects, an `InferResponse`, or tensors."""

    method: Callable[..., Any]
    form: str
    arguments: tuple[Argument, ...]
    wants_headers: bool


class StepModel:
    """An instance of the user's class, loaded when `start` returns."""

    def __init__(self, instance: Any, source: ModelSource) -> None:
        self._instance = instance
        self._source = source
        self._awaiter = Awaiter()
        self._is_kserve = is_kserve_model(instance)
        self._steps = {name: self._step(name) for name in OPERATIONS if _has_own(instance, name)}
        if not self._steps:
            raise LoadFailed(
                f"model '{source.name}': {source.attribute} has no method preprocess, "
                "postprocess or explain; define one"
            )
        self._metadata = ModelMetadata(
            platform="python",
            inputs=(),
            outputs=(),
            batchable=False,
            operations=tuple(self._steps),
            wants_headers=any(step.wants_headers for step in self._steps.values()),
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def start(self) -> None:
        """Gives an explainer its predictor, then calls the user's `load`.

        Raises `LoadFailed` for whatever it raises.
        """
        client = PredictorClient(self._source.predictor_url, self._source.name)
        if self._is_kserve:
            if client.address:
                tell_predictor(self._instance, client.address, is_tls=client.is_tls)
        elif not hasattr(self._instance, "predict"):
            self._instance.predict = client.predict
        load = getattr(self._instance, "load", None)
        if callable(load):
            with user_failures(self._source, f"{self._source.attribute}.load"):
                self._awaiter.finished(load())

    def predict(self, request: InferRequest) -> InferResponse:
        raise Unsupported(
            f"'{self._source.name}' has steps around a model and no model: put it into an "
            "InferenceService as its transformer or explainer"
        )

    def perform(
        self, operation: str, payload: StepPayload, headers: Mapping[str, str]
    ) -> StepResult:
        """See `ports.LoadedSteps`."""
        step = self._steps.get(operation)
        if step is None:
            return None
        positional, named = self._given(step, payload)
        if step.wants_headers:
            named = {**named, _HEADERS: dict(headers)}
        answer = self._awaiter.finished(step.method(*positional, **named))
        return _result(operation, step, answer, payload)

    def unload(self) -> None:
        unload = getattr(self._instance, "unload", None)
        if callable(unload):
            self._awaiter.finished(unload())
        self._awaiter.close()

    def _given(self, step: _Step, payload: StepPayload) -> tuple[list[Any], dict[str, Any]]:
        if step.form == "document" or (step.form == "kserve" and payload.is_v1):
            return [payload.document()], {}
        if step.form == "kserve":
            return [kserve_object(payload, self._source.name)], {}
        if step.form == "response":
            return [InferResponse(payload.tensors(), payload.parameters)], {}
        request = InferRequest(payload.tensors(), (), payload.parameters)
        return call_arguments(step.arguments, request)

    def _step(self, name: str) -> _Step:
        method = getattr(self._instance, name)
        with user_failures(self._source, f"reading {self._source.attribute}.{name}"):
            return _step_of(method, prefers_kserve=self._is_kserve)


def _has_own(instance: Any, name: str) -> bool:
    """The class has the method, and not just from the SDK, whose own only hand on."""
    method = getattr(instance, name, None)
    return callable(method) and not is_kserve(getattr(method, "__func__", method))


def _construction(factory: Any, source: ModelSource) -> dict[str, Any]:
    """The arguments that the class cannot do without: its name and its predictor's address."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    address = PredictorClient(source.predictor_url, source.name).address
    given: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in _NAME_PARAMETERS:
            given[parameter.name] = source.name
        elif parameter.name == "predictor_host" and address:
            given[parameter.name] = address
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"it needs the argument '{parameter.name}', which nothing gives: make it optional"
            )
    return given


def _step_of(method: Callable[..., Any], *, prefers_kserve: bool) -> _Step:
    """What the method wants. Raises `TypeError` for hints that cannot be served."""
    try:
        hints = typing.get_type_hints(method)
    except (NameError, TypeError, AttributeError):
        # Hints may name what is imported for type checkers only: the text is enough.
        hints = {}
    parameters = [
        each
        for each in inspect.signature(method).parameters.values()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    wants_headers = any(each.name == _HEADERS for each in parameters)
    wanted = [each for each in parameters if each.name not in (_HEADERS, "response_headers")]
    if not wanted:
        raise TypeError("it takes no argument for its payload")
    first = wanted[0]
    hint = hints.get(first.name, first.annotation)
    form = _form(hint, prefers_kserve=prefers_kserve)
    arguments: tuple[Argument, ...] = ()
    if form == "tensors":
        arguments = tuple(
            argument_of(each, hints.get(each.name, each.annotation)) for each in wanted
        )
        if len(arguments) == 1 and arguments[0].kind == "dict":
            form = "document"
    return _Step(method, form, arguments, wants_headers)


def _form(hint: Any, *, prefers_kserve: bool) -> str:
    if hint is InferResponse:
        return "response"
    if hint is InferRequest:
        return "tensors"
    if names_kserve(hint) or (prefers_kserve and hint is inspect.Parameter.empty):
        return "kserve"
    return "document" if hint in (inspect.Parameter.empty, Any) else "tensors"


def _result(operation: str, step: _Step, answer: Any, payload: StepPayload) -> StepResult:
    if answer is None:
        raise ModelFailed(f"{operation} returned nothing; check it for a return")
    if isinstance(answer, InferRequest):
        return answer.inputs
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping):
        # The SDK's explainers and predictors may return (result, response headers).
        answer = answer[0]
    tensors = tensors_of_object(answer)
    if tensors is not None:
        return tensors
    if isinstance(answer, Mapping) and (step.form != "tensors" or operation == "explain"):
        return {str(name): value for name, value in answer.items()}
    return _renamed(response_of(answer, (), (), None).outputs, payload)


def _renamed(tensors: tuple[Tensor, ...], payload: StepPayload) -> tuple[Tensor, ...]:
    """A lone tensor takes the name of the one that it stands for: the model knows it by that."""
    if len(tensors) != 1:
        return tensors
    former = payload.tensors()
    if len(former) != 1:
        return tensors
    return (msgspec.structs.replace(tensors[0], name=former[0].name),)
