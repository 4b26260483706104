"""What a request asks of a model: its inputs, outputs and parameters held against metadata.

Pure and without arrays: only names, datatypes and shapes are looked at here, so that the
answer holds for every request that looks the same. `materialise.py` keeps the answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from salver.errors import InvalidInput
from salver.inference.metadata import DATATYPES, ModelMetadata, TensorMetadata
from salver.inference.tensor import NO_PARAMETERS, Parameters
from salver.protocol.class_names import class_count
from salver.protocol.classification import wants_classes
from salver.protocol.content import CONTENT_TYPES, needs_decoding
from salver.protocol.elements import shown
from salver.protocol.shared_memory import SharedMemoryAskedError, asks_for_memory
from salver.protocol.tfs_signatures import SIGNATURE_PARAMETER, narrowed_to
from salver.protocol.wire import ModelIdentity, WireOutput, WireRequest, WireTensor

_MOST_ELEMENTS = 1 << 40
_MOST_DIMENSIONS = 32
TRANSPORT_PARAMETERS = frozenset(
    {
        "binary_data_output",
        "headers",
        "priority",
        "timeout",
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "triton_enable_empty_final_response",
        "triton_final_response",
    }
)
"""Request parameters that concern the transport or a scheduler, never the model."""
_TENSOR_TRANSPORT_PARAMETERS = frozenset({"binary_data_size", "binary_data"})


class Slot:
    """Where one tensor for the model comes from: `index` in the request's inputs."""

    __slots__ = (
        "content_type",
        "datatype",
        "index",
        "name",
        "parameters",
        "subject",
        "trailing",
        "width",
    )

    def __init__(
        self, index: int, name: str, tensor: WireTensor, trailing: tuple[int, ...], subject: str
    ) -> None:
        self.index = index
        self.name = name
        self.datatype: Any = tensor.datatype
        self.trailing = trailing
        self.width = math.prod(trailing)
        self.parameters = kept_parameters(tensor.parameters, _TENSOR_TRANSPORT_PARAMETERS)
        self.content_type: str | None = self.parameters.get("content_type")
        self.subject = subject


class Layout:
    """A checked request without its values; equal requests share one layout object.

    `joined_into` is the matrix input that the columns are to be joined into, if any. `classes`: an
    output is wanted as classes.
    """

    __slots__ = ("classes", "is_alone", "joined_into", "outputs", "parameters", "slots")

    def __init__(
        self,
        slots: tuple[Slot, ...],
        outputs: tuple[str, ...],
        parameters: Parameters,
        *,
        is_alone: bool,
        joined_into: TensorMetadata | None = None,
        classes: bool = False,
    ) -> None:
        self.slots = slots
        self.outputs = outputs
        self.parameters = parameters
        self.is_alone = is_alone
        self.joined_into = joined_into
        self.classes = classes


def layout_of(request: WireRequest, model: ModelIdentity) -> Layout:
    """Checks the request. Raises `InvalidInput` for what the metadata refuses."""
    parameters = kept_parameters(request.parameters, TRANSPORT_PARAMETERS)
    signature = parameters.get(SIGNATURE_PARAMETER)
    if signature is not None and model.metadata.signatures:
        model = narrowed_to(str(signature), model)
    metadata = model.metadata
    content_type = _content_type(parameters, f"the request to model {model.name!r}")
    _check_basics(request.inputs, model)
    joined_into = None
    if _is_by_column(request, metadata, content_type):
        slots = _column_slots(request.inputs, model)
    elif content_type == "pd" and _takes_any_columns(metadata):
        slots = _free_slots(request.inputs, model)
    elif content_type == "pd" and _is_matrix_in_columns(request, metadata):
        slots = _free_slots(request.inputs, model, as_columns=True)
        joined_into = metadata.inputs[0]
        _check_joined(slots, joined_into, model)
    elif metadata.inputs:
        slots = _input_slots(request.inputs, model)
    else:
        slots = _free_slots(request.inputs, model)
    if not slots:
        raise InvalidInput(f"the request to model {model.name!r} has no inputs: send one or more")
    is_alone = not metadata.batchable or any(needs_decoding(slot.content_type) for slot in slots)
    if metadata.batchable:
        _check_rows(slots, request.inputs, model)
    return Layout(
        slots,
        _checked_outputs(request.outputs, model),
        parameters,
        is_alone=is_alone,
        joined_into=joined_into,
        classes=wants_classes(request),
    )


def kept_parameters(
    parameters: Mapping[str, Any] | None, dropped: frozenset[str]
) -> Mapping[str, Any]:
    """The parameters that are for the model to see."""
    if not parameters:
        return NO_PARAMETERS
    return {k: v for k, v in parameters.items() if k not in dropped} or NO_PARAMETERS


