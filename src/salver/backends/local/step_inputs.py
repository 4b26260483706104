"""The messages of a bundle as functions see them, and functions' answers as messages.

Implements the runtime's `StepInput` over the wire formats. A message is read once, when a function
first asks for it. Refuses to call anything: `function_chain.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from google.protobuf.json_format import MessageToDict

from salver.errors import InvalidInput, ModelFailed, RequestError
from salver.inference.tensor import InferResponse, Tensor, tensor_from_array
from salver.protocol.bundle import Body
from salver.protocol.codecs import codec_for
from salver.protocol.seldon_messages import message_of_content, message_of_tensors
from salver.protocol.seldon_meta import read_feedback
from salver.protocol.step_messages import Document, StepMessage, json_text
from salver.protocol.wire import EncodedResponse
from salver.protocol.wire_codes import Codec
from salver.runtimes.step_ports import Feedback, StepAnswer, StepInput

_CODECS = {int(codec): codec for codec in Codec}
_EMPTY: Mapping[Codec, bytes] = {
    Codec.V1_JSON: b'{"instances":[]}',
    Codec.V2_JSON: b'{"inputs":[]}',
    Codec.V2_GRPC: b"",
    Codec.SELDON_JSON: b'{"data":{"ndarray":[]}}',
    Codec.SELDON_GRPC: b"\x1a\x02\x1a\x00",
}
"""A request of each format with nothing in it, for an answer in another format to come after."""
_HOLDERS = frozenset({"data", "binData", "strData", "jsonData", "customData"})
_CONTENT = "content"
"""The tensor that carries text, bytes or JSON where a format has no other place for it."""
_V1_ANSWERS = ("predictions", "outputs")


class MessageInput(StepMessage):
    """A message of the bundle, or one that a function wrote itself. Implements `StepInput`."""

    def __init__(
        self, name: str, codec: int, aux: int, body: Body, model: str, *, is_request: bool
    ) -> None:
        super().__init__(codec_of(codec), aux, body, model, is_request=is_request)  # type: ignore[arg-type]
        self.name = name
        self._tensors: tuple[Tensor, ...] | None = None

    def tensors(self) -> tuple[Tensor, ...]:
        if self._tensors is None:
            self._tensors = super().tensors()
        return self._tensors

    def feedback(self) -> Feedback:
        if not self.is_seldon:
            raise InvalidInput("feedback is taken in Seldon's formats only")
        parts = read_feedback(self.codec, bytes(self.body))
        return Feedback(self._part(parts.request), parts.reward, self._part(parts.truth))

    def feedback_document(self) -> Document:
        if self.codec is not Codec.SELDON_GRPC:
            return self.document()
        from salver.protocol.seldon_pb2 import Feedback as FeedbackMessage

        self.feedback()  # Raises what is wrong with it.
        document: Document = MessageToDict(FeedbackMessage.FromString(bytes(self.body)))
        return document

    def answered(self, tensors: tuple[Tensor, ...]) -> EncodedResponse:
        """The response with these tensors: to a request as it asks for it, else like this one."""
        if self.codec is Codec.V2_JSON and self.is_request:
            response = InferResponse(tensors)
            return codec_for(self.codec).encode(response, self.wire, self._identity)
        return self.response_of_tensors(tensors)

    def nothing_in(self, codec: Codec) -> MessageInput:
        """An empty request of that format, to write after; this one, if it is of the format."""
        if codec is self.codec:
            return self
        model = self._identity.name
        return MessageInput(self.name, codec, 0, _EMPTY[codec], model, is_request=True)

    def written_by(self, name: str, body: bytes, aux: int) -> MessageInput:
        """A message of the same format, which a function wrote as a whole."""
        model = self._identity.name
        return MessageInput(name, self.codec, aux, body, model, is_request=self.is_request)

    def _part(self, body: bytes | None) -> MessageInput | None:
        """A message of the Feedback; None if there is none, or no data in it."""
        if body is None:
            return None
        part = self.written_by(self.name, body, 0)
        return part if _HOLDERS & part.document().keys() else None


def codec_of(number: int) -> Codec:
    """The wire format of that number. Raises `InvalidInput` if there is none."""
    codec = _CODECS.get(number)
    if codec is None:
        raise InvalidInput(f"the step's message has the unknown codec {number}")
    return codec


def empty_input(codec: int, model: str) -> MessageInput:
    """What a chain begins with that is given no message. Raises `InvalidInput`."""
    known = codec_of(codec or Codec.V1_JSON)
    return MessageInput("", known, 0, _EMPTY[known], model, is_request=True)


class AnswerInput(msgspec.Struct):
    """What one function gave, as the next one gets it. Implements `StepInput`.

    `first` is the message that the chain began with, `tags` are those noted so far.
    """

    name: str
    answer: StepAnswer
    first: MessageInput
    tags: Mapping[str, Any]

    def tensors(self) -> tuple[Tensor, ...]:
        tensors = self.answer.tensors
        return tensors if tensors is not None else tensors_in(self.answer)

    def content(self) -> Any:
        return self.answer.content

    def columns(self) -> Sequence[str]:
        return self.answer.columns

    def meta(self) -> dict[str, Any]:
        return meta_with(self.first, self.tags)

    def document(self) -> Document:
        first = self.first
        written = message_of(
            self.answer, first, first.codec, self.tags, is_request=first.is_request
        )
        return first.written_by(self.name, written.body, written.json_length).document()

    def feedback(self) -> Feedback:
        raise InvalidInput("a function's answer is no feedback")

    def feedback_document(self) -> Document:
        raise InvalidInput("a function's answer is no feedback")


def next_input(
    name: str, answer: StepAnswer, first: MessageInput, tags: Mapping[str, Any]
) -> StepInput:
    """The answer as the input of the next function. Raises `ModelFailed`."""
    if answer.tensors is not None:
        return AnswerInput(name, answer, first, tags)
    if answer.passed is not None:
        return answer.passed
    if answer.document is not None:
        written = document_message(answer.document, first, is_request=first.is_request)
        return first.written_by(name, written.body, written.json_length)
    if answer.content is msgspec.UNSET:
        raise ModelFailed("it answers with no message that the next step could be given")
    return AnswerInput(name, answer, first, tags)


def meta_with(first: MessageInput, tags: Mapping[str, Any]) -> dict[str, Any]:
    """The meta that the chain's first message has, with the tags noted since."""
    meta = first.meta()
    if tags:
        meta = {**meta, "tags": {**(meta.get("tags") or {}), **tags}}
    return meta


