"""Models as the codecs see them, and a worker's round through the codecs in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import assemble, group_key
from salver.protocol.wire import Codec, EncodedResponse, ModelIdentity

Predict = Callable[[InferRequest], InferResponse]
Answer = Callable[..., list[EncodedResponse]]
ALL_BUT_BYTES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "BF16", "FP32", "FP64"),
)


def _identity(name: str, metadata: ModelMetadata) -> ModelIdentity:
    return ModelIdentity(name, "1", metadata)


@pytest.fixture(scope="session")
def iris() -> ModelIdentity:
    """A tabular model with one input whose name is made up."""
    return _identity(
        "iris",
        ModelMetadata(
            "sklearn",
            (TensorMetadata("input-0", "FP64", (-1, 4), accepts=("FP32", "INT64", "INT32")),),
            (
                TensorMetadata("predict", "INT64", (-1,)),
                TensorMetadata("predict_proba", "FP64", (-1, 3)),
            ),
            default_outputs=("predict",),
            positional_input=True,
            forbids_nan=True,
        ),
    )


@pytest.fixture(scope="session")
def housing() -> ModelIdentity:
    """A model trained on a DataFrame of mixed columns."""
    return _identity(
        "housing",
        ModelMetadata(
            "sklearn",
            (TensorMetadata("input-0", "FP64", (-1, 2), accepts=("INT64",)),),
            (TensorMetadata("predict", "FP64", (-1,)),),
            column_names=("rooms", "town"),
            column_datatypes=("FP64", "BYTES"),
            positional_input=True,
        ),
    )


@pytest.fixture(scope="session")
def echo() -> ModelIdentity:
    """A model of Python: one input of any shape and datatype, not batchable."""
    return _identity(
        "echo",
        ModelMetadata(
            "python",
            (TensorMetadata("x", "FP64", (), any_shape=True, accepts=(*ALL_BUT_BYTES, "BYTES")),),
            (),
            batchable=False,
            positional_input=True,
        ),
    )


@pytest.fixture(scope="session")
def pair() -> ModelIdentity:
    """Two named inputs, one optional third, two outputs."""
    return _identity(
        "pair",
        ModelMetadata(
            "onnx",
            (
                TensorMetadata("a", "FP32", (-1, 2)),
                TensorMetadata("b", "INT64", (-1,)),
                TensorMetadata("note", "BYTES", (-1, 1), optional=True),
            ),
            (TensorMetadata("sum", "FP32", (-1,)), TensorMetadata("both", "FP32", (-1, 2))),
        ),
    )


def predict_anything(request: InferRequest) -> InferResponse:
    """Row sums as `predict` of INT64, or the outputs asked for by name."""
    first = request.inputs[0].data
    outputs = []
    for name in request.outputs or ("predict",):
        if name == "predict_proba":
            data = np.tile([0.25, 0.5, 0.25], (len(first), 1))
            outputs.append(Tensor(name, "FP64", data))
        else:
            data = first.reshape(len(first), -1).sum(axis=1).astype(np.int64)
            outputs.append(Tensor(name, "INT64", data))
    return InferResponse(tuple(outputs))


def _answer(
    codec: Codec,
    bodies: Sequence[bytes | tuple[bytes, int]],
    model: ModelIdentity,
    predict: Predict = predict_anything,
) -> list[EncodedResponse]:
    wire_codec = codec_for(codec)
    pairs = [body if isinstance(body, tuple) else (body, 0) for body in bodies]
    requests = [wire_codec.decode(body, aux, model) for body, aux in pairs]
    keys = {group_key(request, model) for request in requests}
    assert len(keys) == 1, "the requests did not group"
    request, rows = assemble(requests, model)
    return wire_codec.encode_rows(predict(request), requests, rows, model)


@pytest.fixture(scope="session")
def answer() -> Answer:
    """Decodes, groups, assembles, predicts and encodes: `answer(codec, bodies, model)`."""
    return _answer


@pytest.fixture(scope="session")
def one_request() -> Callable[..., InferRequest]:
    """The assembled request of one body: `one_request(codec, body, model)`."""

    def assembled(codec: Codec, body: bytes, model: ModelIdentity, aux: int = 0) -> InferRequest:
        request = codec_for(codec).decode(body, aux, model)
        group_key(request, model)
        return assemble([request], model)[0]

    return assembled
