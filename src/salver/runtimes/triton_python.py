"""Triton's Python backend: a class `TritonPythonModel` with `initialize`, `execute`, `finalize`.

Owns the order of the calls and what the class is told. `execute` gets the requests of a batch as a
list. Decoupled models are `triton_decoupled.py`'s.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import msgspec

from salver.errors import InvalidInput, LoadFailed, ModelFailed, RequestError
from salver.inference.tensor import InferRequest, InferResponse
from salver.runtimes.ports import AskedRequest, LoadedModel, ModelSource
from salver.runtimes.triton_calls import ServerCalls
from salver.runtimes.triton_completing import completed, config_document
from salver.runtimes.triton_decoupled import DecoupledModel
from salver.runtimes.triton_execution import PythonExecution
from salver.runtimes.triton_place import TritonPlace
from salver.runtimes.triton_shapes import rows_of
from salver.runtimes.triton_stand_in import stand_in
from salver.runtimes.user_module import import_user_module, user_failures
from salver.spec.triton_config import TritonConfig

CLASS = "TritonPythonModel"


def load_python(
    source: ModelSource, place: TritonPlace, config: TritonConfig
) -> tuple[LoadedModel, TritonConfig]:
    """The model, initialised, and its configuration as it has completed it. Raises `LoadFailed`."""
    filename = config.default_model_filename or "model.py"
    path = place.version_folder / filename
    if not path.is_file():
        path = place.folder / filename
    stand_in(ServerCalls(source.predictor_url), str(place.version_folder))
    if str(place.folder) not in sys.path:
        sys.path.append(str(place.folder))
    source = msgspec.structs.replace(source, path=path, attribute=CLASS)
    module = import_user_module(source)
    factory = getattr(module, CLASS, None)
    if not callable(factory):
        raise LoadFailed(f"model '{source.name}': {path} has no class {CLASS}")
    with user_failures(source, "auto_complete_config"):
        config = completed(config, factory, source.name)
    with user_failures(source, f"{CLASS}()"):
        instance = factory()
    if not callable(getattr(instance, "execute", None)):
        raise LoadFailed(f"model '{source.name}': {CLASS} has no method execute")
    initialize = getattr(instance, "initialize", None)
    if callable(initialize):
        with user_failures(source, f"{CLASS}.initialize"):
            initialize(_arguments(config, place))
    if config.is_decoupled:
        return DecoupledModel(instance, config, place), config
    return PythonModel(instance, config, place), config


def _arguments(config: TritonConfig, place: TritonPlace) -> dict[str, str]:
    """What `initialize` is told."""
    return {
        "model_config": json.dumps(config_document(config)),
        "model_instance_kind": "CPU",
        "model_instance_name": f"{config.name}_0_0",
        "model_instance_device_id": "0",
        "model_repository": str(place.folder),
        "model_version": place.version,
        "model_name": config.name,
    }


class PythonModel(PythonExecution):
    """One that gives one response to each request. Implements `BatchModel`."""

    def predict(self, request: InferRequest) -> InferResponse:
        (answer,) = self.predict_each([AskedRequest(request, parameters=request.parameters)])
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def predict_each(
        self, requests: Sequence[AskedRequest]
    ) -> Sequence[InferResponse | RequestError]:
        answers: list[InferResponse | RequestError] = []
        for batch in _batches(requests, self.config):
            answers += [batch] if isinstance(batch, RequestError) else self._execute(batch)
        return answers

    def _execute(self, batch: Sequence[AskedRequest]) -> list[InferResponse | RequestError]:
        requests = [self.told(each) for each in batch]
        responses = self.awaiter.finished(self.instance.execute(requests))
        is_list = isinstance(responses, list | tuple)
        if not is_list or len(responses) != len(batch):
            found = len(responses) if is_list else type(responses).__name__
            raise ModelFailed(
                f"execute must return a list of {len(batch)} InferenceResponse, one for each "
                f"request; it returned {found}"
            )
        return [
            self.answer(response, each.request)
            for response, each in zip(responses, batch, strict=True)
        ]


def _batches(
    requests: Sequence[AskedRequest], config: TritonConfig
) -> Iterator[list[AskedRequest] | RequestError]:
    """The requests in runs of at most `max_batch_size` rows; a refusal for one that has more.

    Without dynamic batching each goes alone.
    """
    are_joined = config.max_batch_size > 0 and config.dynamic_batching is not None
    batch: list[AskedRequest] = []
    rows = 0
    for asked in requests:
        try:
            count = rows_of(asked.request, config)
        except InvalidInput as error:
            if batch:
                yield batch
            batch, rows = [], 0
            yield error
            continue
        if batch and (not are_joined or rows + count > config.max_batch_size):
            yield batch
            batch, rows = [], 0
        batch.append(asked)
        rows += count
    if batch:
        yield batch
