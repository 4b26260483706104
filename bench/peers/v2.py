"""The few lines of the V2 protocol that a hand-written service needs: orjson and NumPy.

One FP32 input, one output; nothing is validated, which is to the peer's advantage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32"}


def decode(body: bytes) -> Any:
    """The array of a V2 request's only input."""
    tensor = orjson.loads(body)["inputs"][0]
    return np.asarray(tensor["data"], dtype=np.float32).reshape(tensor["shape"])


def decode_binary(body: bytes, json_length: int) -> Any:
    """The array of the only input of a request with the binary tensor extension."""
    tensor = orjson.loads(body[:json_length])["inputs"][0]
    return np.frombuffer(body, np.float32, offset=json_length).reshape(tensor["shape"])


def document(model: str, answer: Any) -> dict[str, Any]:
    """The V2 response, its data still an array."""
    output = {
        "name": "output-0",
        "shape": list(answer.shape),
        "datatype": DATATYPES[answer.dtype.name],
        "data": answer.ravel(),
    }
    return {"model_name": model, "outputs": [output]}


def encode(model: str, answer: Any) -> bytes:
    """The V2 response's bytes."""
    return orjson.dumps(
        document(model, np.ascontiguousarray(answer)), option=orjson.OPT_SERIALIZE_NUMPY
    )


def encode_binary(model: str, answer: Any) -> tuple[bytes, int]:
    """The V2 response with a binary tensor, and the length of its JSON."""
    reply = document(model, answer)
    output = reply["outputs"][0]
    output["parameters"] = {"binary_data_size": answer.nbytes}
    del output["data"]
    head = orjson.dumps(reply)
    return head + answer.tobytes(), len(head)
