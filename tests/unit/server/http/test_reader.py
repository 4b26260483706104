"""The HTTP reader: whatever way the bytes are cut, the same requests come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec
from salver.server.http.head import HeadCache, HttpError, RequestHead, accepted_coding
from salver.server.http.reader import MAX_HEAD_BYTES, RequestReader

INFER = b"POST /v2/models/iris/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /v1/models/iris:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)
GET = b"GET /v2/health/ready?a=b HTTP/1.1\r\nHost: x\r\n\r\n"


def read_all(pieces: list[bytes], max_body_bytes: int = 1000) -> list[tuple[bytes, bytes]]:
    reader = RequestReader(HeadCache(), max_body_bytes)
    found = []
    for piece in pieces:
        head = reader.receive(piece)
        while head is not None:
            found.append((head.target, bytes(reader.body)))
            head = reader.resume()
    return found


def head_of(data: bytes) -> RequestHead:
    head = RequestReader(HeadCache(), 1000).receive(data)
    assert head is not None
    return head


def refusal_of(data: bytes, max_body_bytes: int = 1000) -> HttpError:
    with pytest.raises(HttpError) as caught:
        read_all([data], max_body_bytes)
    return caught.value


@given(
    st.lists(st.sampled_from([INFER, CHUNKED, GET]), min_size=1, max_size=4),
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
)
def test_requests_survive_any_split_of_the_stream(requests: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(requests)
    pieces = []
    offset = 0
    for index in range(len(stream)):
        size = sizes[index % len(sizes)]
        pieces.append(stream[offset : offset + size])
        offset += size
        if offset >= len(stream):
            break
    expected = {
        INFER: (b"/v2/models/iris/infer", b"hello"),
        CHUNKED: (b"/v1/models/iris:predict", b"hello"),
        GET: (b"/v2/health/ready?a=b", b""),
    }
    assert read_all(pieces) == [expected[request] for request in requests]


def test_a_head_seen_before_is_the_same_object() -> None:
    reader = RequestReader(HeadCache(), 1000)
    assert reader.receive(INFER) is reader.receive(INFER)


def test_a_cached_head_waits_for_its_whole_body() -> None:
    reader = RequestReader(HeadCache(), 1000)
    reader.receive(INFER)
    assert reader.receive(INFER[:-2]) is None
    assert reader.receive(b"lo") is not None
    assert bytes(reader.body) == b"hello"


def test_heads_with_ids_of_their_own_do_not_fill_the_cache() -> None:
    cache = HeadCache()
    request = INFER.replace(b"Host: x", b"X-Request-Id: 17")
    head = RequestReader(cache, 1000).receive(request)
    assert head is not None
    assert (head.request_id, head.is_plain) == (b"17", False)
    assert cache.get(request[:-5]) is None


def test_a_full_cache_starts_anew() -> None:
    cache = HeadCache(max_heads=2)
    for name in (b"a", b"b", b"c"):
        RequestReader(cache, 1000).receive(INFER.replace(b"iris", name))
    assert cache.get(INFER[:-5].replace(b"iris", b"a")) is None
    assert cache.get(INFER[:-5].replace(b"iris", b"c")) is not None


@pytest.mark.parametrize(
    ("path", "model", "version", "codec"),
    [
        (b"/v2/models/iris/infer", "iris", "", Codec.V2_JSON),
        (b"/v2/models/iris/versions/2/infer", "iris", "2", Codec.V2_JSON),
        (b"/v1/models/iris:predict", "iris", "", Codec.V1_JSON),
        (b"/v1/models/iris/versions/3:predict", "iris", "3", Codec.V1_JSON),
        (b"/v2/models/my%20iris/infer?x=1", "my iris", "", Codec.V2_JSON),
        (b"/v2/models/iris/ready", "", "", 0),
        (b"/v2/models//infer", "", "", 0),
    ],
)
def test_the_path_says_which_model_and_which_codec(
    path: bytes, model: str, version: str, codec: int
) -> None:
    head = head_of(INFER.replace(b"/v2/models/iris/infer", path))
    assert (head.model, head.version, head.codec) == (model, version, codec)


def test_a_get_on_an_inference_path_is_no_inference() -> None:
    assert head_of(GET.replace(b"/v2/health/ready?a=b", b"/v2/models/iris/infer")).model == ""


def test_headers_that_concern_the_codec_are_read() -> None:
    head = head_of(
        INFER.replace(
            b"Host: x",
            b"Inference-Header-Content-Length: 3\r\nContent-Encoding: gzip\r\n"
            b"Accept-Encoding: deflate, gzip;q=0.5",
        )
    )
    assert (head.aux, head.coding, head.accepts) == (3, ContentCoding.GZIP, ContentCoding.GZIP)
    assert head.tag == Codec.V2_JSON | ContentCoding.GZIP << 8 | ContentCoding.GZIP << 16


def test_a_json_length_of_zero_means_a_raw_body() -> None:
    head = head_of(INFER.replace(b"Host: x", b"Inference-Header-Content-Length: 0"))
    assert head.aux == RAW_BODY_AUX


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"gzip", ContentCoding.GZIP),
        (b"deflate", ContentCoding.DEFLATE),
        (b"br, identity", ContentCoding.IDENTITY),
        (b"gzip;q=0, deflate", ContentCoding.DEFLATE),
        (b"", ContentCoding.IDENTITY),
    ],
)
def test_the_answer_s_coding_is_one_that_the_client_takes(
    value: bytes, coding: ContentCoding
) -> None:
    assert accepted_coding(value) is coding


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02", 400),
        (b"hello\r\n\r\n", 400),
        (INFER.replace(b"5", b"five"), 400),
        (INFER.replace(b"5", b"-5"), 400),
        (INFER.replace(b"Host: x", b"Content-Length: 6"), 400),
        (INFER.replace(b"Host: x", b"Transfer-Encoding: chunked"), 400),
        (INFER.replace(b"Host: x", b"Transfer-Encoding: gzip, chunked")[:-5], 400),
        (INFER.replace(b"Host: x", b"Expect: a miracle"), 417),
        (INFER.replace(b"Host: x", b"Inference-Header-Content-Length: 1x"), 400),
        (INFER.replace(b"iris", b"%ff"), 400),
        (INFER.replace(b": 5", b": 1001"), 413),
        (CHUNKED.replace(b"3;ext=1", b"x"), 400),
        (CHUNKED.replace(b"3;ext=1", b"0x3"), 400),
        (CHUNKED.replace(b"3;ext=1", b"2"), 400),
        (CHUNKED.replace(b"3;ext=1", b"fff"), 413),
        (CHUNKED.replace(b"Trailer: x", b"nonsense"), 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES, 431),
    ],
)
def test_what_is_no_request_is_refused_with_its_status(request_bytes: bytes, status: int) -> None:
    assert refusal_of(request_bytes).status == status


def test_many_tiny_chunks_within_the_limit_are_taken() -> None:
    body = b"1\r\nx\r\n" * 900 + b"0\r\n\r\n"
    head = CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 4]
    assert read_all([head + body]) == [(b"/v1/models/iris:predict", b"x" * 900)]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise_anything_but_a_refusal(data: bytes) -> None:
    reader = RequestReader(HeadCache(), 1000)
    try:
        reader.receive(data)
    except HttpError as error:
        assert 400 <= error.status < 500


@given(st.data())
def test_mutated_requests_never_raise_anything_but_a_refusal(data: st.DataObject) -> None:
    request = bytearray(data.draw(st.sampled_from([INFER, CHUNKED, GET])))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(request) - 1))
        request[position] = data.draw(st.integers(0, 255))
    try:
        read_all([bytes(request)])
    except HttpError as error:
        assert 400 <= error.status <= 501


def test_a_seldon_model_header_says_more_than_the_host() -> None:
    for lines in (b"Host: mesh.example\r\nSeldon-Model: a.pipeline", b"seldon-model: a.pipeline"):
        head = head_of(INFER.replace(b"Host: x", lines))
        assert (head.scope, head.model) == ("model:a.pipeline", "iris")
    swapped = b"Seldon-Model: a.pipeline\r\nHost: mesh.example"
    assert head_of(INFER.replace(b"Host: x", swapped)).scope == "model:a.pipeline"


def test_heads_carry_the_marks_of_their_callers() -> None:
    marks = 1 << 23
    raw = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    for cache, wanted in ((HeadCache(), 0), (HeadCache(marks=marks), marks)):
        for _ in range(2):
            head = RequestReader(cache, 100).receive(raw)
            assert head is not None
            assert head.tag & marks == wanted
