"""The extension surface: what a framework must offer to be served.

A runtime is found by the entry point group `salver.runtimes` (name = runtime name, value =
`module:factory` of a `Runtime`). Its module is imported only in a worker, or to learn that
its framework is missing; the framework itself only inside `load`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from salver.errors import RequestError
from salver.inference.compilation import CompileCounts, CompileReport
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor


class ModelSource(msgspec.Struct, frozen=True):
    """Where a model lies and how it is to be run.

    `attribute` is the class name behind the colon of `my_model.py:Iris`. `threads` is how
    many threads one prediction may use. `predictor_url` is the base of the server that a step
    around a model may ask for predictions, empty where there is none. `parameters` are
    arguments of the runtime, `inputs` and `outputs` what the model's settings say that it
    takes and gives, for runtimes that cannot know. `compile` is the server's default for models
    that do not say it themselves (see `compiled/settings.py`), `verdicts` the folder that keeps
    what compiling found out, if any. `compiles_later`: `auto` may compile after the load, whoever
    loads it gives it the time (`CompilesLater`).
    """

    name: str
    path: Path
    runtime: str
    attribute: str = ""
    threads: int = 1
    batch_requested: bool = False
    predictor_url: str = ""
    parameters: Mapping[str, Any] = {}
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    compile: str = "auto"
    verdicts: Path | None = None
    compiles_later: bool = False


class LoadedModel(Protocol):
    """A model in memory, in the worker that owns it. Called from one thread only."""

    @property
    def metadata(self) -> ModelMetadata: ...

    def predict(self, request: InferRequest) -> InferResponse:
        """Answers a request that already fits `metadata` in names, datatypes and shapes.

        Raises `InvalidInput` if the values are such as the model cannot take.
        """

    def unload(self) -> None:
        """Frees what the model holds outside the Python heap."""


class CompilesLater(Protocol):
    """A loaded model that can be made quicker while it is served."""

    @property
    def compile_report(self) -> CompileReport: ...

    @property
    def counts(self) -> CompileCounts: ...

    def compile_on(self, meanwhile: Callable[[], object]) -> bool:
        """Compiles, calling `meanwhile` between two pieces of work, for requests to be answered.

        False if another process is compiling the same model: to be called again a little later.
        """


class AnswerCache(Protocol):
    """Answers that are kept, and what has been counted of them since the beginning."""

    @property
    def hits(self) -> int: ...

    @property
    def misses(self) -> int: ...

    @property
    def hit_ns(self) -> int:
        """What finding answers took."""

    @property
    def miss_ns(self) -> int:
        """What looking in vain and keeping answers took."""

    @property
    def evictions(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def begin_counting(self) -> None:
        """Sets all counts to 0."""


class CachesAnswers(Protocol):
    """A loaded model that answers equal requests from what it has kept."""

    @property
    def answer_cache(self) -> AnswerCache: ...


class StreamingModel(LoadedModel, Protocol):
    """A loaded model whose `metadata.decoupled` is set: any number of responses to a request.

    Its `predict` raises `Unsupported` unless exactly one response comes (`only_response`), or
    answers in a way of its own.
    """

    def stream(self, request: InferRequest) -> Iterator[InferResponse]:
        """The responses as they are made; what has `close` is closed when its reader leaves.

        May raise what `predict` may, at any response.
        """


class AskedRequest(msgspec.Struct, frozen=True):
    """One caller's request of a batch: `parameters` are all of them, a scheduler's too."""

    request: InferRequest
    id: str = ""
    parameters: Mapping[str, Any] = {}


class BatchModel(LoadedModel, Protocol):
    """A loaded model that wants to see the requests of a batch one by one."""

    def predict_each(
        self, requests: Sequence[AskedRequest]
    ) -> Sequence[InferResponse | RequestError]:
        """An answer or a refusal for each request, in their order.

        What it raises is the answer to all of them.
        """


class StepPayload(Protocol):
    """A request or a response of any protocol, as a step around a model may look at it."""

    @property
    def is_v1(self) -> bool:
        """It is V1's JSON; else it is V2, whose JSON `document` also gives for gRPC."""

    @property
    def is_request(self) -> bool: ...

    @property
    def id(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    def document(self) -> dict[str, Any]:
        """The message as JSON values."""

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the message."""


StepResult = dict[str, Any] | tuple[Tensor, ...] | None
"""What a step gives: a document or tensors in place of the payload's, or None: as it was."""


class LoadedSteps(LoadedModel, Protocol):
    """A loaded model whose `metadata.operations` names steps around another model."""

    def perform(
        self, operation: str, payload: StepPayload, headers: Mapping[str, str]
    ) -> StepResult:
        """Does one of the operations; any other leaves the payload as it is.

        Raises `InvalidInput` if the request is such as the step cannot take.
        """


class Runtime(Protocol):
    """A framework that can load models."""

    @property
    def name(self) -> str: ...

    @property
    def framework(self) -> str:
        """The distribution that must be installed, as pip knows it."""

    @property
    def preload(self) -> tuple[str, ...]:
        """The modules that a fork server imports before it forks workers."""

    def load(self, source: ModelSource) -> LoadedModel:
        """Loads the artifact.

        Raises `MissingFramework` if the library is not installed and `LoadFailed` if the
        artifact is unreadable.
        """
