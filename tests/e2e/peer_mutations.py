"""What can be wrong, or only unusual, in an inference request: one function for each.

Each takes a valid request and a source of chance and gives another request, which any form on the
wire can carry. `http` mutations change what only HTTP has.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.e2e.peer_requests import NUMPY, Given, Infer, Wanted

Mutation = Callable[[Infer, random.Random], Infer]
OUTPUTS = {
    "types": ["FP32", "BYTES"],
    "add": ["SUM", "DIFF"],
    "matrix": ["TOTAL", "ROWS"],
    "texts": ["Y", "LENGTHS"],
    "scores": ["SCORES"],
    "told": ["TOLD"],
    "faults": ["Y", "Z"],
    "both": ["OUT", "MID"],
}


def _first(infer: Infer, **fields: Any) -> Infer:
    changed = replace(infer.inputs[0], **fields)
    return replace(infer, inputs=(changed, *infer.inputs[1:]))


def as_it_is(infer: Infer, chance: random.Random) -> Infer:
    return infer


def missing_input(infer: Infer, chance: random.Random) -> Infer:
    left = list(infer.inputs)
    left.pop(chance.randrange(len(left)))
    return replace(infer, inputs=tuple(left))


def extra_input(infer: Infer, chance: random.Random) -> Infer:
    return replace(infer, inputs=(*infer.inputs, Given("MORE", "FP32", (1,), [1.0])))


def duplicate_input(infer: Infer, chance: random.Random) -> Infer:
    return replace(infer, inputs=(*infer.inputs, infer.inputs[0]))


def wrong_name(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, name=chance.choice(("", "x", "NOBODY", "ü", "n" * 5000)))


def other_order(infer: Infer, chance: random.Random) -> Infer:
    return replace(infer, inputs=tuple(reversed(infer.inputs)))


def wrong_datatype(infer: Infer, chance: random.Random) -> Infer:
    first = infer.inputs[0]
    other = chance.choice([each for each in NUMPY if each != first.datatype])
    data = [each if isinstance(each, int) and abs(each) < 100 else 1 for each in first.data]
    if other == "BOOL":
        data = [bool(each) for each in data]
    return _first(infer, datatype=other, data=data)


def unknown_datatype(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, datatype=chance.choice(("", "FP12", "fp32", "TYPE_FP32", "STRING")))


def more_dimensions(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, shape=(*infer.inputs[0].shape, 1))


def fewer_dimensions(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, shape=infer.inputs[0].shape[1:])


def flat_shape(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, shape=(len(infer.inputs[0].data),))


def other_size(infer: Infer, chance: random.Random) -> Infer:
    first = infer.inputs[0]
    shape = (*first.shape[:-1], first.shape[-1] + 1)
    return _first(infer, shape=shape)


def whole_other_size(infer: Infer, chance: random.Random) -> Infer:
    """A shape that the model has not, with as many elements as it says."""
    first = infer.inputs[0]
    shape = (*first.shape[:-1], first.shape[-1] * 2)
    return _first(infer, shape=shape, data=[*first.data, *first.data])


def negative_size(infer: Infer, chance: random.Random) -> Infer:
    first = infer.inputs[0]
    at = chance.randrange(len(first.shape))
    value = chance.choice((-1, -2, -(1 << 40)))
    return _first(infer, shape=(*first.shape[:at], value, *first.shape[at + 1 :]))


def no_rows(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, shape=(0, *infer.inputs[0].shape[1:]), data=[])


def huge_size(infer: Infer, chance: random.Random) -> Infer:
    """Not larger, since tritonserver 2.51.0 makes room for the shape before it reads JSON data."""
    return _first(infer, shape=(1 << 20, *infer.inputs[0].shape[1:]))


def many_rows(infer: Infer, chance: random.Random) -> Infer:
    """More rows than any model takes in a batch, in all inputs."""
    return replace(
        infer,
        inputs=tuple(
            replace(each, shape=(each.shape[0] * 9, *each.shape[1:]), data=list(each.data) * 9)
            for each in infer.inputs
        ),
    )


def short_data(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, data=infer.inputs[0].data[:-1])


def long_data(infer: Infer, chance: random.Random) -> Infer:
    data = infer.inputs[0].data
    return _first(infer, data=[*data, data[0]])


def no_data(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, data=[])


def unknown_output(infer: Infer, chance: random.Random) -> Infer:
    return replace(infer, outputs=(Wanted("NOBODY"),))


def some_outputs(infer: Infer, chance: random.Random) -> Infer:
    names = OUTPUTS.get(infer.model, ["Y"])
    chosen = chance.sample(names, chance.randint(1, len(names)))
    return replace(infer, outputs=tuple(Wanted(name) for name in chosen))


def duplicate_output(infer: Infer, chance: random.Random) -> Infer:
    name = OUTPUTS.get(infer.model, ["Y"])[0]
    return replace(infer, outputs=(Wanted(name), Wanted(name)))


def no_outputs(infer: Infer, chance: random.Random) -> Infer:
    return replace(infer, outputs=())


def classes(infer: Infer, chance: random.Random) -> Infer:
    """Not of texts, since tritonserver 2.51.0 exits when it is asked for classes of a text."""
    if infer.model in ("types", "texts", "told"):
        return infer
    name = OUTPUTS.get(infer.model, ["Y"])[0]
    count = chance.choice((1, 2, 3, 10, 0, -1))
    return replace(infer, outputs=(Wanted(name, {"classification": count}),))


def some_id(infer: Infer, chance: random.Random) -> Infer:
    ids = ("", "a", "i" * 2000, "ü", 'with "quotes" and \\', "line\nbreak", "<id_unknown>")
    return replace(infer, id=chance.choice(ids))


def some_version(infer: Infer, chance: random.Random) -> Infer:
    versions = ("1", "2", "3", "99", "0", "01", "-1", "abc", "1.0", "9" * 30)
    return replace(infer, version=chance.choice(versions))


def unknown_model(infer: Infer, chance: random.Random) -> Infer:
    return replace(infer, model=chance.choice(("nobody", "Add", "add2", "n" * 300, "%C3%BC")))


def parameters(infer: Infer, chance: random.Random) -> Infer:
    found: tuple[dict[str, Any], ...] = (
        {"key": "value"},
        {"whole": 3, "yes": True},
        {"text": "ü", "empty": ""},
        {"fraction": 1.5},
        {"sequence_id": 0},
        {"timeout": 5_000_000},
        {"priority": 0},
        {"large": (1 << 63) - 1},
        {"": "no name"},
    )
    return replace(infer, parameters={**infer.parameters, **chance.choice(found)})


def wrong_parameters(infer: Infer, chance: random.Random) -> Infer:
    found: tuple[dict[str, Any], ...] = (
        {"nested": {"a": 1}},
        {"listed": [1, 2]},
        {"nothing": None},
        {"sequence_id": 1.5},
        {"sequence_start": "yes"},
        {"sequence_end": 1},
        {"timeout": "soon"},
        {"priority": "high"},
        {"priority": -1},
        {"triton_mine": 1},
    )
    return replace(infer, parameters={**infer.parameters, **chance.choice(found)})


def input_parameters(infer: Infer, chance: random.Random) -> Infer:
    return _first(infer, parameters={"mine": chance.choice((1, "a", True))})


MUTATIONS: tuple[Mutation, ...] = (
    as_it_is,
    missing_input,
    extra_input,
    duplicate_input,
    wrong_name,
    other_order,
    wrong_datatype,
    unknown_datatype,
    more_dimensions,
    fewer_dimensions,
    flat_shape,
    other_size,
    whole_other_size,
    negative_size,
    no_rows,
    huge_size,
    many_rows,
    short_data,
    long_data,
    no_data,
    unknown_output,
    some_outputs,
    duplicate_output,
    no_outputs,
    classes,
    some_id,
    some_version,
    unknown_model,
    parameters,
    wrong_parameters,
    input_parameters,
)
