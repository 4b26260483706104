"""Models that Triton itself runs: Salver's worker sends the batch on, and hands the answer back.

Triton is a child of this machine's gateway (`backends/processes/tritonserver_leases.py`), for
backends that Salver has not, or a server elsewhere, named by `triton://HOST:PORT/MODEL`. Owns when
a request is sent again, and what is said if Triton is not there. What it says is
`tritonserver_client.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from salver.errors import (
    ArtifactError,
    LoadFailed,
    RequestError,
    Unavailable,
    WorkerUnfit,
)
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.ports import AskedRequest, LoadedModel, ModelSource
from salver.runtimes.tritonserver_client import Lost, NotTaken, TritonClient
from salver.runtimes.tritonserver_lease import Lease
from salver.runtimes.tritonserver_metadata import Described, described

RENEWAL_S = 10.0
"""How long a request waits for Triton to be there again."""
_LOOK_S = 0.1
_NOT_PASSED_ON = frozenset({"headers", "binary_data_output"})


class TritonserverRuntime:
    """Loads models of a Triton server.

    Parameters: `name` is the model's name at Triton, `version` its version there, `url` the
    server's address; without one, `leases` is where to ask for a child of the gateway's.
    """

    name = "tritonserver"
    framework = "tritonserver"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> LoadedModel:
        place = Place.of(source)
        try:
            client = place.client(None)
        except NotTaken as error:
            raise LoadFailed(f"model '{source.name}': {error}") from error
        try:
            return _model(place, client, source)
        except BaseException:
            client.close()
            place.close()
            raise


def _model(place: Place, client: TritonClient, source: ModelSource) -> LoadedModel:
    folder = source.path if place.lease is not None else None
    try:
        found = described(client.document(), client.document("/config"), folder)
    except (NotTaken, Lost, RequestError, ValueError) as error:
        raise LoadFailed(f"model '{source.name}': {place.label}: {error}") from error
    if found.metadata.decoupled:
        raise LoadFailed(
            f"model '{source.name}' is decoupled, and Salver does not pass streams of Triton on: "
            f"ask {place.label} itself"
        )
    kind = SequencedTritonModel if found.in_sequences else TritonserverModel
    return kind(place, client, found)


class Place:
    """Where the model is: at a URL, or at the child of the gateway's."""

    def __init__(self, source: ModelSource, name: str, version: str, url: str) -> None:
        self._name, self._version, self._url = name, version, url
        self.lease: Lease | None = None
        self.label = f"Triton at {url.partition('://')[2]}"
        if not url:
            self.label = "Triton"
            address = str(source.parameters.get("leases", ""))
            backend = str(source.parameters.get("backend", ""))
            self.lease = Lease(
                address, name=name, folder=source.path, backend=backend, model=source.name
            )

    @classmethod
    def of(cls, source: ModelSource) -> Place:
        """The place that the source names. Raises `LoadFailed` for none."""
        given = source.parameters
        name, url = str(given.get("name") or source.path.name), str(given.get("url", ""))
        if not url and not given.get("leases"):
            raise LoadFailed(
                f"model '{source.name}' is run by Triton, and nothing says where that is: serve "
                "triton://HOST:PORT/MODEL, or the model's folder with `salver serve`"
            )
        return cls(source, name, str(given.get("version", "")), url)

    def client(self, timeout_s: float | None) -> TritonClient:
        """Asks at the place, once the model is there.

        Raises `NotTaken` with the reason if it is not there in time, and `ArtifactError` if it
        cannot be.
        """
        if self.lease is not None:
            try:
                return TritonClient(self.lease.ask(timeout_s), self._name, self._version)
            except TimeoutError as error:
                raise NotTaken(f"it is not there again within {timeout_s:g} s") from error
        client = TritonClient(self._url, self._name, self._version)
        deadline_s = time.monotonic() + (timeout_s or 0.0)
        while True:
            try:
                client.document()
            except (NotTaken, Lost, RequestError) as error:
                if time.monotonic() + _LOOK_S >= deadline_s:
                    client.close()
                    raise NotTaken(f"{self.label} has it not: {error}") from error
                time.sleep(_LOOK_S)
            else:
                return client

    def close(self) -> None:
        """Lets go of the model."""
        if self.lease is not None:
            self.lease.close()


class TritonserverModel:
    """A model of Triton's whose requests are independent of each other."""

    def __init__(self, place: Place, client: TritonClient, found: Described) -> None:
        self._place = place
        self._client = client
        self._most_rows = found.most_rows if place.lease is None else 0
        self._metadata = found.metadata

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        """Triton's answer. Raises its refusal, or `WorkerUnfit` if it is not there."""
        limit = self._most_rows
        if self._metadata.batchable and limit and request.inputs[0].data.shape[0] > limit:
            parts = [self._ask(part, part.parameters) for part in _parts(request, limit)]
            return _joined(parts)
        return self._ask(request, request.parameters)

    def _ask(
        self, request: InferRequest, parameters: Mapping[str, Any], id: str = ""
    ) -> InferResponse:
        may_repeat = self._metadata.idempotent
        try:
            return self._client.infer(request, parameters, id, may_repeat=may_repeat)
        except NotTaken:
            self._renew()
        except Lost as error:
            self._renew()
            if not may_repeat:
                raise Unavailable(
                    f"{self._place.label} ended before it had answered ({error}); the request may "
                    "have had its effect: begin the sequence again"
                ) from error
        try:
            return self._client.infer(request, parameters, id, may_repeat=may_repeat)
        except (NotTaken, Lost) as error:
            raise WorkerUnfit(f"{self._place.label} did not answer: {error}; try again") from error

    def _renew(self) -> None:
        self._client.close()
        try:
            self._client = self._place.client(RENEWAL_S)
        except (NotTaken, ArtifactError) as error:
            raise WorkerUnfit(f"{self._place.label} is not there: {error}; try again") from error

    def unload(self) -> None:
        self._client.close()
        self._place.close()


class SequencedTritonModel(TritonserverModel):
    """One whose requests belong to sequences: Triton is told which. Implements `BatchModel`."""

    def predict_each(
        self, requests: Sequence[AskedRequest]
    ) -> Sequence[InferResponse | RequestError]:
        return [self._answer(each) for each in requests]

    def _answer(self, asked: AskedRequest) -> InferResponse | RequestError:
        try:
            parameters = {k: v for k, v in asked.parameters.items() if k not in _NOT_PASSED_ON}
            return self._ask(asked.request, parameters, asked.id)
        except WorkerUnfit:
            raise
        except RequestError as error:
            return error


def _parts(request: InferRequest, rows: int) -> list[InferRequest]:
    """The request in pieces of at most so many rows."""
    count = request.inputs[0].data.shape[0]
    return [
        msgspec.structs.replace(
            request, inputs=tuple(_rows(each, at, at + rows) for each in request.inputs)
        )
        for at in range(0, count, rows)
    ]


def _rows(tensor: Tensor, start: int, end: int) -> Tensor:
    return msgspec.structs.replace(tensor, data=tensor.data[start:end])


def _joined(parts: Sequence[InferResponse]) -> InferResponse:
    outputs = zip(*(part.outputs for part in parts), strict=True)
    return InferResponse(
        tuple(
            msgspec.structs.replace(same[0], data=np.concatenate([each.data for each in same]))
            for same in outputs
        )
    )
