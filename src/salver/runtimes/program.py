"""Models in any language: a command that reads framed requests and writes framed answers.

The protocol is one page, `docs/framed-protocol.md`. Owns the start of a program, up to its hello,
and what requests and answers say; the worker is its supervisor. Java's `.jar` and R's `.R` files
are such programs too, by wrappers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from salver.errors import InvalidInput, LoadFailed, ModelFailed
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.ports import ModelSource
from salver.runtimes.program_child import BrokenProtocol, ProgramChild, ProgramEnded
from salver.runtimes.program_frames import Message
from salver.runtimes.program_spec import ProgramSpec, program_spec
from salver.runtimes.program_supervisor import StartFailed, Supervisor
from salver.runtimes.program_tensors import described, raw_of, shape_text, tensors_of

PROTOCOL_VERSION = "1"
_YES = {"yes": True, "no": False}


class ProgramRuntime:
    """Runs commands that speak the framed protocol."""

    name = "program"
    framework = "program"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> ProgramModel:
        spec = program_spec(source)
        try:
            child, metadata = _greeted(spec, source)
        except StartFailed as error:
            raise LoadFailed(
                f"model '{source.name}': its program ({' '.join(spec.command)[:200]}) {error}; "
                "what it printed is in the model's log"
            ) from error
        supervisor = Supervisor(
            partial(_started_again, spec, source, metadata),
            label=f"model '{source.name}'",
            is_idempotent=metadata.idempotent,
            clock=time.monotonic,
        )
        supervisor.begin(child)
        return ProgramModel(metadata, supervisor)


class ProgramModel:
    """A program that has said hello."""

    def __init__(self, metadata: ModelMetadata, supervisor: Supervisor) -> None:
        self._metadata = metadata
        self._supervisor = supervisor
        self._count = 0

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    @property
    def pid(self) -> int:
        """The program's process, 0 while there is none."""
        return self._supervisor.pid

    def predict(self, request: InferRequest) -> InferResponse:
        """Raises `Unavailable` while the program is not there, `ModelFailed` for its errors."""
        self._count += 1
        number = str(self._count)
        body = [raw_of(tensor) for tensor in request.inputs]
        lines: list[tuple[str, ...]] = [("request", number)]
        lines += [
            ("input", each.name, each.datatype, shape_text(each.data.shape), str(len(raw)))
            for each, raw in zip(request.inputs, body, strict=True)
        ]
        lines += [("parameter", name, _text(value)) for name, value in request.parameters.items()]
        lines += [("output", name) for name in request.outputs]
        answer = self._supervisor.ask(lines, body, check=partial(_check_answer, number))
        if answer.kind == "error":
            raise _error(answer)
        return self._response(answer, request)

    def _response(self, answer: Message, request: InferRequest) -> InferResponse:
        try:
            tensors = tensors_of(answer, "output")
        except ValueError as error:
            raise ModelFailed(f"its program answered wrongly: {error}") from error
        for tensor in tensors:
            self._check_output(tensor)
        found = {tensor.name: tensor for tensor in tensors}
        optional = {each.name for each in self._metadata.outputs if each.optional}
        wanted = request.outputs or tuple(each.name for each in self._metadata.outputs) or found
        missing = [name for name in wanted if name not in found and name not in optional]
        if missing:
            listed = ", ".join(f"'{name}'" for name in found) or "none"
            raise ModelFailed(f"its program answered no output '{missing[0]}'; it gave {listed}")
        parameters = {each[0]: each[1] for each in answer.values("parameter") if len(each) > 1}
        return InferResponse(tuple(found[name] for name in wanted if name in found), parameters)

    def _check_output(self, tensor: Tensor) -> None:
        declared = next((x for x in self._metadata.outputs if x.name == tensor.name), None)
        if declared is not None and declared.datatype != tensor.datatype:
            raise ModelFailed(
                f"its program answered output '{tensor.name}' as {tensor.datatype}; it had said "
                f"{declared.datatype}"
            )

    def unload(self) -> None:
        self._supervisor.close()


