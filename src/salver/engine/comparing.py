"""Whether two answers to one request say the same. Pure; parses JSON, makes no tensor.

Names, versions and ids of the model that answered are left out: a shadow has others.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import Codec

CODEC_BITS = 0xFF
_WHOSE = ("model_name", "model_version", "id")
_WHOSE_FIELDS = (b"\x0a", b"\x12", b"\x1a")
"""The same in a ModelInferResponse: fields 1 to 3, each a short text."""
_SHORT_TEXT = 0x80
_BOOLEANS = (b"true", b"false")


class Answer(msgspec.Struct, frozen=True):
    """An answer as `Call.deliver` gets it."""

    codec: int
    body: bytes
    aux: int = 0
    coding: int = 0


Comparer = Callable[[Answer, Answer], bool | None]
"""True if the two answers count as the same, None if they are too long to tell."""
MAX_COMPARED_BYTES = 64 << 10
"""Of longer answers only the bytes are looked at: to take them apart keeps requests waiting."""


def close_answers(
    relative: float = 1e-6, absolute: float = 1e-9, max_bytes: int = MAX_COMPARED_BYTES
) -> Comparer:
    """Compares numbers in JSON within these tolerances, and everything else exactly."""

    def is_same(left: Answer, right: Answer) -> bool | None:
        if (left.body, left.aux, left.coding) == (right.body, right.aux, right.coding):
            return True
        one, other = _plain(left, max_bytes), _plain(right, max_bytes)
        if one is None or other is None:
            return None
        if left.codec & CODEC_BITS == Codec.V2_GRPC:
            return _without_whose(one) == _without_whose(other)
        return _is_same_json(one, left.aux, other, right.aux, relative, absolute)

    return is_same


def is_close(left: Any, right: Any, relative: float, absolute: float) -> bool:
    """True for equal JSON values; numbers may differ by the tolerances, NaN is equal to NaN."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            is_close(value, right[key], relative, absolute) for key, value in left.items()
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            is_close(one, other, relative, absolute) for one, other in zip(left, right, strict=True)
        )
    if _is_number(left) and _is_number(right):
        return left == right or math.isclose(left, right, rel_tol=relative, abs_tol=absolute)
    # `True == 1` in Python, not in JSON.
    return type(left) is type(right) and bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same_json(
    left: bytes, left_aux: int, right: bytes, right_aux: int, relative: float, absolute: float
) -> bool:
    """`aux`: the length of the JSON part, raw tensors follow it; 0: all of it is JSON."""
    left_end, right_end = left_aux or len(left), right_aux or len(right)
    if left[left_end:] != right[right_end:]:
        return False
    try:
        one = msgspec.json.decode(left[:left_end])
        other = msgspec.json.decode(right[:right_end])
    except msgspec.DecodeError:
        # E.g. NaN: not JSON by the book. The bytes differ, and that is all there is to say.
        return left == right
    for value in (one, other):
        if isinstance(value, dict):
            for key in _WHOSE:
                value.pop(key, None)
    if one == other and not any(word in left or word in right for word in _BOOLEANS):
        return True  # By far the quickest way, unless `True == 1` may be what made it so.
    return is_close(one, other, relative, absolute)


def _plain(answer: Answer, max_bytes: int) -> bytes | None:
    """The body with its coding undone; None if it is longer than that."""
    if answer.coding == ContentCoding.IDENTITY:
        plain = answer.body
    else:
        # 32: gzip and zlib heads are told apart by themselves.
        stream = zlib.decompressobj(32 + zlib.MAX_WBITS)
        plain = stream.decompress(answer.body, max_bytes + 1)
    return plain if len(plain) <= max_bytes else None


def _without_whose(message: bytes) -> bytes:
    """A ModelInferResponse from its first field that is not about who answered."""
    at = 0
    while message[at : at + 1] in _WHOSE_FIELDS and at + 1 < len(message):
        length = message[at + 1]
        if length >= _SHORT_TEXT:
            break
        at += 2 + length
    return message[at:]