def input_subject(name: str, model: ModelIdentity) -> str:
    """How messages name an input."""
    return f"input {name[:64]!r} of model {model.name!r}"


def _content_type(parameters: Mapping[str, Any], subject: str) -> str | None:
    content_type = parameters.get("content_type")
    if content_type is None or content_type in CONTENT_TYPES:
        return content_type
    raise InvalidInput(
        f"{subject} has the unknown content_type {str(content_type)[:40]!r}: "
        f"use one of {', '.join(CONTENT_TYPES)}"
    )


def _check_basics(inputs: Sequence[WireTensor], model: ModelIdentity) -> None:
    seen: set[str] = set()
    for tensor in inputs:
        subject = input_subject(tensor.name, model)
        if tensor.name in seen:
            raise InvalidInput(f"{subject} is given twice: send each input once")
        seen.add(tensor.name)
        if tensor.datatype not in DATATYPES:
            raise InvalidInput(
                f"{subject} has the unknown datatype {tensor.datatype[:40]!r}: "
                f"use one of {', '.join(sorted(DATATYPES))}"
            )
        _check_parameters(tensor.parameters, subject)
        if tensor.parameters:
            _content_type(tensor.parameters, subject)
        _check_extent(tensor.shape, subject)


def _check_parameters(parameters: Mapping[str, Any] | None, subject: str) -> None:
    if asks_for_memory(parameters):
        raise SharedMemoryAskedError(
            f"{subject} asks for shared memory of the client's, which is for callers on this "
            "machine who ask a model over V2 (--client-shared-memory local): send the values"
        )


def _check_extent(shape: tuple[int, ...], subject: str) -> None:
    if any(size < 0 for size in shape):
        raise InvalidInput(
            f"{subject} has the shape {shown(shape)[:80]}: send the real size of each dimension"
        )
    if len(shape) > _MOST_DIMENSIONS or math.prod(max(n, 1) for n in shape) > _MOST_ELEMENTS:
        raise InvalidInput(
            f"{subject} has the absurd shape {shown(shape[:8])[:80]}: send what the model takes"
        )


def _is_by_column(request: WireRequest, metadata: ModelMetadata, content_type: str | None) -> bool:
    columns = metadata.column_names
    if not columns:
        return False
    names = {tensor.name for tensor in request.inputs}
    is_matrix = len(names) == 1 and len(request.inputs[0].shape) == 2
    if is_matrix and request.inputs[0].shape[1] == len(columns) > 1:
        return False
    inputs = tuple(spec.name for spec in metadata.inputs)
    # A model of mixed columns has no matrix: its inputs are its columns.
    return (
        content_type == "pd"
        or inputs == columns
        or (not names.isdisjoint(columns) and names.isdisjoint(inputs))
    )


def _takes_any_columns(metadata: ModelMetadata) -> bool:
    return len(metadata.inputs) == 1 and (
        metadata.inputs[0].any_shape or metadata.inputs[0].content_type == "pd"
    )


def _is_matrix_in_columns(request: WireRequest, metadata: ModelMetadata) -> bool:
    return (
        len(metadata.inputs) == 1
        and len(metadata.inputs[0].shape) == 2
        and all(len(t.shape) == 1 or t.shape[1:] == (1,) for t in request.inputs)
    )


def _check_joined(slots: tuple[Slot, ...], spec: TensorMetadata, model: ModelIdentity) -> None:
    if spec.shape[1] not in (-1, len(slots)):
        raise InvalidInput(
            f"model {model.name!r} takes {spec.shape[1]} columns, the request has {len(slots)}: "
            f"send one input a column"
        )
    for slot in slots:
        if (slot.datatype == "BYTES") != (spec.datatype == "BYTES"):
            raise InvalidInput(
                f"{slot.subject} has datatype {slot.datatype}, the model takes {spec.datatype}"
            )


def _column_slots(inputs: Sequence[WireTensor], model: ModelIdentity) -> tuple[Slot, ...]:
    metadata = model.metadata
    given = {tensor.name: index for index, tensor in enumerate(inputs)}
    _check_names(given, metadata.column_names, metadata.column_names, "column", model)
    datatypes = dict(zip(metadata.column_names, metadata.column_datatypes, strict=False))
    slots = []
    for name in metadata.column_names:
        tensor = inputs[given[name]]
        subject = input_subject(name, model)
        wanted = datatypes.get(name)
        if wanted and (wanted == "BYTES") != (tensor.datatype == "BYTES"):
            raise InvalidInput(
                f"{subject} has datatype {tensor.datatype}, the model was trained on "
                f"{wanted} in that column: send {'strings' if wanted == 'BYTES' else 'numbers'}"
            )
        if len(tensor.shape) != 1 and (len(tensor.shape) != 2 or tensor.shape[1] != 1):
            raise InvalidInput(
                f"{subject} is a column of shape {shown(tensor.shape)}: send [n] or [n,1], "
                f"or all {len(metadata.column_names)} columns as one matrix"
            )
        slots.append(Slot(given[name], name, tensor, (), subject))
    return tuple(slots)


