"""Models that are plain Python classes: `my_model.py:Iris`.

The class needs `predict`; it may have `load`, `preprocess`, `postprocess` and `unload`. Class
attributes tell what code cannot: `inputs` and `outputs` (lists of dicts with `name`,
`datatype`, `shape`), `batchable` (False), `idempotent` (True), `decoupled` (see
`python_streams.py`) and `example` (an input to warm up with). Owns the order of the calls;
conversions are `arguments.py`'s and `answers.py`'s.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from salver.errors import LoadFailed
from salver.inference.metadata import DATATYPES, ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor, tensor_from_array
from salver.runtimes.answers import response_of
from salver.runtimes.arguments import arguments_of, call_arguments, inputs_of
from salver.runtimes.ports import ModelSource
from salver.runtimes.python_streams import Stepper, only_response, streaming_method
from salver.runtimes.tabular import INPUT_NAME
from salver.runtimes.user_module import import_user_module, user_failures

_DECLARED_KEYS = frozenset({"name", "datatype", "shape", "optional", "content_type"})


class PythonRuntime:
    """Loads classes from Python files."""

    name = "python"
    framework = "python"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> PythonModel:
        module = import_user_module(source)
        factory = getattr(module, source.attribute, None)
        if not callable(factory):
            raise LoadFailed(
                f"model '{source.name}': {source.path} has no class '{source.attribute}'; name "
                f"it as {source.path.name}:Class"
            )
        with user_failures(source, f"{source.attribute}()"):
            instance = factory()
        model = PythonModel(instance, source)
        model.start()
        return model


class PythonModel:
    """An instance of the user's class, loaded when `start` returns."""

    def __init__(self, instance: Any, source: ModelSource) -> None:
        self._instance = instance
        self._source = source
        self._loop: asyncio.AbstractEventLoop | None = None
        before, predict, after = (
            getattr(instance, each, None) for each in ("preprocess", "predict", "postprocess")
        )
        self._stream = streaming_method(instance)
        self._predicts = callable(predict) and predict != self._stream
        if not self._predicts and self._stream is None:
            raise LoadFailed(f"model '{source.name}': {source.attribute} has no method predict")
        main = predict if self._predicts else self._stream
        self._steps = [each for each in (before, main, after) if callable(each)]
        self._has_before, self._after = callable(before), after if callable(after) else None
        with user_failures(source, f"reading {source.attribute}.{self._steps[0].__name__}"):
            self._arguments = arguments_of(self._steps[0])
        with user_failures(source, f"reading the attributes of {source.attribute}"):
            self._metadata = self._described()

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def start(self) -> None:
        """Calls the user's `load`, then predicts on the class's `example` if it has one.

        Raises `LoadFailed` for whatever they raise.
        """
        load = getattr(self._instance, "load", None)
        if callable(load):
            with user_failures(self._source, f"{self._source.attribute}.load"):
                self._finished(load())
        example = getattr(self._instance, "example", None)
        if example is not None:
            with user_failures(self._source, f"{self._source.attribute} on its example"):
                self._try_out(_example_request(example, self._metadata))

    def _try_out(self, request: InferRequest) -> None:
        if self._predicts:
            self.predict(request)
        else:
            responses = self.stream(request)
            next(responses, None)
            responses.close()

    def predict(self, request: InferRequest) -> InferResponse:
        if not self._predicts:
            return only_response(self.stream(request))
        positional, named = call_arguments(self._arguments, request)
        first, *rest = self._steps
        answer = self._finished(first(*positional, **named))
        for step in rest:
            answer = self._finished(step(answer))
        metadata = self._metadata
        rows = None
        if metadata.batchable and request.inputs and request.inputs[0].data.ndim:
            rows = len(request.inputs[0].data)
        return response_of(answer, metadata.outputs, request.outputs, rows)

    def stream(self, request: InferRequest) -> Generator[InferResponse]:
        """See `StreamingModel`. Each thing that the class yields is a response."""
        assert self._stream is not None
        positional, named = call_arguments(self._arguments, request)
        if self._has_before:
            before = self._steps[0]
            positional, named = [self._finished(before(*positional, **named))], {}
        stepper = Stepper(self._stream(*positional, **named), self._finished)
        try:
            for answer in stepper:
                if self._after is not None:
                    answer = self._finished(self._after(answer))
                yield response_of(answer, self._metadata.outputs, request.outputs, None)
        finally:
            stepper.close()

    def unload(self) -> None:
        unload = getattr(self._instance, "unload", None)
        if callable(unload):
            self._finished(unload())
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _finished(self, answer: Any) -> Any:
        """The result of a coroutine, run to its end; anything else as it is."""
        if not inspect.isawaitable(answer):
            return answer
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_awaited(answer))

    def _described(self) -> ModelMetadata:
        declared = _declared(getattr(self._instance, "inputs", None), "inputs")
        outputs = _declared(getattr(self._instance, "outputs", None), "outputs")
        outputs = outputs or self._source.outputs
        inputs = declared or self._source.inputs or inputs_of(self._arguments)
        takes_rows = all(each.kind in ("array", "list", "frame") for each in self._arguments)
        batchable = getattr(self._instance, "batchable", None)
        return ModelMetadata(
            platform="python",
            inputs=inputs,
            outputs=outputs,
            default_outputs=tuple(each.name for each in outputs),
            positional_input=len(inputs) == 1 and len(self._arguments) == 1,
            batchable=self._stream is None
            and bool(
                self._source.batch_requested and takes_rows if batchable is None else batchable
            ),
            idempotent=bool(getattr(self._instance, "idempotent", True)),
            decoupled=self._stream is not None,
        )


