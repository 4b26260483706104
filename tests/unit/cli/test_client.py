import socket
import threading
from collections.abc import Iterator

import pytest
from tests.admin_api import AdminApi
from tests.unit.cli.objects import service

from salver.cli.client import ApiError, Client, api_error, warning_text
from salver.errors import CommandFailed, SettingsError

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/iris"


@pytest.fixture
def client(served: tuple[AdminApi, str]) -> Iterator[Client]:
    client = Client(served[1], api_key="secret")
    yield client
    client.close()


def test_the_key_is_sent_as_a_bearer_token(client: Client, api: AdminApi) -> None:
    api.put(service())
    assert client.get(PATH)["metadata"]["name"] == "iris"
    assert api.headers[-1]["Authorization"] == "Bearer secret"


def test_a_connection_is_used_again(client: Client, api: AdminApi) -> None:
    api.put(service())
    client.get(PATH)
    kept = client._kept
    client.get(PATH)
    assert client._kept is kept is not None


def test_nobody_listening_says_how_to_start_a_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CommandFailed) as caught:
            Client(url).get("/")
    assert str(caught.value) == (
        f"cannot reach {url}: connection refused; start one with: salver serve"
    )


def test_an_unknown_host_says_to_check_the_address() -> None:
    with pytest.raises(CommandFailed, match=r"cannot reach http://nowhere\.invalid: .*--server"):
        Client("http://nowhere.invalid").get("/")


def raw_server(answers: list[bytes]) -> tuple[str, threading.Thread]:
    """Answers one connection after another with raw bytes; empty ones stay silent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for answer in answers:
                connection = listener.accept()[0]
                with connection:
                    connection.settimeout(5)
                    received = connection.recv(65536)
                    if answer:
                        connection.sendall(answer)
                    elif received:
                        connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


def test_no_answer_in_time_says_how_to_allow_more() -> None:
    url, thread = raw_server([b""])
    with pytest.raises(CommandFailed, match=r"no answer from .* within 0\.05 s; allow more with"):
        Client(url, timeout_s=0.05).get("/")
    thread.join(5)


def test_a_server_that_speaks_something_else_is_named() -> None:
    url, thread = raw_server([b"SSH-2.0-x\r\n"])
    with pytest.raises(CommandFailed, match=r"it speaks no HTTP \(BadStatusLine\)"):
        Client(url).get("/")
    thread.join(5)


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    url, thread = raw_server([answer, answer])
    client = Client(url)
    assert client.get("/") == {}
    assert client.get("/") == {}
    client.close()
    thread.join(5)


def test_a_stream_that_ends_with_its_connection_is_read_line_by_line() -> None:
    url, thread = raw_server([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none\r\ntwo\n"])
    assert list(Client(url).stream("/")) == [b"one", b"two"]
    thread.join(5)


def test_a_stream_that_stays_silent_is_told_from_one_that_ended() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lines = Client(f"http://127.0.0.1:{listener.getsockname()[1]}").stream("/", idle_s=0.05)
        first: list[bytes] = []
        reader = threading.Thread(target=lambda: first.append(next(lines)))
        reader.start()
        with listener.accept()[0] as connection:
            connection.sendall(head)
            reader.join(5)
            assert first == [b"one"]
            with pytest.raises(TimeoutError):
                next(lines)


def test_https_to_a_plain_server_says_to_try_http(served: tuple[AdminApi, str]) -> None:
    url = served[1].replace("http:", "https:")
    with pytest.raises(CommandFailed, match="it may speak no TLS: try http://"):
        Client(url).get("/")


def test_an_answer_that_is_no_json_is_named(client: Client, api: AdminApi) -> None:
    api.pages["/page"] = ("text/html", b"<html>")
    with pytest.raises(CommandFailed, match="answered no JSON but '<html>'; is --server right"):
        client.get("/page")


@pytest.mark.parametrize("server", ["ftp://a", "http://", "http://a:b"])
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(SettingsError, match="is no address; give such as"):
        Client(server)


def test_an_address_without_a_scheme_is_http() -> None:
    assert Client("localhost:9000/").server == "http://localhost:9000"


def test_an_authority_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"--cacert: none\.pem: No such file"):
        Client("https://a", cacert="none.pem")


@pytest.mark.parametrize(
    ("status", "content", "lines"),
    [
        (404, b'{"message": "no such"}', ("no such",)),
        (400, b'{"error": "bad shape"}', ("bad shape",)),
        (502, b"<html>", ("http://a answered 502 Bad Gateway",)),
        (
            401,
            b"",
            ("http://a answered 401 Unauthorized; give a key with --api-key or SALVER_API_KEY",),
        ),
        (
            422,
            b'{"message": "x: a is bad", "details": {"causes": '
            b'[{"message": "a is bad"}, {"field": "spec", "message": "needs a model"}]}}',
            ("x: a is bad", "  spec: needs a model"),
        ),
    ],
)
def test_a_refusal_says_what_the_server_said(
    status: int, content: bytes, lines: tuple[str, ...]
) -> None:
    assert api_error(status, content, "http://a").problems == lines


def test_a_refusal_keeps_its_status_and_reason(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.get(PATH)
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")


@pytest.mark.parametrize(
    ("header", "text"),
    [('299 - "a \\"b\\""', 'a "b"'), ('299 - "a" "date"', 'a" "date'), ("odd", "odd")],
)
def test_a_warning_header_is_read(header: str, text: str) -> None:
    assert warning_text(header) == text
