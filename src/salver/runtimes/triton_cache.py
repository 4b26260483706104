"""Answers kept by what was asked: `response_cache` of a Triton model.

A least-recently-used cache in the worker, bounded in bytes, keyed by a digest of inputs, parameters
and outputs asked for. Of several workers each has its own. Refuses to keep refusals.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import msgspec

from salver.errors import RequestError
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.ports import AskedRequest, BatchModel, LoadedModel

logger = logging.getLogger("salver.worker")

MOST_BYTES = 64 << 20
_TOLD_EVERY = 1000


class ResponseCache:
    """Responses by the digest of their request. `hits` and `misses` count look-ups."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, tuple[InferResponse, int]] = OrderedDict()
        self.size_bytes = 0
        self.begin_counting()

    def begin_counting(self) -> None:
        """Sets all counts to 0; what is kept stays."""
        self.hits = self.misses = self.evictions = 0
        self.hit_ns = self.miss_ns = 0

    def find(self, key: bytes, since_ns: int | None = None) -> InferResponse | None:
        """The response to the request of that digest, if it is kept.

        `since_ns` is when looking began, on `perf_counter_ns`; by default, now.
        """
        if since_ns is None:
            since_ns = time.perf_counter_ns()
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            self.miss_ns += time.perf_counter_ns() - since_ns
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        self.hit_ns += time.perf_counter_ns() - since_ns
        return found[0]

    def keep(self, key: bytes, response: InferResponse) -> None:
        """Keeps the response; the ones that were not asked for longest make room."""
        since_ns = time.perf_counter_ns()
        size = sum(map(_size_of, response.outputs)) + len(key)
        if key in self._kept or size > self._most_bytes:
            return
        self._kept[key] = _copied(response), size
        self.size_bytes += size
        while self.size_bytes > self._most_bytes:
            _, (_, gone) = self._kept.popitem(last=False)
            self.size_bytes -= gone
            self.evictions += 1
        self.miss_ns += time.perf_counter_ns() - since_ns


class CachedModel:
    """Implements `BatchModel` around another model."""

    def __init__(self, model: LoadedModel, cache: ResponseCache | None = None) -> None:
        self._model = model
        self._takes_batches = hasattr(model, "predict_each")
        self.cache = cache or ResponseCache()

    @property
    def metadata(self) -> ModelMetadata:
        return self._model.metadata

    @property
    def answer_cache(self) -> ResponseCache:
        """See `CachesAnswers`."""
        return self.cache

    def predict(self, request: InferRequest) -> InferResponse:
        (answer,) = self.predict_each([AskedRequest(request, parameters=request.parameters)])
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def predict_each(
        self, requests: Sequence[AskedRequest]
    ) -> Sequence[InferResponse | RequestError]:
        keys: list[bytes] = []
        answers: list[InferResponse | RequestError | None] = []
        for each in requests:
            since_ns = time.perf_counter_ns()
            key = request_digest(each.request)
            keys.append(key)
            answers.append(self.cache.find(key, since_ns))
        # Equal requests of one batch are asked for once.
        missing = {
            key: each
            for key, each, answer in zip(keys, requests, answers, strict=True)
            if answer is None
        }
        found = dict(zip(missing, self._asked(list(missing.values())), strict=True))
        for key, answer in found.items():
            if isinstance(answer, InferResponse):
                self.cache.keep(key, answer)
        self._tell()
        return [
            found[key] if each is None else each for key, each in zip(keys, answers, strict=True)
        ]

    def unload(self) -> None:
        self._model.unload()

    def _asked(self, requests: list[AskedRequest]) -> Sequence[InferResponse | RequestError]:
        if not requests:
            return ()
        if self._takes_batches:
            return cast(BatchModel, self._model).predict_each(requests)
        return [self._one(each.request) for each in requests]

    def _one(self, request: InferRequest) -> InferResponse | RequestError:
        try:
            return self._model.predict(request)
        except RequestError as error:
            return error

    def _tell(self) -> None:
        cache = self.cache
        asked = cache.hits + cache.misses
        if asked and asked % _TOLD_EVERY == 0:
            logger.info(
                "response cache: %d hits, %d misses, %d evictions, %d bytes",
                cache.hits,
                cache.misses,
                cache.evictions,
                cache.size_bytes,
            )


def request_digest(request: InferRequest) -> bytes:
    """Equal for requests that a model must answer alike."""
    digest = hashlib.blake2b(digest_size=16)
    head = sorted((each.name, each.datatype, each.data.shape) for each in request.inputs)
    digest.update(
        repr((head, request.outputs, sorted(request.parameters.items(), key=repr))).encode()
    )
    for tensor in sorted(request.inputs, key=lambda each: each.name):
        if tensor.datatype == "BYTES":
            for text in tensor.data.ravel().tolist():
                digest.update(len(text).to_bytes(8, "little"))
                digest.update(text if isinstance(text, bytes) else str(text).encode())
        else:
            digest.update(tensor.data.tobytes())
    return digest.digest()


def _copied(response: InferResponse) -> InferResponse:
    """The response with arrays of its own: a model may write into its own again."""
    outputs = tuple(
        msgspec.structs.replace(each, data=each.data.copy()) for each in response.outputs
    )
    return msgspec.structs.replace(response, outputs=outputs)


def _size_of(tensor: Tensor) -> int:
    if tensor.datatype == "BYTES":
        return sum(len(text) + 64 for text in tensor.data.ravel().tolist())
    return int(tensor.data.nbytes)
