"""MLServer's content types: what the elements of a tensor stand for.

Only what must be undone before a model sees the tensor is undone here; a DataFrame is built
by the runtime that wants one, from the tensors and their `content_type` parameters.

    np, str   the tensor as it is (request or input)
    pd        every input is a column (request)
    base64    BYTES elements are decoded (input)
    datetime  BYTES elements are checked to be ISO 8601 and kept as text (input)
    pd_json   BYTES elements are checked to be JSON and kept as text (input)
    json      BYTES elements are JSON values of any kind (input; Salver's own, from V1)
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

import msgspec
import numpy as np

from salver.errors import InvalidInput
from salver.inference.tensor import Array
from salver.protocol.wire import WireTensor

CONTENT_TYPES = ("np", "pd", "str", "base64", "datetime", "pd_json", "json")
_DECODED = frozenset({"base64", "datetime", "pd_json", "json"})


def needs_decoding(content_type: str | None) -> bool:
    """Whether the elements must be looked at one by one."""
    return content_type in _DECODED


def settle_texts(tensor: WireTensor) -> None:
    """Gives a JSON tensor of strings the shape it means, as MLServer's documents write it.

    They send one string without a list around it, put the length of the one string in the
    shape, or add a length to the shape of strings with content_type `str`. Anything else is
    left for the check of data against shape.
    """
    data, shape = tensor.data, tensor.shape
    if type(data) is str:
        tensor.data = [data]
        if len(shape) == 1:
            tensor.shape = (1,)
    elif type(data) is not list or not data or type(data[0]) is not str:
        return
    elif len(shape) == 1 and len(data) == 1:
        if shape[0] in (len(data[0]), len(data[0].encode(errors="replace"))):
            tensor.shape = (1,)
    elif len(shape) == 2 and shape[0] == len(data) and shape[1] != 1 and _is_str(tensor):
        tensor.shape = shape[:1]


def _is_str(tensor: WireTensor) -> bool:
    return (tensor.parameters or {}).get("content_type") == "str"


def decoded(array: Array, content_type: str, datatype: str, subject: str) -> Array:
    """The BYTES array as the content type says.

    Raises `InvalidInput` for another datatype and for an element that is not so encoded.
    """
    if datatype != "BYTES":
        raise InvalidInput(
            f"{subject} has content_type {content_type!r} and datatype {datatype}: "
            f"send BYTES, or leave the content_type out"
        )
    result = np.empty(array.size, dtype=np.object_)
    for index, element in enumerate(array.ravel().tolist()):
        try:
            result[index] = _decoded_element(element, content_type)
        except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError) as error:
            raise InvalidInput(
                f"{subject} has value {index} that is not {_WANTED[content_type]}: "
                f"correct it, or leave the content_type out"
            ) from error
    return result.reshape(array.shape)


_WANTED = {
    "base64": "base64",
    "datetime": "an ISO 8601 date and time",
    "pd_json": "JSON",
    "json": "JSON",
}


def _decoded_element(element: bytes, content_type: str) -> bytes:
    if content_type == "base64":
        return base64.b64decode(element, validate=True)
    if content_type == "datetime":
        datetime.fromisoformat(element.decode())
    else:
        msgspec.json.decode(element)
    return element