async def _awaited(answer: Any) -> Any:
    return await answer


def _declared(value: Any, attribute: str) -> tuple[TensorMetadata, ...]:
    """The tensors that a class attribute lists. Raises `TypeError` or `ValueError`."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, Mapping) for each in value):
        raise TypeError(f"{attribute} must be a list of dicts with name, datatype and shape")
    return tuple(_declared_tensor(each, f"{attribute}[{i}]") for i, each in enumerate(value))


def _declared_tensor(entry: Mapping[str, Any], where: str) -> TensorMetadata:
    unknown = sorted(set(entry) - _DECLARED_KEYS)
    if unknown or "name" not in entry:
        fact = f"has the unknown key '{unknown[0]}'" if unknown else "has no name"
        raise ValueError(f"{where} {fact}; use name, datatype, shape, optional, content_type")
    datatype = entry.get("datatype", "FP64")
    if datatype not in DATATYPES:
        raise ValueError(
            f"{where} has the unknown datatype {datatype!r}; use one of "
            + ", ".join(sorted(DATATYPES))
        )
    shape = entry.get("shape")
    if shape is not None and not all(isinstance(size, int) and size >= -1 for size in shape):
        raise ValueError(f"{where} has the shape {shape!r}; use whole numbers, -1 for any size")
    return TensorMetadata(
        str(entry["name"]),
        datatype,
        tuple(shape or ()),
        any_shape=shape is None,
        optional=bool(entry.get("optional", False)),
        content_type=entry.get("content_type"),
    )


def _example_request(example: Any, metadata: ModelMetadata) -> InferRequest:
    """The example as a request: a dict by input name, or the value of the one input."""
    if hasattr(example, "columns") and hasattr(example, "to_numpy"):
        example = {str(name): example[name].to_numpy() for name in example.columns}
    if not isinstance(example, Mapping):
        example = {metadata.inputs[0].name if metadata.inputs else INPUT_NAME: example}
    return InferRequest(tuple(_example_tensor(str(k), v) for k, v in example.items()))


def _example_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, str | bytes):
        value = np.array([value], dtype=np.object_)
    return tensor_from_array(name, np.asarray(value))
