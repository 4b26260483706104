"""FastAPI services: `typed` with pydantic models as the tutorial has it, `raw` with orjson.

uvicorn fastapi_server:typed|raw --factory       MODEL_NAME and MODEL_PATH in the environment
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from predictors import load_predict
from pydantic import BaseModel
from v2 import DATATYPES, decode, decode_binary, encode, encode_binary

NAME = os.environ["MODEL_NAME"]
PATH = f"/v2/models/{NAME}/infer"


class Input(BaseModel):
    """One input tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    """A V2 request."""

    id: str | None = None
    inputs: list[Input]


class Output(BaseModel):
    """One output tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferResponse(BaseModel):
    """A V2 response."""

    model_name: str
    outputs: list[Output]


def typed() -> FastAPI:
    """The usual service: pydantic models in and out, a plain function in the thread pool."""
    predict = load_predict(os.environ["MODEL_PATH"])
    app = FastAPI()

    @app.post(PATH)
    def infer(request: InferRequest) -> InferResponse:
        tensor = request.inputs[0]
        answer = predict(np.asarray(tensor.data, dtype=np.float32).reshape(tensor.shape))
        output = Output(
            name="output-0",
            shape=list(answer.shape),
            datatype=DATATYPES[answer.dtype.name],
            data=answer.ravel().tolist(),
        )
        return InferResponse(model_name=NAME, outputs=[output])

    return app


def raw() -> FastAPI:
    """The fastest that stays FastAPI: bytes in and out, predicting on the event loop."""
    predict = load_predict(os.environ["MODEL_PATH"])
    app = FastAPI()

    @app.post(PATH)
    async def infer(request: Request) -> Response:
        body = await request.body()
        json_length = request.headers.get("inference-header-content-length")
        if json_length is None:
            return Response(encode(NAME, predict(decode(body))), media_type="application/json")
        return binary(predict(decode_binary(body, int(json_length))))

    return app


def binary(answer: Any) -> Response:
    """A response in the binary tensor extension."""
    body, json_length = encode_binary(NAME, answer)
    headers = {"inference-header-content-length": str(json_length)}
    return Response(body, media_type="application/octet-stream", headers=headers)
