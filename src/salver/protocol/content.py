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

CONTENT_TYPES = ("np", "pd", "str", "base64", "datetime", "pd_json", "json")
_DECODED = frozenset({"base64", "datetime", "pd_json", "json"})


def needs_decoding(content_type: str | None) -> bool:
    """Whether the elements must be looked at one by one."""
    return content_type in _DECODED


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
