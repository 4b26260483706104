"""HTTP/1.1 as it comes over the wire: framing, limits, time, compression, TLS."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.raw_http import Answer, RawConnection, connected, request
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

ECHO = """
import numpy as np
import time


class Echo:
    batchable = True

    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.01 * (x.max() == 99))
        return x
"""
LIMIT = 1 << 20
PREDICT = "/v1/models/echo:predict"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("echo") / "echo.py"
    path.write_text(ECHO)
    return path


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with serving(str(model), "--max-body-size", "1MiB") as running:
        yield running


@pytest.fixture(scope="module")
def hasty(model: Path) -> Iterator[Server]:
    """A server that waits for nobody."""
    with serving(str(model), "--request-timeout", "1s", "--idle-timeout", "2s") as running:
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[RawConnection]:
    with connected(server.port) as connection:
        yield connection


def instances(*values: Any) -> bytes:
    return json.dumps({"instances": list(values)}).encode()


def predictions(answer: Answer) -> Any:
    assert answer.status == 200, answer
    return answer.json["predictions"]


def assert_lives(wire: RawConnection) -> None:
    wire.send(request(PREDICT, instances(7)))
    assert predictions(wire.answer()) == [7]


def test_a_connection_is_kept_for_request_after_request(wire: RawConnection) -> None:
    for number in range(50):
        wire.send(request(PREDICT, instances(number)))
        answer = wire.answer()
        assert predictions(answer) == [number]
        assert "connection" not in answer.headers
        assert answer.headers["content-type"] == "application/json"
        assert "date" in answer.headers


def test_pipelined_requests_are_answered_in_order(wire: RawConnection) -> None:
    # Every third takes longer, every fifth is not for a model, some are refused.
    batch, expected = b"", []
    for number in range(60):
        if number % 5 == 0:
            batch += request("/v2/health/live", method="GET")
            expected.append((200, "live"))
        elif number % 7 == 0:
            batch += request("/v1/models/nobody:predict", instances(number))
            expected.append((404, "error"))
        else:
            value = 99 if number % 3 == 0 else number
            batch += request(PREDICT, instances(value, number))
            expected.append((200, [value, number]))
    wire.send(batch)
    for status, what in expected:
        answer = wire.answer()
        assert answer.status == status
        assert answer.json["predictions"] == what if isinstance(what, list) else what in answer.json


def test_a_flood_of_pipelined_requests_is_answered_whole(server: Server) -> None:
    with connected(server.port) as wire:
        flood = request(PREDICT, instances(*range(50))) * 2000
        sender = threading.Thread(target=wire.send, args=(flood,))
        sender.start()
        for _ in range(2000):
            assert predictions(wire.answer()) == list(range(50))
        sender.join()


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_chunked_body_is_put_together(wire: RawConnection, size: int) -> None:
    body = instances(*range(500))
    chunks = b"".join(
        b"%x;note=1\r\n%b\r\n" % (len(part), part)
        for part in (body[start : start + size] for start in range(0, len(body), size))
    )
    chunked = chunks + b"0\r\nX-Trailer: 1\r\n\r\n"
    wire.send(request(PREDICT, chunked, "Transfer-Encoding: chunked") * 2)
    assert predictions(wire.answer()) == list(range(500))
    assert predictions(wire.answer()) == list(range(500))
    assert_lives(wire)


def test_the_server_says_100_continue_before_the_body(wire: RawConnection) -> None:
    body = instances(*range(1000))
    head = request(PREDICT, b"", "Expect: 100-continue", f"Content-Length: {len(body)}")
    wire.send(head)
    assert wire.answer().status == 100
    wire.send(body)
    assert predictions(wire.answer()) == list(range(1000))
    assert_lives(wire)


def test_no_100_continue_is_said_when_the_body_is_there_already(wire: RawConnection) -> None:
    wire.send(request(PREDICT, instances(1), "Expect: 100-continue"))
    assert wire.answer().status in (100, 200)
    wire.send(request(PREDICT, instances(2)))
    assert wire.answer().status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_request_may_come_byte_by_byte(wire: RawConnection, framing: str) -> None:
    body = instances(1, 2, 3)
    if framing == "chunked":
        body = b"5\r\n" + body[:5] + b"\r\n%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\n\r\n"
        raw = request(PREDICT, body, "Transfer-Encoding: chunked")
    else:
        raw = request(PREDICT, body)
    for index in range(len(raw)):
        wire.send(raw[index : index + 1])
    assert predictions(wire.answer()) == [1, 2, 3]


def test_a_request_may_be_split_anywhere(wire: RawConnection) -> None:
    raw = request(PREDICT, instances(4, 5))
    for split in range(1, len(raw)):
        wire.send(raw[:split])
        wire.send(raw[split:])
        assert predictions(wire.answer()) == [4, 5]


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/models/echo", "/docs", "/metrics"])
def test_head_answers_as_get_does_without_the_body(wire: RawConnection, path: str) -> None:
    wire.send(request(path, method="GET"))
    got = wire.answer()
    wire.send(request(path, method="HEAD"))
    headed = wire.answer(has_body=False)
    assert (headed.status, got.status) == (200, 200)
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert_lives(wire)


def test_other_methods_are_refused_with_those_allowed(wire: RawConnection) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        wire.send(request("/v2/models/echo/infer", method=method))
        answer = wire.answer()
        assert answer.status == 405, method
        assert "POST" in answer.headers["allow"]
        assert "POST" in answer.json["error"]
    assert_lives(wire)


CODINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_bodies_are_compressed_both_ways(wire: RawConnection, coding: str) -> None:
    squeeze, expand = CODINGS[coding]
    values = list(range(2000))
    wire.send(
        request(
            PREDICT,
            squeeze(instances(*values)),
            f"Content-Encoding: {coding}",
            f"Accept-Encoding: {coding}",
        )
    )
    answer = wire.answer()
    assert answer.status == 200
    assert answer.headers["content-encoding"] == coding
    assert answer.headers["vary"].lower() == "accept-encoding"
    assert json.loads(expand(answer.body))["predictions"] == values
    assert_lives(wire)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_broken_compressed_body_is_400(wire: RawConnection, coding: str) -> None:
    squeezed = CODINGS[coding][0](instances(*range(100)))
    for body in (b"not compressed", squeezed[:-9], b"", squeezed + b"more"):
        wire.send(request(PREDICT, body, f"Content-Encoding: {coding}"))
        answer = wire.answer()
        assert answer.status == 400, body[:20]
        assert coding in answer.json["error"], answer.json
    assert_lives(wire)


def test_a_decompression_bomb_is_413(wire: RawConnection) -> None:
    bomb = gzip.compress(b" " * (64 << 20), 9)
    assert len(bomb) < LIMIT
    wire.send(request(PREDICT, bomb, "Content-Encoding: gzip"))
    answer = wire.answer()
    assert answer.status == 413
    assert "--max-body-size" in answer.json["error"]
    assert_lives(wire)


def test_an_unknown_coding_is_415(wire: RawConnection) -> None:
    wire.send(request(PREDICT, instances(1), "Content-Encoding: br"))
    answer = wire.answer()
    assert answer.status == 415
    assert "'br'" in answer.json["error"]
    assert_lives(wire)


def test_http_1_0_is_answered_and_closed(server: Server) -> None:
    with connected(server.port) as wire:
        wire.send(request(PREDICT, instances(1), version="1.0"))
        assert predictions(wire.answer()) == [1]
        assert wire.wait_closed() == b""


def test_http_1_0_is_answered_and_closed_by_the_application_too(server: Server) -> None:
    with connected(server.port) as wire:
        wire.send(request("/v2/health/live", method="GET", version="1.0"))
        assert wire.answer().status == 200
        assert wire.wait_closed() == b""


@pytest.mark.parametrize("path", [PREDICT, "/v2/health/live"])
def test_connection_close_is_honoured(server: Server, path: str) -> None:
    method, body = ("POST", instances(1)) if path == PREDICT else ("GET", b"")
    with connected(server.port) as wire:
        wire.send(request(path, body, "Connection: close", method=method))
        answer = wire.answer()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert wire.wait_closed() == b""


def test_a_body_at_the_limit_is_taken(wire: RawConnection) -> None:
    body = instances(1)
    wire.send(request(PREDICT, body + b" " * (LIMIT - len(body))))
    assert predictions(wire.answer()) == [1]


def assert_too_large(answer: Answer) -> None:
    assert answer.status == 413
    assert "--max-body-size" in answer.json["error"]


def test_a_body_over_the_limit_is_413_and_the_answer_arrives(server: Server) -> None:
    with connected(server.port) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(request(PREDICT, b" " * (LIMIT + 1)))
        assert_too_large(wire.answer())
        wire.wait_closed()


def test_a_body_over_the_limit_is_413_before_it_is_sent(server: Server) -> None:
    with connected(server.port) as wire:
        wire.send(request(PREDICT, b"", "Expect: 100-continue", f"Content-Length: {LIMIT + 1}"))
        assert_too_large(wire.answer())
        assert wire.wait_closed() == b""


def test_a_chunked_body_over_the_limit_is_413(server: Server) -> None:
    with connected(server.port) as wire:
        wire.send(request(PREDICT, b"", "Transfer-Encoding: chunked"))
        try:
            for _ in range(40):
                wire.send(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        except ConnectionError:
            pass
        assert_too_large(wire.answer())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Content-Length: twelve",), 400),
        (("Content-Length: -1",), 400),
        (("Content-Length: 1, 2",), 400),
        (("Content-Length: 3", "Content-Length: 4"), 400),
        (("Content-Length: 99999999999999999999999",), 400),
        (("Content-Length: 3", "Transfer-Encoding: chunked"), 400),
        (("Transfer-Encoding: gzip",), 400),
        (("Transfer-Encoding: gzip, chunked",), 501),
        (("Expect: a miracle", "Content-Length: 3"), 417),
        (("No colon here",), 400),
        (("Bad\x00Name: 1",), 400),
        (("X: " + "a" * 100_000,), 431),
        (("Inference-Header-Content-Length: many", "Content-Length: 3"), 400),
    ],
)
def test_a_head_that_cannot_be_is_refused_and_the_server_lives(
    server: Server, headers: tuple[str, ...], status: int
) -> None:
    with connected(server.port) as wire:
        wire.send(request(PREDICT, b"", *headers))
        answer = wire.answer()
        assert answer.status == status, answer
        assert len(answer.json["error"].splitlines()) == 1
        wire.wait_closed()
    with connected(server.port) as wire:
        assert_lives(wire)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-5\r\nabcde\r\n",
        b"0x5\r\nabcde\r\n",
        b"3\r\nabcde\r\n0\r\n\r\n",
        b"5\nabcde\n0\n\n",
        b"fffffffffffffffff\r\n",
        b"1" * 5000,
        b"0\r\nno trailer this\r\n\r\n",
    ],
)
def test_malformed_chunks_are_400(server: Server, body: bytes) -> None:
    with connected(server.port) as wire:
        wire.send(request(PREDICT, body, "Transfer-Encoding: chunked"))
        assert wire.answer().status in (400, 413)
        wire.wait_closed()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x01\x02\x03",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_at_once(server: Server, junk: bytes) -> None:
    with connected(server.port, timeout_s=5) as wire:
        wire.send(junk)
        received = wire.wait_closed() if junk[:3] != b"GET" else b"%d" % wire.answer().status
        assert re.search(rb"\b(400|404|505)\b", received), received


def test_a_connection_survives_a_400(wire: RawConnection) -> None:
    for body in (b"{", b"[]", b'{"instances": "x"}', b"\xff\xfe", b'{"instances": [[1], [1, 2]]}'):
        wire.send(request("/v1/models/echo:predict", body))
        answer = wire.answer()
        assert answer.status in (200, 400), answer
        assert "connection" not in answer.headers
        assert_lives(wire)


def test_half_closing_still_brings_the_answer(server: Server) -> None:
    for path, method in ((PREDICT, "POST"), ("/v2/models/echo", "GET")):
        with connected(server.port) as wire:
            wire.send(request(path, instances(99) if method == "POST" else b"", method=method))
            wire.shut_sending()
            assert wire.answer().status == 200
            assert wire.wait_closed() == b""


def test_half_closing_after_several_requests_brings_all_answers(server: Server) -> None:
    with connected(server.port) as wire:
        wire.send(b"".join(request(PREDICT, instances(99, number)) for number in range(5)))
        wire.shut_sending()
        assert [predictions(wire.answer()) for _ in range(5)] == [[99, n] for n in range(5)]
        assert wire.wait_closed() == b""


def test_half_closing_amid_a_request_closes(server: Server) -> None:
    with connected(server.port, timeout_s=5) as wire:
        wire.send(request(PREDICT, instances(1))[:-3])
        wire.shut_sending()
        wire.wait_closed()


def test_empty_lines_before_a_request_are_skipped(wire: RawConnection) -> None:
    wire.send(b"\r\n\r\n" + request(PREDICT, instances(3)) + b"\r\n")
    assert predictions(wire.answer()) == [3]
    assert_lives(wire)


def test_a_request_that_dawdles_gets_408(hasty: Server) -> None:
    for start in (request(PREDICT, instances(1))[:-4], b"POST /v1/mod", b"P"):
        with connected(hasty.port) as wire:
            started_s = time.monotonic()
            wire.send(start)
            assert wire.answer().status == 408
            assert 0.9 < time.monotonic() - started_s < 6
            assert wire.wait_closed() == b""


def test_a_request_that_trickles_in_gets_408(hasty: Server) -> None:
    with connected(hasty.port) as wire:
        wire.send(request(PREDICT, b"", "Content-Length: 100000"))
        refused = False
        for _ in range(400):
            try:
                wire.send(b" ")
            except ConnectionError:
                refused = True
                break
            time.sleep(0.02)
        assert refused or wire.answer().status == 408


def test_an_idle_connection_is_closed_without_a_word(hasty: Server) -> None:
    for before in (b"", request(PREDICT, instances(1))):
        with connected(hasty.port) as wire:
            if before:
                wire.send(before)
                assert wire.answer().status == 200
            started_s = time.monotonic()
            assert wire.wait_closed() == b""
            assert 1.5 < time.monotonic() - started_s < 6


def test_a_client_that_reads_slowly_gets_all(server: Server) -> None:
    values = list(range(20_000))
    with connected(server.port) as wire:
        wire.send(request(PREDICT, instances(*values)) * 20)
        time.sleep(0.5)
        for _ in range(20):
            assert predictions(wire.answer()) == values


def test_httpx_keeps_and_reuses_its_connection(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        for number in range(20):
            answer = client.post(PREDICT, json={"instances": [number]})
            assert answer.json() == {"predictions": [number]}
        assert client.get("/v2/health/ready").status_code == 200
        assert client.post("/nowhere", json={}).status_code == 404


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_tls_serves_https_and_grpcs(model: Path, certificate: tuple[Path, Path]) -> None:
    import tritonclient.grpc as grpcclient

    cert, key = (str(path) for path in certificate)
    with serving(str(model), "--tls-cert", cert, "--tls-key", key) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=cert)
        with connected(server.port, context=context) as wire:
            for size in (1, 10_000):
                wire.send(request(PREDICT, instances(*range(size))) * 3)
                for _ in range(3):
                    assert predictions(wire.answer()) == list(range(size))
            wire.send(request("/v2/health/ready", method="GET"))
            assert wire.answer().status == 200
        with httpx.Client(base_url=server.url, verify=context) as client:
            assert client.get("/v2/models/echo").status_code == 200
            oversize = client.post(PREDICT, content=b" " * (65 << 20))
            assert oversize.status_code == 413
        with connected(server.port, timeout_s=5) as plain:
            plain.send(request("/v2", method="GET"))
            plain.wait_closed()
        line = server.up["try"]
        done = subprocess.run(line, shell=True, capture_output=True, check=False)
        assert b"outputs" in done.stdout, done.stderr
        with grpcclient.InferenceServerClient(
            server.grpc.replace("127.0.0.1", "localhost"), ssl=True, root_certificates=cert
        ) as client:
            assert client.is_server_ready()


def test_a_certificate_that_cannot_be_read_is_one_line(model: Path, tmp_path: Path) -> None:
    from tests.e2e.server import command, environment

    missing = tmp_path / "none.pem"
    ended = subprocess.run(
        command(
            "serve",
            str(model),
            "--http-port",
            "0",
            "--grpc-port",
            "-1",
            "--tls-cert",
            str(missing),
            "--tls-key",
            str(missing),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert ended.returncode != 0
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "none.pem" in ended.stderr
