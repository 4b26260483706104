"""Streams on a running server: server-sent events, gRPC streams, who leaves, who is slow, who dies;
and large bodies and files."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image

from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

MODELS = '''
import time

import numpy as np


class Count:
    """Counts, telling in a file how far it is."""

    def predict(self, count: int, pause: float = 0.0, log: str = "", size: int = 0):
        try:
            for number in range(count):
                self.note(log, f"{number} ")
                yield {"n": number, "pad": "x" * size, "at": time.time()}
                time.sleep(pause)
        finally:
            self.note(log, "end")

    def note(self, log, text):
        if log:
            with open(log, "a") as file:
                file.write(text)


class Shout:
    def predict(self, text_input: str):
        return {"text_output": text_input.upper()}


class Measure:
    inputs = [{"name": "data", "datatype": "BYTES", "shape": [-1]}]

    def predict(self, data: dict):
        return {"sizes": np.array([len(each) for each in data["data"].tolist()])}


class Look:
    inputs = [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3], "content_type": "image"}]

    def predict(self, image):
        return {"shape": np.array(image.shape), "mean": float(image.mean())}
'''
GRACE_S = 1.5
"""The time limit of the server with short limits."""


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What to serve for each model; its name is that of its file."""
    folder = tmp_path_factory.mktemp("streams")
    found = {}
    for name in ("Count", "Shout", "Measure", "Look"):
        path = folder / f"{name.lower()}.py"
        path.write_text(MODELS)
        found[name.lower()] = f"{path}:{name}"
    return found


@pytest.fixture(scope="module")
def server(targets: dict[str, str]) -> Iterator[Server]:
    with serving(*targets.values(), "--max-body-size", "300MB") as server:
        yield server


@pytest.fixture(scope="module")
def impatient(targets: dict[str, str]) -> Iterator[Server]:
    with serving(targets["count"], "--request-timeout", f"{GRACE_S}s") as server:
        yield server


def path_of(model: str = "count") -> str:
    return f"/v2/models/{model}/generate_stream"


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line:
            assert line.startswith("data: ")
            yield json.loads(line.removeprefix("data: "))


