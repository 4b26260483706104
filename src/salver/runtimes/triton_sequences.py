"""Requests that belong together: `sequence_batching` of a Triton model.

Owns which sequences there are and what the model is told of each request: the control inputs
(START, READY, END, CORRID) and the state that it gave before. All sequences of a model live in its
one worker, so they end with it; one request is computed at a time. With the strategy `direct` a
sequence has a place in the batch of its own until it ends, and a sequence that finds none is
refused; Triton has it wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from salver.errors import InvalidInput, LoadFailed, RequestError, Unavailable
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import NUMPY_TYPES, Array, InferRequest, InferResponse, Tensor
from salver.runtimes.ports import AskedRequest, BatchModel, LoadedModel
from salver.runtimes.triton_place import TritonPlace
from salver.runtimes.triton_shapes import datatype_of
from salver.spec.triton_config import (
    Control,
    SequenceBatching,
    State,
    TritonConfig,
)

DEFAULT_IDLE_S = 1.0
MOST_SEQUENCES = 65536
_STATE_FOLDER = "initial_state"
_Id = int | str


class Turn(msgspec.Struct):
    """A sequence between its requests: its place in the batch, and the state it has come to."""

    slot: int
    last_s: float
    states: dict[str, Array] = {}


class SequenceTable:
    """The sequences that have begun and not ended; those that are idle too long are forgotten."""

    def __init__(self, name: str, *, idle_s: float, slots: int, clock: Callable[[], float]) -> None:
        self._name = name
        self._idle_s = idle_s
        self._slots = slots
        self._clock = clock
        self._turns: dict[_Id, Turn] = {}
        """The one that was asked longest ago first."""

    def __len__(self) -> int:
        return len(self._turns)

    def turn(self, sequence: _Id, *, starts: bool) -> Turn:
        """The sequence's place and state. Raises `InvalidInput`, `Unavailable`."""
        now_s = self._clock()
        self._forget_idle(now_s)
        known = self._turns.pop(sequence, None)
        if known is None and not starts:
            raise InvalidInput(
                f"inference request for sequence {sequence} to model '{self._name}' must specify "
                "the START flag on the first request of the sequence"
            )
        if known is None:
            known = Turn(self._free_slot(), now_s)
        elif starts:
            known = Turn(known.slot, now_s)
        known.last_s = now_s
        self._turns[sequence] = known
        return known

    def end(self, sequence: _Id) -> None:
        """Forgets the sequence."""
        self._turns.pop(sequence, None)

    def _forget_idle(self, now_s: float) -> None:
        for sequence, turn in list(self._turns.items()):
            if now_s - turn.last_s <= self._idle_s:
                return
            del self._turns[sequence]

    def _free_slot(self) -> int:
        taken = {turn.slot for turn in self._turns.values()}
        if len(taken) >= self._slots:
            raise Unavailable(
                f"model '{self._name}' has {self._slots} sequences at a time, and all are running: "
                "retry when one has ended"
            )
        if self._slots == MOST_SEQUENCES:
            return len(self._turns)
        return next(slot for slot in range(self._slots) if slot not in taken)


class SequencedModel:
    """Implements `BatchModel` around a model that is asked in sequences."""

    def __init__(
        self,
        model: LoadedModel,
        config: TritonConfig,
        batching: SequenceBatching,
        place: TritonPlace,
        clock: Callable[[], float],
    ) -> None:
        """Raises `LoadFailed` for an initial state that cannot be read."""
        self._model = model
        self._takes_batches = hasattr(model, "predict_each")
        self._config = config
        self._states = {each.output_name: each for each in batching.state}
        self._controls = [
            (each.name, control) for each in batching.control_input for control in each.control
        ]
        self._initial = {each.input_name: _initial(each, config, place) for each in batching.state}
        self._absent = {
            name: _control(name, control, (), is_set=False).data.item()
            for name, control in self._controls
            if not control.kind.endswith("CORRID")
        }
        is_direct = batching.oldest is None
        self._has_slots = is_direct and config.max_batch_size > 1 and not self._takes_batches
        self.table = SequenceTable(
            config.name,
            idle_s=batching.max_sequence_idle_microseconds / 1e6 or DEFAULT_IDLE_S,
            slots=max(1, config.max_batch_size) if is_direct else MOST_SEQUENCES,
            clock=clock,
        )
        self._metadata = msgspec.structs.replace(model.metadata, batchable=False, idempotent=False)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        """A request whose parameters nobody has handed on: only a whole sequence in one can be."""
        parameters = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
        return self._one(AskedRequest(request, parameters={**parameters, **request.parameters}))

    def predict_each(
        self, requests: Sequence[AskedRequest]
    ) -> Sequence[InferResponse | RequestError]:
        answers: list[InferResponse | RequestError] = []
        for asked in requests:
            try:
                answers.append(self._one(asked))
            except RequestError as error:
                answers.append(error)
        return answers

    def unload(self) -> None:
        self._model.unload()

    def _one(self, asked: AskedRequest) -> InferResponse:
        sequence, starts, ends = _flags(asked.parameters, self._config.name)
        if self._config.max_batch_size > 0 and len(asked.request.inputs[0].data) != 1:
            raise InvalidInput(
                f"inference request to model '{self._config.name}' must have a batch size of 1: "
                "send one row of a sequence at a time"
            )
        turn = self.table.turn(sequence, starts=starts)
        request = self._completed(asked.request, turn, sequence, starts=starts, ends=ends)
        if self._has_slots:
            request = _placed(request, turn.slot, self._absent)
        answer = self._asked(msgspec.structs.replace(asked, request=request))
        if self._has_slots:
            answer = _taken(answer, turn.slot)
        answer = self._kept(answer, turn, asked.request)
        if ends:
            self.table.end(sequence)
        return answer

    def _asked(self, asked: AskedRequest) -> InferResponse:
        if not self._takes_batches:
            return self._model.predict(asked.request)
        (answer,) = cast(BatchModel, self._model).predict_each([asked])
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def _completed(
        self, request: InferRequest, turn: Turn, sequence: _Id, *, starts: bool, ends: bool
    ) -> InferRequest:
        """The request with the control inputs and the state of its sequence."""
        set_ones = {"START": starts, "END": ends, "READY": True}
        shape = (1, 1) if self._config.max_batch_size > 0 else (1,)
        tensors = list(request.inputs)
        for name, control in self._controls:
            kind = control.kind.rpartition("_")[2]
            tensors.append(
                _corrid(name, control, sequence, shape)
                if kind == "CORRID"
                else _control(name, control, shape, is_set=set_ones[kind])
            )
        for state in self._states.values():
            array = turn.states.get(state.input_name, self._initial[state.input_name])
            tensors.append(Tensor(state.input_name, datatype_of(state.data_type), array))
        outputs = request.outputs
        if self._states:
            outputs = (*(outputs or self._metadata.default_outputs), *self._states)
        return msgspec.structs.replace(
            request, inputs=tuple(tensors), outputs=tuple(dict.fromkeys(outputs))
        )

    def _kept(self, answer: InferResponse, turn: Turn, request: InferRequest) -> InferResponse:
        """The answer without the state, which the sequence keeps."""
        if not self._states:
            return answer
        shown = request.outputs or self._metadata.default_outputs
        for tensor in answer.outputs:
            state = self._states.get(tensor.name)
            if state is not None:
                turn.states[state.input_name] = tensor.data
        return msgspec.structs.replace(
            answer, outputs=tuple(each for each in answer.outputs if each.name in shown)
        )


