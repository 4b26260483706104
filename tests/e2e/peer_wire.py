"""HTTP requests that are wrong, or unusual, on the wire: bytes, headers, methods, paths.

The counterpart of `peer_mutations`, where the request itself is. Each function gives one case.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.e2e.peer_requests import HttpCase, Infer, binary_case, json_case, json_fields

HttpMutation = Callable[[str, Infer, random.Random], HttpCase]
_LENGTH = "Inference-Header-Content-Length"


def _with_json(label: str, infer: Infer, change: Callable[[dict[str, Any]], object]) -> HttpCase:
    fields = json_fields(infer)
    change(fields)
    return replace(json_case(label, infer), body=json.dumps(fields).encode())


def no_json(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    bodies = (b"", b"{", b"[]", b"null", b'"x"', b"{}", b"7", b"\xff\xfe", b"not json", b"{}{}")
    return replace(json_case(label, infer), body=chance.choice(bodies))


def cut_json(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = json_case(label, infer)
    body = case.body or b""
    return replace(case, body=body[: chance.randrange(1, len(body))])


def trailing(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = json_case(label, infer)
    return replace(case, body=(case.body or b"") + chance.choice((b" ", b"\n", b"x", b"{}", b"\0")))


def deep(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    return replace(json_case(label, infer), body=b"[" * 2000 + b"]" * 2000)


def wrong_kind(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    """A field of the request with a value of another kind."""
    name = chance.choice(("inputs", "outputs", "id", "parameters"))
    value: Any = chance.choice((None, 7, "x", [], {}, [1], [[]], [{}], [None]))
    return _with_json(label, infer, lambda fields: fields.__setitem__(name, value))


def wrong_input_kind(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    name = chance.choice(("name", "shape", "datatype", "data", "parameters"))
    value: Any = chance.choice((None, 7, 1.5, "x", [], {}, [None], ["1"], [1.5], [[1]], True))
    return _with_json(label, infer, lambda fields: fields["inputs"][0].__setitem__(name, value))


def lacking_field(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    name = chance.choice(("name", "shape", "datatype", "data"))
    return _with_json(label, infer, lambda fields: fields["inputs"][0].pop(name))


def no_inputs(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    return _with_json(label, infer, lambda fields: fields.pop("inputs"))


def more_fields(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    return _with_json(label, infer, lambda fields: fields.update(mine=1, inputs_more=[]))


def nested_data(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    """The data in rows, as it is often written."""

    def change(fields: dict[str, Any]) -> None:
        for each in fields["inputs"]:
            data = each["data"]
            for size in reversed(each["shape"][1:]):
                data = [data[at : at + size] for at in range(0, len(data), size)]
            each["data"] = data

    return _with_json(label, infer, change)


def ragged_data(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    """Lists in lists that are no rows; as many elements as the shape has."""

    def change(fields: dict[str, Any]) -> None:
        data = fields["inputs"][0]["data"]
        fields["inputs"][0]["data"] = [data[:1], data[1:]] if len(data) > 1 else [[data]]

    return _with_json(label, infer, change)


def odd_element(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    value: Any = chance.choice((None, "1", "x", 1.5, True, {}, [], 1e400, -1, 1 << 70, 300, 1e3))

    def change(fields: dict[str, Any]) -> None:
        fields["inputs"][0]["data"][0] = value

    return _with_json(label, infer, change)


def wrong_length(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    """A header that tells the JSON's length wrongly."""
    case = binary_case(label, infer)
    right, size = int(case.headers[_LENGTH]), len(case.body or b"")
    values = (right - 1, right + 1, 0, 1, size, size + 1, -1, 1 << 40, "", "x", "1.5", " 12 ")
    return replace(case, headers={**case.headers, _LENGTH: str(chance.choice(values))})


