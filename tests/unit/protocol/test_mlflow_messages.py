"""What the gateway decides about MLflow's requests: codecs by media type, errors."""

from __future__ import annotations

import json

import pytest

from salver.errors import ErrorKind
from salver.protocol.mlflow_messages import error_body, is_unreadable, scoring_codec
from salver.protocol.wire_codes import Codec


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        (b"application/json", Codec.MLFLOW_JSON),
        (b"Application/JSON; Charset=UTF-8", Codec.MLFLOW_JSON),
        (b'text/csv;charset="utf-8"', Codec.MLFLOW_CSV),
        (b"application/vnd.apache.parquet", Codec.MLFLOW_PARQUET),
    ],
)
def test_the_media_type_says_how_a_body_is_read(content_type: bytes, codec: Codec) -> None:
    assert scoring_codec(content_type) == (codec, "")


@pytest.mark.parametrize(
    ("content_type", "fact"),
    [
        (b"", "send one of text/csv"),
        (b"text/plain", "send one of text/csv"),
        (b"\xff\xfe", "send one of text/csv"),
        (b"text/csv; charset=latin-1", "send UTF-8"),
        (b"application/json; format=pandas-split", "leave it out"),
    ],
)
def test_other_media_types_are_refused_with_what_to_send(content_type: bytes, fact: str) -> None:
    assert fact in scoring_codec(content_type)[1]


def test_errors_have_mlflow_s_form() -> None:
    assert json.loads(error_body(400, "no")) == {"error_code": "BAD_REQUEST", "message": "no"}
    assert json.loads(error_body(413, "no"))["error_code"] == "INVALID_PARAMETER_VALUE"


def test_only_parquet_without_its_reader_is_a_matter_of_the_media_type() -> None:
    assert is_unreadable(ErrorKind.UNSUPPORTED, Codec.MLFLOW_PARQUET)
    assert not is_unreadable(ErrorKind.UNSUPPORTED, Codec.MLFLOW_JSON)
    assert not is_unreadable(ErrorKind.INVALID_INPUT, Codec.MLFLOW_PARQUET)