def tensors_in(answer: StepAnswer) -> tuple[Tensor, ...]:
    """The answer's tensors; its text, bytes or JSON as one of BYTES."""
    if answer.tensors is not None:
        return answer.tensors
    content, parameters = answer.content, {}
    if not isinstance(content, str | bytes):
        content, parameters = json_text(content), {"content_type": "json"}
    element = np.empty(1, dtype=np.object_)
    element[0] = content
    tensor = tensor_from_array(_CONTENT, element)
    return (Tensor(_CONTENT, "BYTES", tensor.data, parameters),)


def document_message(document: Document, first: MessageInput, is_request: bool) -> EncodedResponse:
    """The whole message that a function gave. Raises `ModelFailed` if it is none."""
    try:
        if is_request:
            return first.request_of_document(document)
        return first.response_of_document(document)
    except RequestError as error:
        raise ModelFailed(str(error)) from error


def message_of(
    answer: StepAnswer,
    first: MessageInput,
    codec: Codec,
    tags: Mapping[str, Any],
    *,
    is_request: bool,
    names: Sequence[str] = (),
) -> EncodedResponse:
    """The answer in a wire format, its tensors called by `names`. Raises `RequestError`."""
    template = first.nothing_in(codec)
    if template.is_seldon:
        return _seldon_message(answer, first, codec, tags)
    content = answer.content
    is_document = isinstance(content, dict) and any(key in content for key in _V1_ANSWERS)
    if codec is Codec.V1_JSON and not is_request and is_document:
        return document_message(content, template, is_request=False)
    tensors = tensors_in(answer)
    if names:
        tensors = _renamed(tensors, names)
    return template.request_of_tensors(tensors) if is_request else template.answered(tensors)


def _renamed(tensors: tuple[Tensor, ...], names: Sequence[str]) -> tuple[Tensor, ...]:
    """The first ones under these names; there may be more of either."""
    renamed = [
        Tensor(name, each.datatype, each.data, each.parameters)
        for name, each in zip(names, tensors, strict=False)
    ]
    return (*renamed, *tensors[len(renamed) :])


def _seldon_message(
    answer: StepAnswer, first: MessageInput, codec: Codec, tags: Mapping[str, Any]
) -> EncodedResponse:
    """Requests and responses are the same there. What the meta says of the way, others add."""
    meta = meta_with(first, tags)
    kept = {key: meta[key] for key in ("puid", "tags") if meta.get(key)}
    if answer.tensors is None:
        return message_of_content(codec, answer.content, kept)
    kind = first.kind if first.is_seldon else "ndarray"
    return message_of_tensors(codec, answer.tensors, kind, answer.columns, kept)