def _flags(parameters: Mapping[str, Any], name: str) -> tuple[_Id, bool, bool]:
    """The sequence of a request, whether it starts there and whether it ends."""
    sequence = parameters.get("sequence_id", 0)
    is_text = isinstance(sequence, str)
    is_number = isinstance(sequence, int) and not isinstance(sequence, bool)
    if not sequence or not (is_text or is_number):
        raise InvalidInput(
            f"inference request to model '{name}' must specify a non-zero or non-empty "
            "correlation ID: send it as the parameter sequence_id"
        )
    starts = bool(parameters.get("sequence_start", False))
    return sequence, starts, bool(parameters.get("sequence_end", False))


def _control(name: str, control: Control, shape: tuple[int, ...], *, is_set: bool) -> Tensor:
    if control.fp32_false_true:
        return Tensor(name, "FP32", np.full(shape, control.fp32_false_true[is_set], np.float32))
    if control.bool_false_true:
        return Tensor(name, "BOOL", np.full(shape, control.bool_false_true[is_set], np.bool_))
    return Tensor(name, "INT32", np.full(shape, control.int32_false_true[is_set], np.int32))


def _corrid(name: str, control: Control, sequence: _Id, shape: tuple[int, ...]) -> Tensor:
    datatype = datatype_of(control.data_type) if control.data_type != "TYPE_INVALID" else "UINT64"
    if datatype == "BYTES":
        array = np.empty(shape, np.object_)
        array[...] = str(sequence).encode()
        return Tensor(name, datatype, array)
    try:
        return Tensor(name, datatype, np.full(shape, int(sequence), NUMPY_TYPES[datatype]))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"the sequence_id {str(sequence)[:40]!r} cannot be the {datatype} that the model's "
            f"input '{name}' takes: send a number that fits"
        ) from error


def _initial(state: State, config: TritonConfig, place: TritonPlace) -> Array:
    """What the state is before the first request of a sequence."""
    given = state.initial_state[0] if state.initial_state else None
    dims = given.dims if given is not None and given.dims else state.dims
    batch = (1,) if config.max_batch_size > 0 else ()
    shape = (*batch, *(max(size, 1) for size in dims))
    dtype = NUMPY_TYPES[datatype_of(state.data_type)]
    if given is None or not given.data_file:
        return np.full(shape, b"" if dtype == np.object_ else 0, dtype)
    file = place.folder / _STATE_FOLDER / given.data_file
    try:
        return np.frombuffer(file.read_bytes(), dtype.newbyteorder("<")).reshape(shape)
    except (OSError, ValueError) as error:
        raise LoadFailed(
            f"model '{config.name}': the initial state {file} cannot be read: {error}"
        ) from error


def _placed(request: InferRequest, slot: int, absent: Mapping[str, Any]) -> InferRequest:
    """The one row in its place of a batch, the places before it blank and not ready.

    `absent` are the values of control inputs of such places.
    """
    tensors = []
    for tensor in request.inputs:
        blank = absent.get(tensor.name, b"" if tensor.datatype == "BYTES" else 0)
        rows = np.full((slot + 1, *tensor.data.shape[1:]), blank, tensor.data.dtype)
        rows[slot] = tensor.data[0]
        tensors.append(msgspec.structs.replace(tensor, data=rows))
    return msgspec.structs.replace(request, inputs=tuple(tensors))


def _taken(answer: InferResponse, slot: int) -> InferResponse:
    """The row of that place."""
    outputs = tuple(
        msgspec.structs.replace(each, data=each.data[slot : slot + 1]) for each in answer.outputs
    )
    return msgspec.structs.replace(answer, outputs=outputs)