def length_of_json(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    """The header on a request without binary data."""
    case = json_case(label, infer)
    return replace(case, headers={**case.headers, _LENGTH: str(len(case.body or b""))})


def no_length(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = binary_case(label, infer)
    return replace(case, headers={"Content-Type": "application/octet-stream"})


def cut_binary(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = binary_case(label, infer)
    body, start = case.body or b"", int(case.headers[_LENGTH])
    return replace(case, body=body[: chance.randrange(start, len(body))])


def long_binary(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = binary_case(label, infer)
    return replace(case, body=(case.body or b"") + b"\0" * chance.choice((1, 4, 100)))


def wrong_binary_size(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    value: Any = chance.choice((0, 1, -1, 1 << 40, "4", None, 1.5, [4], True))

    def change(fields: dict[str, Any]) -> None:
        fields["inputs"][0]["parameters"]["binary_data_size"] = value

    return _with_binary(label, infer, change)


def vast_shape(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    sizes = (1 << 31, 1 << 40, (1 << 62), (1 << 63) - 1)
    first = replace(infer.inputs[0], shape=(chance.choice(sizes), *infer.inputs[0].shape[1:]))
    return binary_case(label, replace(infer, inputs=(first, *infer.inputs[1:])))


def binary_and_data(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    data = list(infer.inputs[0].data) if infer.inputs else []
    texts = [each.decode() if isinstance(each, bytes) else each for each in data]
    return _with_binary(label, infer, lambda fields: fields["inputs"][0].update(data=texts))


def _with_binary(label: str, infer: Infer, change: Callable[[dict[str, Any]], object]) -> HttpCase:
    case = binary_case(label, infer)
    body, size = case.body or b"", int(case.headers[_LENGTH])
    fields = json.loads(body[:size])
    change(fields)
    head = json.dumps(fields).encode()
    return replace(case, body=head + body[size:], headers={**case.headers, _LENGTH: str(len(head))})


def raw_body(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    """Only the one input's bytes, without JSON."""
    case = binary_case(label, infer)
    body = (case.body or b"")[int(case.headers[_LENGTH]) :]
    return replace(case, body=body, headers={**case.headers, _LENGTH: "0"})


def method(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = json_case(label, infer)
    name = chance.choice(("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"))
    return replace(case, method=name, body=None if name in ("GET", "HEAD") else case.body)


def content_type(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    types = ("text/plain", "application/octet-stream", "application/xml", "x", "")
    return replace(json_case(label, infer), headers={"Content-Type": chance.choice(types)})


def compressed(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = json_case(label, infer)
    body = case.body or b""
    name, packed = chance.choice(
        (("gzip", gzip.compress(body, mtime=0)), ("deflate", zlib.compress(body)))
    )
    return replace(case, body=packed, headers={**case.headers, "Content-Encoding": name})


def badly_compressed(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    name = chance.choice(("gzip", "deflate", "br", "x"))
    case = json_case(label, infer)
    return replace(case, headers={**case.headers, "Content-Encoding": name})


def wants_compressed(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case = json_case(label, infer)
    name = chance.choice(("gzip", "deflate", "gzip, deflate", "br", "identity", "*"))
    return replace(case, headers={**case.headers, "Accept-Encoding": name})


def odd_path(label: str, infer: Infer, chance: random.Random) -> HttpCase:
    case, name = json_case(label, infer), infer.model
    paths = (
        f"/v2/models/{name}/infer/",
        f"/v2/models/{name}/infer?x=1",
        f"//v2/models/{name}/infer",
        f"/v2/models//{name}/infer",
        f"/v2/models/{name}/versions//infer",
        f"/v2/models/{name}/versions/infer",
        f"/v2/models/{name}/Infer",
        f"/v2/models/{name}/infers",
        f"/v2/models/{name}/predict",
        f"/V2/models/{name}/infer",
        f"/v2/models/{name[0]}%{ord(name[1]):02x}{name[2:]}/infer",
        "/v2/models//infer",
        "/v2/models/infer",
    )
    return replace(case, path=chance.choice(paths))


HTTP_MUTATIONS: tuple[HttpMutation, ...] = (
    no_json,
    cut_json,
    trailing,
    deep,
    wrong_kind,
    wrong_input_kind,
    lacking_field,
    no_inputs,
    more_fields,
    nested_data,
    ragged_data,
    odd_element,
    wrong_length,
    length_of_json,
    no_length,
    cut_binary,
    long_binary,
    wrong_binary_size,
    vast_shape,
    binary_and_data,
    raw_body,
    method,
    content_type,
    compressed,
    badly_compressed,
    wants_compressed,
    odd_path,
)
