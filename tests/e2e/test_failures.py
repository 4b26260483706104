"""Killed, hung, raising and greedy models: no request is lost, no neighbour suffers."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server, command, environment, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

ECHO = """
class Echo:
    batchable = True
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0]
"""
NASTY = """
import os, sys, time
class Nasty:
    def predict(self, x: np.ndarray) -> np.ndarray:
        what = x.ravel()[0]
        if what == 1: time.sleep(60)
        if what == 2: raise RuntimeError("no luck")
        if what == 3: return object()
        if what == 4: os._exit(3)
        if what == 5:
            hoard = []
            while True: hoard.append(bytearray(16 << 20))
        if what == 6: sys.exit(4)
        return x[:, 0]
"""
SLOW = """
import time
class Slow:
    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return x[:, 0]
"""
Write = Callable[..., Path]
PORTS = ("--http-port", "0", "--grpc-port", "0")


def hammer(server: Server, model: str, count: int, threads: int = 8) -> list[int]:
    """Sends `count` requests and returns their statuses; every answer is checked."""
    statuses: list[int] = []
    lock = threading.Lock()

    def work(numbers: range) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for number in numbers:
                body = {
                    "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [number]}]
                }
                response = client.post(f"/v2/models/{model}/infer", json=body)
                if response.status_code == 200:
                    assert response.json()["outputs"][0]["data"] == [number]
                with lock:
                    statuses.append(response.status_code)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, range(part, count, threads)) for part in range(threads)]:
            future.result()
    return statuses


def test_killing_the_worker_again_and_again_loses_no_request(python_model: Write) -> None:
    with serving(str(python_model(ECHO))) as server:
        stop = threading.Event()
        kills = []

        def kill() -> None:
            while not stop.wait(0.3):
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
                    kills.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            statuses = hammer(server, "custom", 3000)
        finally:
            stop.set()
            killer.join()
        assert kills
        assert statuses.count(200) == 3000
        assert server.metric("salver_worker_restarts_total") >= len(kills) - 1


def test_a_killed_fork_server_is_started_again(python_model: Write) -> None:
    with serving(str(python_model(ECHO))) as server:
        (fork_server,) = set(server.descendants()) - set(server.workers())
        os.kill(fork_server, signal.SIGKILL)
        assert hammer(server, "custom", 50) == [200] * 50


@pytest.mark.parametrize("what", [1, 2, 3, 4, 5, 6])
def test_a_model_that_misbehaves_leaves_its_neighbour_alone(python_model: Write, what: int) -> None:
    nasty, echo = python_model(NASTY, "nasty"), python_model(ECHO, "echo")
    with serving(
        str(nasty), str(echo), "--request-timeout", "3s", "--worker-memory", "400MiB"
    ) as server:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            bad = pool.submit(server.infer, "nasty", [[float(what)]])
            assert hammer(server, "echo", 300) == [200] * 300
            response = bad.result()
        assert response.status_code == (504 if what == 1 else 500)
        assert "nasty" in response.json()["error"]
        wait_until(lambda: server.infer("nasty", [[0.0]]).status_code == 200)


def test_a_request_that_kills_its_worker_takes_no_other_with_it(python_model: Write) -> None:
    source = NASTY.replace("class Nasty:", "class Nasty:\n    batchable = True").replace(
        "x.ravel()[0]", "x.max()"
    )
    with serving(str(python_model(source))) as server:
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            good = [pool.submit(server.infer, "custom", [[0.0]]) for _ in range(8)]
            bad = pool.submit(server.infer, "custom", [[4.0]])
            assert [future.result().status_code for future in good] == [200] * 8
            assert bad.result().status_code == 500


def test_a_full_queue_says_when_to_come_back(python_model: Write) -> None:
    with serving(str(python_model(SLOW)), "--max-queue-size", "5") as server:
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            responses = list(pool.map(lambda _: server.infer("custom", [[1.0]]), range(80)))
        refused = [response for response in responses if response.status_code == 429]
        assert refused
        assert {response.status_code for response in responses} == {200, 429}
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        assert server.metric("salver_requests_refused_total") == len(refused)
        assert server.infer("custom", [[1.0]]).status_code == 200


def test_a_client_that_leaves_wedges_nothing(python_model: Write) -> None:
    body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP64","data":[1]}]}'
    request = (
        b"POST /v2/models/custom/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    ) + body
    with serving(str(python_model(SLOW))) as server:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(request)
        assert server.infer("custom", [[1.0]]).status_code == 200


def test_stopping_answers_what_is_open_and_leaves_no_process(python_model: Write) -> None:
    with serving(str(python_model(SLOW.replace("0.02", "0.5")))) as server:
        processes = server.descendants()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            open_request = pool.submit(server.infer, "custom", [[7.0]])
            wait_until(lambda: server.metric("salver_requests_in_flight") == 1)
            assert server.stop() == 0
            assert open_request.result().json()["outputs"][0]["data"] == [7.0]
        wait_until(lambda: not [pid for pid in processes if Path(f"/proc/{pid}").exists()])


def test_a_killed_gateway_leaves_no_process(python_model: Write) -> None:
    with serving(str(python_model(SLOW))) as server:
        processes = server.descendants()
        assert len(processes) == 2
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not [pid for pid in processes if Path(f"/proc/{pid}").exists()])


def test_one_failed_load_among_several_is_told_everywhere(python_model: Write) -> None:
    good = python_model(ECHO, "good")
    bad = python_model(
        "class Bad:\n    def load(self): raise OSError('no weights')\n"
        "    def predict(self, x: np.ndarray) -> np.ndarray: return x\n",
        "bad",
    )
    with serving(str(good), str(bad)) as server:
        assert server.infer("good", [[1.0]]).status_code == 200
        ready = server.get("/v2/health/ready")
        assert ready.status_code == 503
        assert "no weights" in ready.text
        answer = server.infer("bad", [[1.0]])
        assert answer.status_code == 503
        assert "no weights" in answer.json()["error"]
        index = {entry["name"]: entry for entry in server.post("/v2/repository/index").json()}
        assert index["bad"]["state"] == "UNAVAILABLE"
        assert "no weights" in index["bad"]["reason"]
        assert "no weights" in server.log.read_text()


def failed_start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("serve", *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )


def test_a_start_that_cannot_be_is_one_line_and_no_traceback(
    python_model: Write, tmp_path: Path
) -> None:
    model = str(python_model(ECHO))
    unknown = tmp_path / "notes.dat"
    unknown.write_bytes(b"\x01\x02 just bytes")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = {
            (model, "--http-port", port, "--grpc-port", "0"): "--http-port",
            (model, "--http-port", "0", "--grpc-port", port): "--grpc-port",
            (str(tmp_path / "nothing"), *PORTS): "does not exist",
            (str(unknown), *PORTS): "notes.dat",
            (model, "--runtime", "sklaern", *PORTS): "sklearn",
        }
        for arguments, expected in cases.items():
            ended = failed_start(*arguments)
            assert ended.returncode != 0, arguments
            lines = ended.stderr.strip().splitlines()
            assert len(lines) == 1, ended.stderr
            assert lines[0].startswith("salver: "), ended.stderr
            assert expected in lines[0]


def test_a_model_that_fails_to_load_ends_the_start_with_its_reason(python_model: Write) -> None:
    path = python_model(
        "class Bad:\n    def load(self): raise OSError('no weights')\n"
        "    def predict(self, x: np.ndarray) -> np.ndarray: return x\n"
    )
    ended = failed_start(str(path), "--http-port", "0", "--grpc-port", "0")
    assert ended.returncode == 1
    assert "no weights" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_that_dies_while_it_loads_is_a_failed_load(python_model: Write) -> None:
    path = python_model(
        "import os\nclass Bad:\n    def load(self): os._exit(3)\n"
        "    def predict(self, x: np.ndarray) -> np.ndarray: return x\n"
    )
    ended = failed_start(str(path), *PORTS)
    assert ended.returncode == 1
    assert "exited with code 3 while loading" in ended.stderr


def test_a_new_file_whose_load_dies_leaves_the_old_model_serving(python_model: Write) -> None:
    path = python_model(ECHO)
    with serving(str(path), "--workers", "2") as server:
        good = path.read_text()
        path.write_text(
            good.replace(
                "    def predict", "    def load(self): __import__('os')._exit(3)\n    def predict"
            )
        )
        answer = server.post("/v2/repository/models/custom/load")
        assert answer.status_code == 400
        assert "exited with code 3" in answer.json()["error"]
        assert hammer(server, "custom", 100) == [200] * 100
        assert server.get("/v2/health/ready").status_code == 200
        path.write_text(good.replace("x[:, 0]", "x[:, 0] + 1"))
        assert server.post("/v2/repository/models/custom/load").status_code == 200
        assert server.infer("custom", [[1.0]]).json()["outputs"][0]["data"] == [2.0]


def test_a_model_that_always_exits_answers_soon_and_says_why(python_model: Write) -> None:
    path = python_model(
        "import os\nclass Bad:\n"
        "    def predict(self, x: np.ndarray) -> np.ndarray:\n"
        "        return x if x.max() == 0 else os._exit(9)\n"
    )
    with serving(str(path)) as server:
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: server.infer("custom", [[1.0]]), range(10)))
        assert {answer.status_code for answer in answers} <= {500, 503}
        assert all("exited with code 9" in answer.json()["error"] for answer in answers)
        wait_until(lambda: server.infer("custom", [[0.0]]).status_code == 200)


def test_recovery_after_overload_is_immediate(python_model: Write) -> None:
    with serving(str(python_model(SLOW)), "--max-queue-size", "8") as server:
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            list(pool.map(lambda _: server.infer("custom", [[1.0]]), range(120)))
        started_s = time.monotonic()
        assert server.infer("custom", [[1.0]]).status_code == 200
        assert time.monotonic() - started_s < 1.0
