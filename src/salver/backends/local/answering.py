"""What a worker does with a batch: decode, check, group, predict, encode. No I/O.

One bad request fails alone: it is sorted out when decoded or checked, and if a group fails
in the model all the same, each of its requests is tried by itself.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import cast

import msgspec

from salver.backends.local.batch_answering import answer_each
from salver.backends.local.client_memory import ClientMemory
from salver.backends.local.codings import COMPRESS_FROM_BYTES, compress, decompress
from salver.backends.local.function_chain import run_steps
from salver.backends.local.steps import StepCall, perform
from salver.backends.local.streaming import NoParts, PartSink, Streamer
from salver.backends.local.traced_answering import (
    Watch,
    WatchedModel,
    answer_traced,
    watched_codecs,
)
from salver.errors import (
    ErrorKind,
    ModelFailed,
    RequestError,
    SalverError,
    Unsupported,
    WorkerUnfit,
)
from salver.inference.tensor import InferRequest, InferResponse
from salver.protocol.bundle import pack, unpack_call
from salver.protocol.codecs import codec_for
from salver.protocol.frame import ContentCoding, Data, Item
from salver.protocol.images import ImageCodec, image_inputs
from salver.protocol.materialise import assemble, group_key
from salver.protocol.operations import (
    ACCEPTED_CODING,
    CONTENT_BITS,
    MAY_SHARE,
    TRACED,
    WITH_HEADERS,
    Operation,
    is_stream,
    operation_of,
    split_headers,
)
from salver.protocol.placed_answers import PLACEABLE, PLACED, PlacingCodec
from salver.protocol.seldon_meta import empty_message, read_feedback
from salver.protocol.shared_memory import SharedMemoryAskedError, resolved
from salver.protocol.wire import Codec, EncodedResponse, ModelIdentity, WireCodec, WireRequest
from salver.runtimes.ports import BatchModel, CachesAnswers, CompilesLater, LoadedModel, LoadedSteps
from salver.runtimes.step_ports import LoadedFunctions

logger = logging.getLogger("salver.worker")

STACK_LIMIT_BYTES = 1 << 20
"""Bodies are stacked up to this size: beyond it, they leave the cache and cost more together."""
_UNLIMITED = 1 << 62
_CODECS = {int(codec): codec_for(codec) for codec in Codec}


class Answers(msgspec.Struct):
    """The replies to a batch, in its order. `must_recycle`: this process is worn out. `traced` are
    the numbers of the items that are to have a report in front of their answers."""

    items: list[Item]
    rows: int = 0
    runs: int = 0
    compute_ns: int = 0
    must_recycle: bool = False
    traced: tuple[int, ...] = ()


class _Pending(msgspec.Struct):
    """A request that fits the model, waiting for its group to be predicted."""

    index: int
    tag: int
    request: WireRequest
    size: int


class Answerer:
    """Answers batches for one loaded model."""

    def __init__(
        self,
        model: LoadedModel,
        identity: ModelIdentity,
        *,
        max_rows: int,
        max_body_bytes: int,
    ) -> None:
        self._model = model
        self._identity = identity
        self._label = f"model '{identity.name}'"
        self._out_of_memory = (
            f"{self._label} ran out of memory (see --worker-memory); it is restarted"
        )
        self._max_rows = max_rows
        self._max_body_bytes = max_body_bytes
        self._takes_batches = hasattr(model, "predict_each")
        self._has_functions = Operation.STEP.method in model.metadata.operations
        self.is_cancelled: Callable[[int], bool] = _never
        """Whether nobody waits any more for an item of the batch, by its number."""
        self.compiles: CompilesLater | None = None
        """The model, if engines may answer in its framework's place."""
        self.caches: CachesAnswers | None = None
        """The model, if it keeps its answers."""
        self.parts: PartSink = NoParts()
        """Where streams go."""
        self._streamer = Streamer(model, identity)
        self._codecs = _codecs_for(identity)
        self._memory: ClientMemory | None = None

    def shares(self, memory: ClientMemory) -> None:
        """Takes tensors from the clients' memory, and puts them there, from now on."""
        self._memory = memory
        self._codecs = {
            **self._codecs,
            **{
                number | PLACED: PlacingCodec(self._codecs[number], number, memory.write)
                for number in PLACEABLE
            },
        }

    def answer(self, batch: Sequence[Item]) -> Answers:
        """One reply per item. Never raises `Exception`; `MemoryError` asks to be recycled."""
        answers = Answers([_NO_ANSWER] * len(batch))
        for (codec, _), group in self._groups(batch, answers).items():
            wire_codec = self._codecs[codec]
            if len(group) == 1:
                self._run(wire_codec, group, answers)
            else:
                for part in self._parts(group):
                    self._run(wire_codec, part, answers)
        if answers.traced:
            answer_traced(batch, answers, self._answer_watched)
        return answers

    def _answer_watched(self, batch: Sequence[Item], *, with_tensors: bool) -> Answers:
        """The same, with a report in front of each answer."""
        watch, watched = Watch(), copy.copy(self)
        watched._model = cast(LoadedModel, WatchedModel(self._model, watch))
        watched._codecs = watched_codecs(self._codecs, watch, with_tensors=with_tensors)
        return watched.answer(batch)

    def unload(self) -> None:
        """Frees the model; nothing is answered any more."""
        self._model.unload()

    def _groups(
        self, batch: Sequence[Item], answers: Answers
    ) -> dict[tuple[int, Hashable], list[_Pending]]:
        groups: dict[tuple[int, Hashable], list[_Pending]] = {}
        identity, codecs = self._identity, self._codecs
        for index, (tag, aux, body) in enumerate(batch):
            if tag > CONTENT_BITS:
                if tag & TRACED:
                    answers.traced += (index,)
                else:
                    self._perform(index, tag, aux, body, answers)
                continue
            codec = tag & 0xFF
            try:
                if tag >> 8 & 0xFF:
                    body = decompress(body, ContentCoding(tag >> 8 & 0xFF), self._max_body_bytes)
                request = codecs[codec].decode(body, aux, identity)
                size = len(body)
                try:
                    key = group_key(request, identity)
                except SharedMemoryAskedError as error:
                    codec, request, shared_bytes = self._placed(request, tag, error)
                    size += shared_bytes
                    key = group_key(request, identity)
            except RequestError as error:
                answers.items[index] = _refusal(error)
                continue
            except MemoryError:
                answers.must_recycle = True
                answers.items[index] = _refusal(ModelFailed(self._out_of_memory))
                continue
            except Exception as error:
                logger.exception("%s: a codec failed on a request", self._label)
                answers.items[index] = _refusal(
                    ModelFailed(f"{self._label} could not read the request: {error!r}")
                )
                continue
            if key is None:
                key = ("alone", index)
            pending = _Pending(index, tag, request, size)
            group = groups.get((codec, key))
            if group is None:
                groups[codec, key] = [pending]
            else:
                group.append(pending)
        return groups

    def _placed(
        self, request: WireRequest, tag: int, error: SharedMemoryAskedError
    ) -> tuple[int, WireRequest, int]:
        """The codec, the request with its bytes, and how many of them shared memory held.

        Raises `RequestError`; the error given if the caller may not share memory.
        """
        codec = tag & 0xFF
        if self._memory is None or not tag & MAY_SHARE or codec not in PLACEABLE:
            raise error
        found, size = resolved(request, self._identity.name, self._memory.read)
        return codec | PLACED if found.places else codec, found, size

    def _perform(self, index: int, tag: int, aux: int, body: Data, answers: Answers) -> None:
        """Answers an item that asks for a step around a model, or for a stream."""
        started_ns = time.perf_counter_ns()
        waited_ns = 0
        try:
            if is_stream(tag):
                answers.rows += 1
                answers.items[index] = self._stream(index, tag, aux, body)
                waited_ns = self._streamer.waited_ns
            else:
                answers.items[index] = self._step(index, tag, aux, body)
        except ModelFailed as error:
            answers.items[index] = _refusal(ModelFailed(f"{self._label} failed: {error}"))
        except RequestError as error:
            answers.items[index] = _refusal(self._named(error))
        except MemoryError:
            answers.must_recycle = True
            answers.items[index] = _refusal(ModelFailed(self._out_of_memory))
        except Exception as error:
            logger.exception("%s raised", self._label)
            text = f"{self._label} raised {type(error).__name__}: {error}"
            answers.items[index] = _refusal(ModelFailed(text))
        answers.compute_ns += time.perf_counter_ns() - started_ns - waited_ns
        answers.runs += 1

    def _stream(self, index: int, tag: int, aux: int, body: Data) -> Item:
        """Sends a request's responses one by one; the item is the last of them, or empty."""
        if tag >> 8 & 0xFF:
            body = decompress(body, ContentCoding(tag >> 8 & 0xFF), self._max_body_bytes)
        number = Codec(tag & 0xFF)
        codec = self._codecs[number]
        request = codec.decode(body, aux, self._identity)
        try:
            last = self._streamer.run(codec, number, request, index, self.parts)
        except SharedMemoryAskedError as error:
            # It comes before the model is asked.
            placing, request, _ = self._placed(request, tag, error)
            codec = self._codecs[placing]
            last = self._streamer.run(codec, number, request, index, self.parts)
        return Item(0, last.json_length, last.body)

    def _step(self, index: int, tag: int, aux: int, body: Data) -> Item:
        model = self._model
        if not model.metadata.operations:
            if operation_of(tag) is Operation.FEEDBACK:
                # As Seldon's own servers do: a model that learns nothing has nothing to say.
                read_feedback(tag & 0xFF, bytes(body))
                return Item(0, 0, empty_message(tag & 0xFF))
            raise Unsupported(f"{self._label} only predicts: it is no transformer or explainer")
        headers: dict[str, str] = {}
        if tag & WITH_HEADERS:
            headers, body = split_headers(body)
        if tag >> 8 & 0xFF:
            body = decompress(body, ContentCoding(tag >> 8 & 0xFF), self._max_body_bytes)
        operation = operation_of(tag)
        if operation is Operation.STEP and self._has_functions:
            leave = partial(self.is_cancelled, index)
            return self._functions(cast(LoadedFunctions, model), headers, body, tag, leave)
        if operation is Operation.STEP or self._has_functions:
            raise Unsupported(f"{self._label} cannot be asked to {operation.method}")
        steps = StepCall(self._identity.name, operation, Codec(tag & 0xFF), headers)
        return _reply(perform(cast(LoadedSteps, model), steps, aux, body), tag)

    def _functions(
        self,
        model: LoadedFunctions,
        headers: dict[str, str],
        body: Data,
        tag: int,
        is_cancelled: Callable[[], bool],
    ) -> Item:
        """Answers a bundle. What goes wrong in a function names its step, not this worker."""
        call, bodies = unpack_call(body)
        for index, head in enumerate(call.messages):
            if head.coding:
                coding = ContentCoding(head.coding)
                plain = decompress(bodies[index], coding, self._max_body_bytes)
                bodies[index] = memoryview(plain)
        if headers:
            call.headers = headers | call.headers
        try:
            reply, found = run_steps(model, call, bodies, is_cancelled)
        except RequestError as error:
            cause = error.__cause__
            if cause is not None and not isinstance(cause, SalverError):
                logger.error("%s: %s", self._label, error, exc_info=cause)
            return _refusal(error)
        return _reply(EncodedResponse(pack(reply, found)), tag)

    def _parts(self, group: list[_Pending]) -> list[list[_Pending]]:
        """Cuts a group where its rows or its bytes exceed what is predicted at once."""
        max_rows = self._max_rows or _UNLIMITED
        parts: list[list[_Pending]] = [[]]
        rows = size = 0
        for pending in group:
            count = _rows_of(pending.request)
            rows += count
            size += pending.size
            if parts[-1] and (rows > max_rows or size > STACK_LIMIT_BYTES):
                parts.append([])
                rows, size = count, pending.size
            parts[-1].append(pending)
        return parts

    def _run(self, codec: WireCodec, group: list[_Pending], answers: Answers) -> None:
        try:
            encoded = self._predict(codec, group, answers)
        except ModelFailed as error:
            # A runtime says what is wrong with the answer; whose answer it is, is known here.
            named = ModelFailed(f"{self._label} failed: {error}")
            self._run_apart_or_refuse(codec, group, answers, named)
        except WorkerUnfit as error:
            answers.must_recycle = True
            _refuse_all(group, answers, self._named(error))
        except RequestError as error:
            self._run_apart_or_refuse(codec, group, answers, self._named(error))
        except MemoryError:
            answers.must_recycle = True
            _refuse_all(group, answers, ModelFailed(self._out_of_memory))
        except Exception as error:
            if len(group) == 1:
                logger.exception("%s raised", self._label)
            text = f"{self._label} raised {type(error).__name__}: {error}"
            self._run_apart_or_refuse(codec, group, answers, ModelFailed(text))
        else:
            for pending, response in zip(group, encoded, strict=True):
                answers.items[pending.index] = _reply(response, pending.tag)

    def _named(self, error: RequestError) -> RequestError:
        """The error with the model in it: what a runtime or a model's code says may lack it."""
        text = str(error)
        return error if self._identity.name in text else type(error)(f"{self._label}: {text}")

    def _run_apart_or_refuse(
        self, codec: WireCodec, group: list[_Pending], answers: Answers, error: RequestError
    ) -> None:
        if len(group) == 1:
            _refuse_all(group, answers, error)
            return
        for pending in group:
            self._run(codec, [pending], answers)

    def _predict(
        self, codec: WireCodec, group: list[_Pending], answers: Answers
    ) -> list[EncodedResponse]:
        requests = [pending.request for pending in group]
        if self._takes_batches:
            return self._predict_each(codec, group, requests, answers)
        request, rows = assemble(requests, self._identity)
        started_ns = time.perf_counter_ns()
        response = self._model.predict(request)
        answers.compute_ns += time.perf_counter_ns() - started_ns
        answers.rows += sum(rows)
        answers.runs += 1
        if len(requests) == 1:
            return [codec.encode(response, requests[0], self._identity)]
        self._check_rows(request, response, sum(rows))
        return codec.encode_rows(response, requests, rows, self._identity)

    def _predict_each(
        self,
        codec: WireCodec,
        group: list[_Pending],
        requests: list[WireRequest],
        answers: Answers,
    ) -> list[EncodedResponse]:
        """Answers those of the group that can be; the others are refused and leave it."""
        started_ns = time.perf_counter_ns()
        found = answer_each(cast(BatchModel, self._model), requests, codec, self._identity)
        answers.compute_ns += time.perf_counter_ns() - started_ns
        answers.runs += 1
        encoded: list[EncodedResponse] = []
        for pending, answer in zip(tuple(group), found, strict=True):
            if isinstance(answer, RequestError):
                group.remove(pending)
                answers.items[pending.index] = _refusal(self._named(answer))
            else:
                # Those of refused requests are what a caller claims, not what was computed.
                answers.rows += _rows_of(pending.request)
                encoded.append(answer)
        return encoded

    def _check_rows(self, request: InferRequest, response: InferResponse, rows: int) -> None:
        for tensor in response.outputs:
            shape = tensor.data.shape
            if not shape or shape[0] != rows:
                raise ModelFailed(
                    f"it answered {rows} rows with output '{tensor.name}' of shape "
                    f"{list(shape)}: a batchable model gives one row for each it gets"
                )


def _rows_of(request: WireRequest) -> int:
    shape = request.inputs[0].shape if request.inputs else ()
    return shape[0] if shape else 1


def _codecs_for(identity: ModelIdentity) -> Mapping[int, WireCodec]:
    images = image_inputs(identity.metadata)
    if not images:
        return _CODECS
    return {number: ImageCodec(codec, images, identity) for number, codec in _CODECS.items()}


def _never(item: int) -> bool:
    return False


def _reply(response: EncodedResponse, tag: int) -> Item:
    accepted = tag >> 16 & ACCEPTED_CODING
    if accepted and len(response.body) >= COMPRESS_FROM_BYTES:
        body = compress(response.body, ContentCoding(accepted))
        return Item(accepted << 8, response.json_length, body)
    return Item(0, response.json_length, response.body)


def _refusal(error: RequestError) -> Item:
    return Item(int(error.kind), 0, str(error).encode(errors="replace"))


def _refuse_all(group: list[_Pending], answers: Answers, error: RequestError) -> None:
    for pending in group:
        answers.items[pending.index] = _refusal(error)


_NO_ANSWER = Item(int(ErrorKind.MODEL_FAILED), 0, b"the worker gave no answer")
