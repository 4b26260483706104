"""Valid inference requests to each model of `peer_models`, made from a source of chance."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.e2e.peer_requests import NUMPY, Given, Infer, Wanted

_TEXTS = ["", "a", "ü", "a b", '"quoted"', "line\nbreak", "z" * 300, "\\", "日本"]
_RANGES = {
    "INT8": (-128, 127),
    "INT16": (-(1 << 15), (1 << 15) - 1),
    "INT32": (-(1 << 31), (1 << 31) - 1),
    "INT64": (-(1 << 63), (1 << 63) - 1),
    "UINT8": (0, 255),
    "UINT16": (0, (1 << 16) - 1),
    "UINT32": (0, (1 << 32) - 1),
    "UINT64": (0, (1 << 64) - 1),
}
FAULTS = (
    "",
    "raises",
    "too few",
    "no response",
    *(f"error{code}" for code in range(8)),
    "error",
    "error and outputs",
    "lacks Z",
    "nothing",
    "more",
    "wrong shape",
    "wrong rank",
    "wrong type",
    "empty",
    "not finite",
    "strided",
    "reversed order",
    "not an array",
)


def values(chance: random.Random, datatype: str, count: int) -> list[object]:
    """Elements of a datatype, its limits among them."""
    if datatype == "BOOL":
        return [chance.random() < 0.5 for _ in range(count)]
    if datatype == "BYTES":
        return [chance.choice(_TEXTS) for _ in range(count)]
    if datatype in _RANGES:
        low, high = _RANGES[datatype]
        near = (low, high, 0, 1, chance.randint(low, high), min(high, 100))
        return [chance.choice(near) for _ in range(count)]
    if datatype == "FP64":
        # What tritonserver 2.51.0 reads exactly: of longer texts, it gets the last bits wrong.
        return [chance.choice((0.0, 1.0, -2.5, chance.randint(-99, 99) / 8)) for _ in range(count)]
    code = {"FP16": "e", "FP32": "f", "FP64": "d"}[datatype]
    # Rounded to what the datatype can hold, so that text and bytes mean the same number.
    drawn = [chance.choice((0.0, 1.0, -2.5, chance.uniform(-9, 9))) for _ in range(count)]
    return [struct.unpack(code, struct.pack(code, each))[0] for each in drawn]


def _given(chance: random.Random, name: str, datatype: str, *shape: int) -> Given:
    count = 1
    for size in shape:
        count *= size
    return Given(name, datatype, shape, values(chance, datatype, count))


def _whole(chance: random.Random, name: str, low: int = -9, high: int = 9) -> Given:
    return Given(name, "INT32", (1,), [chance.randint(low, high)])


def types(chance: random.Random) -> Infer:
    names = chance.sample([*NUMPY, "BYTES"], chance.randint(1, 4))
    given = tuple(_given(chance, name, name, chance.randint(1, 5)) for name in names)
    return Infer("types", given, outputs=tuple(Wanted(name) for name in names))


def add(chance: random.Random) -> Infer:
    rows = chance.randint(1, 8)
    return Infer("add", tuple(_given(chance, name, "FP32", rows, 4) for name in "AB"))


def matrix(chance: random.Random) -> Infer:
    shape = chance.randint(1, 4), chance.randint(1, 5), 2
    data = [chance.randint(-1000, 1000) for _ in range(shape[0] * shape[1] * 2)]
    return Infer("matrix", (Given("M", "INT64", shape, data),))


def fixed(chance: random.Random) -> Infer:
    version = chance.choice(("", "1", "3"))
    return Infer("fixed", (_given(chance, "X", "FP64", 2, 3),), version=version)


def reshaped(chance: random.Random) -> Infer:
    rows = chance.randint(1, 4)
    x = Given("X", "INT32", (rows, 2, 2), [chance.randint(-99, 99) for _ in range(rows * 4)])
    scalar = Given("SCALAR", "INT32", (rows, 1), [chance.randint(0, 9) for _ in range(rows)])
    return Infer("reshaped", (x, scalar) if chance.random() < 0.5 else (x,))


def texts(chance: random.Random) -> Infer:
    return Infer("texts", (_given(chance, "X", "BYTES", chance.randint(1, 6)),))


def scores(chance: random.Random) -> Infer:
    return Infer("scores", (_given(chance, "X", "FP32", chance.randint(1, 4), 3),))


def told(chance: random.Random) -> Infer:
    return Infer("told", (_whole(chance, "X"),), id=chance.choice((None, "r1", "ü 'x'")))


def says(chance: random.Random) -> Infer:
    return Infer("says", (_whole(chance, "X"),))


def faults(chance: random.Random) -> Infer:
    return fault(chance.choice(("", "error", "empty", "strided", "raises", "wrong shape")))


def fault(kind: str) -> Infer:
    """A request that has the model go wrong in a certain way."""
    return Infer("faults", (Given("KIND", "BYTES", (1,), [kind]),))


def sequence(chance: random.Random) -> Infer:
    """One that begins and ends: what comes before and after it does not matter."""
    flags = {"sequence_start": True, "sequence_end": True}
    number = chance.randint(1, 1 << 40)
    return Infer("sequence", (_whole(chance, "X"),), parameters={"sequence_id": number, **flags})


def many(chance: random.Random) -> Infer:
    return Infer("many", (_whole(chance, "X", 1, 1),))


def asks(chance: random.Random) -> Infer:
    return Infer("asks", (_given(chance, "X", "FP32", chance.randint(1, 8), 4),))


def both(chance: random.Random) -> Infer:
    return Infer("both", (_given(chance, "IN", "FP32", chance.randint(1, 4), 4),))


def completed(chance: random.Random) -> Infer:
    return Infer("completed", (_given(chance, "X", "INT16", chance.randint(1, 5), 2),))


VALID: dict[str, Callable[[random.Random], Infer]] = {
    each.__name__: each
    for each in (
        types,
        add,
        matrix,
        fixed,
        reshaped,
        texts,
        scores,
        told,
        says,
        faults,
        sequence,
        asks,
        both,
        completed,
    )
}
"""By model; `many` is decoupled and only asked on streams and by `wrong_calls`."""
