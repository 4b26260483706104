"""Triton's classification extension: an output as its highest values, with index and label.

Owns what a request may ask for and what the answer looks like: BYTES, `VALUE:INDEX[:LABEL]`, the
highest first, `[rows, count]` where a model has rows and `[count]` where it has none. Equal values
come in the order of their indexes, as Triton has them among up to 16 classes; NaN comes last.
"""

from __future__ import annotations

import msgspec
import numpy as np

from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import Array, InferResponse, Tensor
from salver.protocol.class_names import PARAMETER, check_datatype, class_text
from salver.protocol.tfs_signatures import SIGNATURE_PARAMETER, narrowed_to
from salver.protocol.wire import ModelIdentity, WireRequest


def wants_classes(request: WireRequest) -> bool:
    """Whether any output is wanted as classes. For requests that have been checked."""
    outputs = request.outputs
    return outputs is not None and any(
        output.parameters and output.parameters.get(PARAMETER) for output in outputs
    )


def classified(
    response: InferResponse, request: WireRequest, model: ModelIdentity
) -> InferResponse:
    """The response with the outputs that are wanted so as classes.

    Raises `InvalidInput` if one has no values that could be ranked.
    """
    counts = {
        output.name: output.parameters[PARAMETER]
        for output in request.outputs or ()
        if output.parameters and output.parameters.get(PARAMETER)
    }
    metadata = _asked(request, model).metadata
    has_rows = metadata.batchable or metadata.has_rows
    known = {each.name: each for each in metadata.outputs}
    outputs = tuple(
        _ranked(tensor, counts[tensor.name], has_rows, known.get(tensor.name), model)
        if tensor.name in counts
        else tensor
        for tensor in response.outputs
    )
    return msgspec.structs.replace(response, outputs=outputs)


def _asked(request: WireRequest, model: ModelIdentity) -> ModelIdentity:
    """The model as the signature has it that the request names, if it has several."""
    signature = (request.parameters or {}).get(SIGNATURE_PARAMETER)
    if signature is None or not model.metadata.signatures:
        return model
    return narrowed_to(str(signature), model)


def _ranked(
    tensor: Tensor, count: int, has_rows: bool, spec: TensorMetadata | None, model: ModelIdentity
) -> Tensor:
    check_datatype(tensor.datatype, f"output {tensor.name[:64]!r} of model {model.name!r}")
    data = tensor.data
    # Without rows, all elements are the classes of one.
    rows = data.shape[0] if has_rows and data.ndim else 1
    matrix = data.reshape(rows, -1) if data.size else data.reshape(rows, 0)
    order = _highest(matrix)[:, :count]
    values = np.take_along_axis(matrix, order, axis=1)
    labels = spec.labels if spec is not None else ()
    texts = np.empty(order.size, dtype=np.object_)
    pairs = zip(values.ravel().tolist(), order.ravel().tolist(), strict=True)
    for position, (value, index) in enumerate(pairs):
        texts[position] = class_text(value, index, labels).encode()
    shape = order.shape if has_rows else order.shape[1:]
    return Tensor(tensor.name, "BYTES", texts.reshape(shape))


def _highest(matrix: Array) -> Array:
    """The indexes of each row's values, highest first; shape as the matrix."""
    if matrix.dtype.kind == "f":
        matrix = np.where(np.isnan(matrix), -np.inf, matrix)
    # Reversed twice, a stable ascending order is a stable descending one, for unsigned types too.
    ascending: Array = np.argsort(matrix[:, ::-1], axis=1, kind="stable")
    highest: Array = matrix.shape[1] - 1 - ascending[:, ::-1]
    return highest
