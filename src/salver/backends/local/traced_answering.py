"""How a worker answers the traced requests of a batch: with a report of their times.

They are answered as all others are, stacked with their like, by a second `Answerer` on the same
model whose model and codecs look at the clock. Untraced requests do not come here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol.frame import Item
from salver.protocol.materialise import assemble
from salver.protocol.operations import CONTENT_BITS, TRACED_TENSORS
from salver.protocol.rows import row_slices
from salver.protocol.trace_report import TracedTensor, TraceReport, with_report
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireCodec, WireRequest

if TYPE_CHECKING:
    from salver.backends.local.answering import Answers

MOST_ELEMENTS = 16_384
"""Of a tensor, what a report shows."""
Answer = Callable[["Watch", Sequence[Item]], "Answers"]


class Watch:
    """The moments of what is being answered: begun, predicting, predicted; in ns."""

    def __init__(self) -> None:
        self.begun_ns = self.started_ns = self.ended_ns = time.monotonic_ns()


class WatchedModel:
    """A loaded model whose predictions are timed."""

    def __init__(self, model: Any, watch: Watch) -> None:
        self._model = model
        self._watch = watch
        if hasattr(model, "predict_each"):
            self.predict_each = self._timed(model.predict_each)
        self.predict: Callable[[InferRequest], InferResponse] = self._timed(model.predict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _timed(self, predict: Callable[[Any], Any]) -> Callable[[Any], Any]:
        watch = self._watch

        def timed(asked: Any) -> Any:
            watch.started_ns = time.monotonic_ns()
            try:
                return predict(asked)
            finally:
                watch.ended_ns = time.monotonic_ns()

        return timed


class WatchedCodec:
    """A codec that puts a report in front of each answer."""

    def __init__(self, codec: WireCodec, watch: Watch, *, with_tensors: bool) -> None:
        self._codec = codec
        self._watch = watch
        self._with_tensors = with_tensors

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        return self._codec.decode(body, aux, model)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        encoded = self._codec.encode(response, request, model)
        inputs: tuple[TracedTensor, ...] = ()
        outputs: tuple[TracedTensor, ...] = ()
        watch, ended_ns = self._watch, time.monotonic_ns()
        if self._with_tensors:
            inputs = tuple(map(traced_tensor, assemble([request], model)[0].inputs))
            outputs = tuple(map(traced_tensor, response.outputs))
        report = TraceReport(
            request.id or "",
            watch.begun_ns,
            watch.started_ns,
            watch.ended_ns,
            ended_ns,
            inputs,
            outputs,
        )
        return EncodedResponse(with_report(report, encoded.body), encoded.json_length)

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        if len(requests) == 1:
            return [self.encode(response, requests[0], model)]
        parts = row_slices(response, rows)
        return [
            self.encode(part, request, model) for part, request in zip(parts, requests, strict=True)
        ]


def watched_codecs(
    codecs: Mapping[int, WireCodec], watch: Watch, *, with_tensors: bool
) -> dict[int, WireCodec]:
    """All codecs, with reports."""
    return {
        number: WatchedCodec(codec, watch, with_tensors=with_tensors)
        for number, codec in codecs.items()
    }


def answer_traced(batch: Sequence[Item], answers: Answers, answer: Callable[..., Answers]) -> None:
    """Answers those of the batch that `answers.traced` names; `answer` answers plain items, with
    reports, with tensors or without."""
    for with_tensors in (False, True):
        indexes = [
            index
            for index in answers.traced
            if bool(batch[index][0] & TRACED_TENSORS) is with_tensors
        ]
        if not indexes:
            continue
        items = [Item(batch[i][0] & CONTENT_BITS, *batch[i][1:]) for i in indexes]
        found = answer(items, with_tensors=with_tensors)
        for index, item in zip(indexes, found.items, strict=True):
            answers.items[index] = item
        answers.rows += found.rows
        answers.runs += found.runs
        answers.compute_ns += found.compute_ns
        answers.must_recycle |= found.must_recycle


def traced_tensor(tensor: Tensor) -> TracedTensor:
    """The tensor as traces have it."""
    flat = tensor.data.reshape(-1)
    shown = flat[:MOST_ELEMENTS].tolist()
    return TracedTensor(
        tensor.name,
        ",".join(map(_element, shown)),
        ",".join(map(str, tensor.data.shape)),
        tensor.datatype,
        is_cut=flat.size > len(shown),
    )


def _element(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value:g}" if isinstance(value, float) else str(int(value))
