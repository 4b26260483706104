"""Forms with files as V2 requests."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import assemble, group_key
from salver.protocol.v2_form import parts_of
from salver.protocol.wire import Codec, ModelIdentity, WireRequest

CODEC = codec_for(Codec.V2_FORM)
MODEL = ModelIdentity(
    "m",
    "1",
    ModelMetadata(
        "test",
        (
            TensorMetadata("file", "BYTES", (-1,)),
            TensorMetadata("size", "FP32", (-1,), optional=True),
            TensorMetadata("grid", "INT64", (-1, 2), optional=True),
        ),
        (),
        batchable=False,
    ),
)


def form(**fields: Any) -> bytes:
    """What an HTTP client makes of the fields: files are bytes, text is text."""
    files: list[tuple[str, Any]] = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            files.append((name, ("f.bin", each) if isinstance(each, bytes) else (None, each)))
    return httpx.Request("POST", "http://host", files=files).read()


def read(body: bytes) -> tuple[WireRequest, InferRequest]:
    request = CODEC.decode(body, 0, MODEL)
    group_key(request, MODEL)
    return request, assemble([request], MODEL)[0]


def test_a_file_is_one_element_of_bytes() -> None:
    content = bytes(range(256)) + b"\r\n--\r\n"
    _, infer = read(form(file=content))
    assert infer.inputs[0].data.tolist() == [content]


def test_several_files_of_a_name_are_several_elements_and_text_is_json() -> None:
    request, infer = read(
        form(file=[b"a", b"b"], size="2.5", grid="[[1,2],[3,4]]", id="7", parameters='{"k":1}')
    )
    found = {each.name: each.data.tolist() for each in infer.inputs}
    assert found == {"file": [b"a", b"b"], "size": [2.5], "grid": [[1, 2], [3, 4]]}
    assert (request.id, dict(infer.parameters)) == ("7", {"k": 1})


def test_text_for_an_input_of_bytes_is_its_element() -> None:
    _, infer = read(form(file="hello"))
    assert infer.inputs[0].data.tolist() == [b"hello"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "boundary"),
        (b"file=abc", "boundary"),
        (form(file=b"abc")[:-8], "cut off"),
        (form(file=b"a", size="x"), "'size' of the form is no file and no JSON"),
        (form(file=b"a", parameters="[1]"), "must be a JSON object"),
        (form(other=b"a"), "unknown input 'other'"),
        (form(file=b"a", size=b"bytes"), "has datatype BYTES, the model takes FP32"),
        (b"--x\r\nContent-Type: a\r\n\r\nb\r\n--x--", "has no name"),
        (b"--x\r\nno head\r\n--x--", "has no head"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(body)


def test_a_form_of_very_many_parts_is_refused() -> None:
    part = b'Content-Disposition: form-data; name="a"\r\n\r\nb\r\n--x'
    with pytest.raises(InvalidInput, match="over 1024 parts"):
        parts_of(b"--x\r\n" + b"\r\n".join([part] * 2000) + b"--")


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.binary(max_size=60)), min_size=1))
def test_parts_come_out_as_they_went_in(given_parts: list[tuple[str, bytes]]) -> None:
    files = [(name, ("f", content)) for name, content in given_parts]
    body = httpx.Request("POST", "http://host", files=files).read()
    assert [(each.name, each.content) for each in parts_of(body)] == given_parts