def streamed(server: Server, **body: Any) -> list[tuple[dict[str, Any], float]]:
    """The events, each with the time when it came."""
    with httpx.stream("POST", server.url + path_of(), json=body, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        return [(event, time.time()) for event in events(answer.iter_lines())]


def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def made(log: Path) -> int:
    """How many responses the model has made."""
    return len(log.read_text().replace("end", "").split()) if log.exists() else 0


# What comes, and when.


def test_a_thousand_events_come_in_order_and_as_they_are_made(server: Server) -> None:
    found = streamed(server, count=1000, pause=0.002)
    assert [event["n"] for event, _ in found] == list(range(1000))
    assert found[0][0].keys() == {"model_name", "model_version", "n", "pad", "at"}
    delays = [came - event["at"] for event, came in found]
    assert sorted(delays)[900] < 0.1
    assert found[-1][1] - found[0][1] > 1.5


def test_a_stream_may_last_longer_than_a_request(impatient: Server) -> None:
    found = streamed(impatient, count=12, pause=0.25)
    assert len(found) == 12
    assert found[-1][1] - found[0][1] > GRACE_S


def test_a_connection_is_used_again_after_a_stream(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for count in (3, 0, 2):
            answer = client.post(path_of(), json={"count": count})
            assert answer.status_code == 200
            assert len(list(events(iter(answer.text.splitlines())))) == count
        assert client.post("/v2/models/shout/generate", json={"text_input": "a"}).is_success


class Triton:
    """A stream of tritonclient's, with what came and when."""

    def __init__(self, server: Server) -> None:
        self.client = grpcclient.InferenceServerClient(server.grpc)
        self.came: list[tuple[Any, Any, float]] = []
        self.client.start_stream(self._on_answer)

    def _on_answer(self, result: Any, error: Any) -> None:
        self.came.append((result, error, time.time()))

    def ask(self, model: str = "count", request_id: str = "", **inputs: Any) -> None:
        tensors = []
        for name, value in inputs.items():
            datatype = {str: "BYTES", int: "INT64", float: "FP64"}[type(value)]
            array = np.array([value], dtype=np.object_ if datatype == "BYTES" else None)
            tensor = grpcclient.InferInput(name, [1], datatype)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        self.client.async_stream_infer(
            model, tensors, request_id=request_id, enable_empty_final_response=True
        )

    def is_final(self, index: int) -> bool:
        response = self.came[index][0].get_response()
        return bool(response.parameters["triton_final_response"].bool_param)

    def finals(self) -> int:
        return sum(
            error is not None or self.is_final(index)
            for index, (_, error, _) in enumerate(list(self.came))
        )

    def numbers(self, request_id: str = "") -> list[int]:
        found = []
        for result, error, _ in self.came:
            assert error is None
            if result.get_response().id == request_id and result.as_numpy("n") is not None:
                found.append(int(result.as_numpy("n")[0]))
        return found

    def close(self, *, cancels: bool = False) -> None:
        self.client.stop_stream(cancel_requests=cancels)
        self.client.close()


@pytest.fixture
def triton(server: Server) -> Iterator[Triton]:
    stream = Triton(server)
    yield stream
    stream.close()


def test_tritons_client_gets_a_thousand_responses_as_they_are_made(triton: Triton) -> None:
    triton.ask(count=1000, pause=0.002, request_id="7")
    wait_until(lambda: triton.finals() == 1, 30)
    assert triton.numbers("7") == list(range(1000))
    assert [triton.is_final(index) for index in (0, 999, 1000)] == [False, False, True]
    assert triton.came[1000][0].as_numpy("n") is None
    delays = [came - float(result.as_numpy("at")[0]) for result, _, came in triton.came[:1000]]
    assert sorted(delays)[900] < 0.1


def test_a_model_that_answers_once_says_so_over_tritons_stream(triton: Triton) -> None:
    triton.ask("shout", text_input="hi")
    wait_until(lambda: triton.finals() == 1)
    assert triton.came[0][0].as_numpy("text_output").tolist() == [b"HI"]


def test_streams_and_single_answers_share_a_stream(triton: Triton) -> None:
    triton.ask(count=20, pause=0.01, request_id="a")
    for number in range(10):
        triton.ask("shout", text_input=f"x{number}", request_id=f"s{number}")
    triton.ask(count=3, request_id="b")
    triton.ask(count=0, request_id="c")
    wait_until(lambda: triton.finals() == 13)
    assert triton.numbers("a") == list(range(20))
    assert triton.numbers("b") == [0, 1, 2]


# Who leaves.


def test_a_client_that_leaves_stops_the_model_within_one_response(
    server: Server, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    before = server.metric("salver_streams_left_total", model="count")
    body = {"count": 1000, "pause": 0.1, "log": str(log)}
    with httpx.stream("POST", server.url + path_of(), json=body, timeout=30) as answer:
        lines = events(answer.iter_lines())
        assert [next(lines)["n"] for _ in range(3)] == [0, 1, 2]
    at_leave = made(log)
    wait_until(lambda: log.read_text().endswith("end"))
    assert made(log) <= at_leave + 1
    assert server.metric("salver_streams_left_total", model="count") == before + 1


def test_a_client_that_cancels_over_grpc_stops_the_model(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stream = Triton(server)
    stream.ask(count=1000, pause=0.1, log=str(log))
    wait_until(lambda: len(stream.came) >= 3)
    stream.close(cancels=True)
    at_leave = made(log)
    wait_until(lambda: log.read_text().endswith("end"))
    assert made(log) <= at_leave + 2


def test_a_client_that_leaves_before_its_turn_costs_the_model_nothing(
    server: Server, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with httpx.stream(
        "POST", server.url + path_of(), json={"count": 10, "pause": 0.1}, timeout=30
    ) as first:
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream(
                "POST", server.url + path_of(), json={"count": 5, "log": str(log)}, timeout=0.3
            ),
        ):
            raise AssertionError("the second stream cannot have begun")
        assert len(list(events(first.iter_lines()))) == 10
    assert len(streamed(server, count=2)) == 2
    assert not log.exists()


# Who is slow.


def memory_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def test_a_client_that_reads_nothing_holds_up_the_model_and_not_the_memory(
    server: Server, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    streamed(server, count=20, size=100_000)
    before = memory_kb(server.process.pid)
    body = json.dumps({"count": 5000, "size": 100_000, "log": str(log)}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.connect(("127.0.0.1", server.port))
        head = f"POST {path_of()} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_until(lambda: made(log) > 5)
        stands = -1
        while stands != made(log):
            stands = made(log)
            time.sleep(0.3)
        # 500 MB in all: what has been made fits the sockets' buffers and the window.
        assert stands < 150
        assert memory_kb(server.process.pid) - before < 20_000
        assert server.post("/v2/models/shout/generate", {"text_input": "a"}).is_success
        # It reads again, and the model goes on.
        for _ in range(200):
            assert client.recv(1 << 20)
        wait_until(lambda: made(log) > stands)
    wait_until(lambda: log.read_text().endswith("end"))
    assert made(log) < 1000


def test_a_client_that_reads_nothing_for_long_is_left(impatient: Server, tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = json.dumps({"count": 5000, "size": 100_000, "log": str(log)}).encode()
    workers = impatient.workers()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.connect(("127.0.0.1", impatient.port))
        head = f"POST {path_of()} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        wait_until(lambda: log.exists() and log.read_text().endswith("end"), 3 * GRACE_S)
        # The worker is free for others, and the same one.
        assert len(streamed(impatient, count=3)) == 3
    assert impatient.workers() == workers


def test_a_model_that_takes_too_long_for_a_response_is_ended(impatient: Server) -> None:
    found = [event for event, _ in streamed(impatient, count=3, pause=4 * GRACE_S)]
    assert found[0]["n"] == 0
    assert found[1].keys() == {"error"}
    assert "gave no further response within 1.5" in found[1]["error"]
    # It hung, so it was killed; another takes its place.
    wait_until(lambda: impatient.post(path_of(), {"count": 1}).status_code == 200, 15)


# Who dies.


def test_a_worker_killed_amid_a_stream_ends_it_with_an_error(server: Server) -> None:
    found = []
    with httpx.stream(
        "POST", server.url + path_of(), json={"count": 100, "pause": 0.1}, timeout=30
    ) as answer:
        for event in events(answer.iter_lines()):
            found.append(event)
            if len(found) == 3:
                for pid in worker_of(server, "count"):
                    os.kill(pid, signal.SIGKILL)
    assert [event.get("n") for event in found[:-1]] == list(range(len(found) - 1))
    assert "killed by signal 9" in found[-1]["error"]
    # One that was to begin waits for the next worker instead.
    assert len(streamed(server, count=2)) == 2


def worker_of(server: Server, model: str) -> list[int]:
    """The workers that have that model's name in their title, else all."""
    found = [
        pid
        for pid in server.workers()
        if f" {model}" in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    ]
    return found or server.workers()


def test_a_worker_killed_amid_a_grpc_stream_ends_it_with_an_error(
    server: Server, triton: Triton
) -> None:
    triton.ask(count=100, pause=0.1)
    wait_until(lambda: len(triton.came) >= 2)
    for pid in worker_of(server, "count"):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: triton.came[-1][1] is not None)
    assert "killed by signal 9" in str(triton.came[-1][1])


# Beside each other.


def test_two_workers_are_at_two_streams_while_plain_requests_wait(
    targets: dict[str, str],
) -> None:
    with serving(targets["count"], "--workers", "2") as server:
        spans: list[tuple[float, float]] = []

        def stream() -> None:
            found = streamed(server, count=10, pause=0.1)
            spans.append((found[0][1], found[-1][1]))

        threads = [threading.Thread(target=stream) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.metric("salver_stream_parts_total") >= 4)
        started_s = time.time()
        plain = server.post("/v2/models/count/generate", {"count": 1})
        waited_s = time.time() - started_s
        for thread in threads:
            thread.join()
        assert plain.json()["n"] == 0
        assert max(start for start, _ in spans) < min(end for _, end in spans)
        assert waited_s > 0.3


# Errors, and models that answer once.


def test_what_is_wrong_before_the_first_event_is_a_status(server: Server) -> None:
    cases = [
        (path_of(), {"count": "x"}, 400, "datatype"),
        (path_of(), [1], 400, "generate request"),
        (path_of("nope"), {"count": 1}, 404, "nope"),
        ("/v2/models/count/versions/9/generate_stream", {"count": 1}, 404, "9"),
        ("/v2/models/count/generate", {"count": 2}, 501, "more than one response"),
        ("/v2/models/count/generate", {"count": 0}, 501, "no response"),
    ]
    for path, body, status, text in cases:
        answer = server.post(path, body)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text
    assert server.get(path_of()).status_code == 405


def test_every_model_can_be_asked_to_generate(server: Server) -> None:
    body = {"text_input": "hi", "id": "4", "parameters": {"heat": 0.5}}
    wanted = {"id": "4", "model_name": "shout", "model_version": "1", "text_output": "HI"}
    assert server.post("/v2/models/shout/generate", body).json() == wanted
    assert server.post("/v2/models/shout/versions/1/generate", body).json() == wanted
    answer = server.post(path_of("shout"), body)
    assert list(events(iter(answer.text.splitlines()))) == [wanted]


def test_infer_takes_the_one_response_of_a_stream(server: Server) -> None:
    def infer(count: int) -> httpx.Response:
        tensor = {"name": "count", "shape": [1], "datatype": "INT64", "data": [count]}
        return server.post("/v2/models/count/infer", {"inputs": [tensor]})

    assert infer(1).json()["outputs"][0]["data"] == [0]
    assert infer(2).status_code == 501
    client = grpcclient.InferenceServerClient(server.grpc)
    tensor = grpcclient.InferInput("count", [1], "INT64")
    tensor.set_data_from_numpy(np.array([2]))
    with pytest.raises(grpcclient.InferenceServerException, match="UNIMPLEMENTED"):
        client.infer("count", [tensor])
    client.close()


# Large bodies and files.


def test_a_body_of_100_mb_comes_in_chunks(server: Server) -> None:
    tensor = b"x" * 100_000_000
    fields = {
        "inputs": [
            {
                "name": "data",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(tensor) + 4},
            }
        ]
    }
    head = json.dumps(fields).encode()
    body = head + len(tensor).to_bytes(4, "little") + tensor

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 1 << 20):
            yield body[start : start + (1 << 20)]

    answer = httpx.post(
        server.url + "/v2/models/measure/infer",
        content=chunks(),
        headers={"inference-header-content-length": str(len(head))},
        timeout=60,
    )
    assert answer.json()["outputs"][0]["data"] == [100_000_000]


def test_files_are_sent_in_forms(server: Server) -> None:
    large = os.urandom(5_000_000)
    answer = httpx.post(
        server.url + "/v2/models/measure/infer",
        files=[("data", ("a.bin", large)), ("data", ("b.bin", b"abc"))],
        timeout=30,
    )
    assert answer.json()["outputs"][0]["data"] == [5_000_000, 3]


def test_an_image_is_decoded_for_a_model_that_takes_pixels(server: Server) -> None:
    file = io.BytesIO()
    Image.new("RGB", (7, 5), (30, 60, 90)).save(file, "PNG")
    answer = httpx.post(
        server.url + "/v2/models/look/infer", files={"image": file.getvalue()}, timeout=30
    )
    assert [each["data"] for each in answer.json()["outputs"]] == [[5, 7, 3], [60.0]]
    broken = httpx.post(server.url + "/v2/models/look/infer", files={"image": b"no"}, timeout=30)
    assert broken.status_code == 400
    assert "no image" in broken.json()["error"]