def _free_slots(
    inputs: Sequence[WireTensor], model: ModelIdentity, *, as_columns: bool = False
) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            index,
            tensor.name,
            tensor,
            () if as_columns else tensor.shape[1:],
            input_subject(tensor.name, model),
        )
        for index, tensor in enumerate(inputs)
    )


def _input_slots(inputs: Sequence[WireTensor], model: ModelIdentity) -> tuple[Slot, ...]:
    specs = model.metadata.inputs
    if model.metadata.positional_input and len(specs) == len(inputs) == 1:
        return (_input_slot(0, specs[0], inputs[0], model),)
    given = {tensor.name: index for index, tensor in enumerate(inputs)}
    names = [spec.name for spec in specs]
    required = [spec.name for spec in specs if not spec.optional]
    _check_names(given, names, required, "input", model)
    return tuple(
        _input_slot(given[spec.name], spec, inputs[given[spec.name]], model)
        for spec in specs
        if spec.name in given
    )


def _check_names(
    given: Mapping[str, int],
    known: Sequence[str],
    required: Sequence[str],
    kind: str,
    model: ModelIdentity,
) -> None:
    extra = sorted(set(given).difference(known))
    missing = [name for name in required if name not in given]
    if not extra and not missing:
        return
    facts = [f"has the unknown {kind} {extra[0][:64]!r}"] if extra else []
    if missing:
        facts.append(f"lacks the {kind} {missing[0]!r}")
    raise InvalidInput(
        f"the request to model {model.name!r} {' and '.join(facts)}: "
        f"send {', '.join(repr(name) for name in known)[:400]}"
    )


def _input_slot(index: int, spec: TensorMetadata, tensor: WireTensor, model: ModelIdentity) -> Slot:
    subject = input_subject(tensor.name, model)
    if tensor.datatype != spec.datatype and tensor.datatype not in spec.accepts:
        wanted = ", ".join(dict.fromkeys((spec.datatype, *spec.accepts)))
        raise InvalidInput(
            f"{subject} has datatype {tensor.datatype}, the model takes {wanted}: "
            f"convert the values and name their datatype"
        )
    if not (spec.any_shape and not spec.shape) and not _fits(tensor.shape, spec.shape):
        raise InvalidInput(
            f"{subject} has shape {shown(tensor.shape)}, the model takes {shown(spec.shape)}: "
            f"{_advice(tensor.shape, spec.shape)}"
        )
    return Slot(index, spec.name, tensor, tensor.shape[1:], subject)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size in (found, -1) for found, size in zip(shape, wanted, strict=True)
    )


def _advice(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(shape) == len(wanted) == 2 and shape[1] != wanted[1]:
        return f"send {wanted[1]} values a row"
    if len(shape) == len(wanted) - 1 and wanted[:1] == (-1,):
        return f"put the number of rows first, e.g. {shown((1, *shape))}"
    return "send that shape, with any size where it says -1"


def _check_rows(
    slots: tuple[Slot, ...], inputs: Sequence[WireTensor], model: ModelIdentity
) -> None:
    first = slots[0]
    for slot in slots:
        shape = inputs[slot.index].shape
        if not shape or shape[0] == 0:
            raise InvalidInput(
                f"{slot.subject} has shape {shown(shape)} and so no rows: send at least one row"
            )
        if shape[0] != inputs[first.index].shape[0]:
            raise InvalidInput(
                f"{slot.subject} has {shape[0]} rows, input {first.name[:64]!r} has "
                f"{inputs[first.index].shape[0]}: send equally many in all inputs"
            )


def _checked_outputs(outputs: Sequence[WireOutput] | None, model: ModelIdentity) -> tuple[str, ...]:
    if not outputs:
        return ()
    known = {spec.name: spec.datatype for spec in model.metadata.outputs}
    for output in outputs:
        subject = f"output {output.name[:64]!r} of model {model.name!r}"
        class_count(output.parameters, known.get(output.name), subject)
        _check_parameters(output.parameters, subject)
        if known and output.name not in known:
            raise InvalidInput(
                f"{subject} does not exist: ask for {', '.join(map(repr, known))[:400]}"
            )
    return tuple(dict.fromkeys(output.name for output in outputs))