def _check_answer(number: str, message: Message) -> None:
    if message.kind not in ("answer", "error"):
        raise BrokenProtocol(f"sent {message.kind[:40]!r} where an answer belongs")
    if message.id != number:
        raise BrokenProtocol(f"answered request {message.id[:40]!r}, and was asked {number}")


def _error(answer: Message) -> InvalidInput | ModelFailed:
    _, _, kind, text = (*answer.lines[0], "", "", "")[:4]
    text = " ".join(text.split()) or "it gave no reason"
    return InvalidInput(text) if kind == "input" else ModelFailed(text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- the start of a process ------------------------------------------------------------------


def _started_again(spec: ProgramSpec, source: ModelSource, metadata: ModelMetadata) -> ProgramChild:
    """A process like the one before. Raises `StartFailed` also if it says to be another."""
    child, found = _greeted(spec, source)
    if found != metadata:
        child.kill()
        raise StartFailed("has other inputs or outputs than before; load the model again")
    return child


def _greeted(spec: ProgramSpec, source: ModelSource) -> tuple[ProgramChild, ModelMetadata]:
    """A process that has said hello and reads what it is sent. Raises `StartFailed`."""
    try:
        child = ProgramChild(spec, _environment(source))
    except OSError as error:
        raise StartFailed(f"cannot be run: {error.strerror or error}") from error
    try:
        hello = child.receive(spec.start_timeout_s)
        metadata = _metadata(hello, spec, source)
        child.send([("ping", "0")])
        pong = child.receive(spec.start_timeout_s)
        if pong.kind != "pong" or pong.id != "0":
            raise BrokenProtocol(f"sent {pong.kind[:40]!r} where a pong belongs")
    except ProgramEnded as error:
        raise _failed(child, f"{error} before it was ready") from error
    except BrokenProtocol as error:
        raise _failed(child, str(error)) from error
    except ValueError as error:
        raise _failed(child, f"said a wrong hello: {error}") from error
    except TimeoutError as error:
        raise _failed(child, f"was not ready within {spec.start_timeout_s:g} s") from error
    return child, metadata


def _failed(child: ProgramChild, reason: str) -> StartFailed:
    child.kill()
    return StartFailed(reason)


def _environment(source: ModelSource) -> Mapping[str, str]:
    return {
        "SALVER_MODEL": source.name,
        "SALVER_MODEL_PATH": str(source.path),
        "SALVER_THREADS": str(source.threads),
    }


def _metadata(hello: Message, spec: ProgramSpec, source: ModelSource) -> ModelMetadata:
    """What the model is: by its settings, else its hello. Raises `ValueError`."""
    if hello.kind != "hello":
        raise BrokenProtocol(f"sent {hello.kind[:40]!r} where its hello belongs")
    if hello.id != PROTOCOL_VERSION:
        raise ValueError(f"it speaks version {hello.id!r} of the protocol, not {PROTOCOL_VERSION}")
    inputs = spec.inputs
    if inputs is None:
        inputs = tuple(described(each, "input") for each in hello.values("input")) or source.inputs
    outputs = spec.outputs
    if outputs is None:
        said = tuple(described(each, "output") for each in hello.values("output"))
        outputs = said or source.outputs
    batchable, idempotent = spec.batchable, spec.idempotent
    return ModelMetadata(
        platform=_word(hello, "platform") or spec.platform,
        inputs=inputs,
        outputs=outputs,
        default_outputs=tuple(each.name for each in outputs),
        positional_input=len(inputs) == 1,
        batchable=_flag(hello, "batchable", default=False) if batchable is None else batchable,
        idempotent=_flag(hello, "idempotent", default=True) if idempotent is None else idempotent,
    )


def _word(hello: Message, kind: str) -> str:
    return next((fields[0] for fields in hello.values(kind) if fields), "")


def _flag(hello: Message, kind: str, *, default: bool) -> bool:
    word = _word(hello, kind)
    if word and word not in _YES:
        raise ValueError(f"its line {kind} says {word!r}: say yes or no")
    return _YES.get(word, default)
