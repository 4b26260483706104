"""Graphs in trouble: workers killed, manifests changed, clients that leave, too many, SIGTERM.

Whoever stays is answered rightly, or told at once which step is to blame; nothing hangs, and
afterwards nothing is left over.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.load import Load, ask, post, under_load
from tests.e2e.router_kit import put_graph
from tests.e2e.server import Server, serving, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.e2e, pytest.mark.timeout(90)]

Json = dict[str, Any]
QUEUE = 8
FUNCTIONS = """
import time
from pathlib import Path

def plus(x):
    return x + 1

def plus_ten(x):
    return x + 10

def times(x):
    return x * 2

def once(x):
    time.sleep(0.002)
    return x * 2

once.idempotent = False

def broken(x):
    raise ValueError("it is broken")

def slow(x):
    with Path(__file__).with_suffix(".calls").open("a") as calls:
        calls.write("x")
    time.sleep(0.3)
    return x
"""
NAMED = r" %s .*step \\?'s[01]\\?'"
"""A failure of a load, with its status and the step."""
ROWS = json.dumps({"instances": [[1.0, 2.0]]}).encode()


class Files:
    """Functions in several files: each file is a unit, with a worker of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in "abc":
            (folder / f"{name}.py").write_text(FUNCTIONS)

    def graph(self, name: str, *functions: str) -> Json:
        """Steps one after the other, each `FILE.FUNCTION`."""
        steps = []
        for at, each in enumerate(functions):
            file, function = each.split(".")
            step = {"name": f"s{at}", "python": f"{self.folder}/{file}.py:{function}"}
            steps.append({**step, "inputs": [f"s{at - 1}" if at else "request"]})
        return {
            "apiVersion": "salver.dev/v1",
            "kind": "Graph",
            "metadata": {"name": name},
            "spec": {"steps": steps, "output": [f"s{len(steps) - 1}"]},
        }

    def calls(self, file: str) -> int:
        """How often its slow function has been called."""
        path = self.folder / f"{file}.calls"
        return len(path.read_text()) if path.exists() else 0


def request_to(graph: str) -> bytes:
    return post(f"/v1/models/{graph}:predict", ROWS)


def answer_of(*rows: list[float]) -> bytes:
    return json.dumps({"predictions": rows}, separators=(",", ":")).encode()


def posted(server: Server, graph: str) -> httpx.Response:
    body = {"instances": [[1.0, 2.0]]}
    return server.post(f"/v1/models/{graph}:predict", body)


def is_idle(server: Server) -> bool:
    gauges = ("requests_in_flight", "requests_queued", "graph_requests_in_flight")
    return all(server.metric(f"salver_{each}") == 0 for each in gauges)


def resident_mib(server: Server) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("functions"))


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = str(tmp_path_factory.mktemp("state"))
    with serving("--state-dir", state, "--max-queue-size", "64") as running:
        put_graph(running, files.graph("steady", "a.plus", "b.times"))
        yield running
        lines = running.log.read_text().splitlines()
        lines = [each for each in lines if "it is broken" not in each]
        assert [each for each in lines if "Traceback" in each or "never retrieved" in each] == []


def kill_under_load(server: Server, graph: str, draw: random.Random) -> Load:
    """What came back while workers were killed, one after the other."""
    load = Load(server.port, request_to(graph), 16, 1 << 40)
    killed = 0
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(load.run)
        try:
            ends_s = time.monotonic() + 3
            while time.monotonic() < ends_s:
                time.sleep(draw.uniform(0.2, 0.4))
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(draw.choice(server.workers()), signal.SIGKILL)
                    killed += 1
        finally:
            load.stop()
        running.result(30)
    assert killed > 3
    return load


def test_workers_killed_under_load_cost_no_answer_and_nobody_hangs(server: Server) -> None:
    load = kill_under_load(server, "steady", random.Random(11))
    assert set(load.answers) == {answer_of([4.0, 6.0])}
    assert load.count > 300
    # A worker that is killed again and again is started again later and later.
    assert [each for each in load.failures if not re.search(NAMED % "503", each)] == []
    assert load.slowest_s < 10
    wait_until(lambda: is_idle(server))
    assert ask(server.port, request_to("steady"), 50, 8).failures == []


def test_a_step_that_must_not_be_repeated_is_named_when_its_worker_is_killed(
    server: Server, files: Files
) -> None:
    put_graph(server, files.graph("careful", "a.plus", "c.once"))
    load = kill_under_load(server, "careful", random.Random(12))
    assert set(load.answers) == {answer_of([4.0, 6.0])}
    assert load.failures
    assert [each for each in load.failures if not re.search(NAMED % "50[03]", each)] == []
    wait_until(lambda: is_idle(server))
    assert ask(server.port, request_to("careful"), 50, 8).failures == []


def test_a_graph_changed_under_load_fails_no_request(server: Server, files: Files) -> None:
    forms = [
        files.graph("changing", "a.plus"),
        files.graph("changing", "b.plus_ten"),
        files.graph("changing", "a.times", "b.plus"),
    ]
    put_graph(server, forms[0])
    with under_load(server.port, request_to("changing"), connections=16) as load:
        for form in (*forms[1:], forms[0], *forms[1:]):
            put_graph(server, form)
    assert load.failures == []
    assert set(load.answers) == {
        answer_of([2.0, 3.0]),
        answer_of([11.0, 12.0]),
        answer_of([3.0, 5.0]),
    }
    wait_until(lambda: is_idle(server))


def test_what_a_client_asked_for_is_stopped_within_a_step_of_its_leaving(
    server: Server, files: Files
) -> None:
    put_graph(server, files.graph("long", "a.slow", "b.slow", "c.slow"))
    before = {each: files.calls(each) for each in "abc"}
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(request_to("long"))
        wait_until(lambda: files.calls("a") > before["a"])
        # To close with a reset: a client that only sends no more may still wait.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: is_idle(server))
    time.sleep(0.5)
    assert {each: files.calls(each) - before[each] for each in "abc"} == {"a": 1, "b": 0, "c": 0}
    assert posted(server, "long").status_code == 200


def test_functions_asked_as_one_are_stopped_too(server: Server, files: Files) -> None:
    put_graph(server, files.graph("chained", *["a.slow"] * 6))
    before = files.calls("a")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(request_to("chained"))
        wait_until(lambda: files.calls("a") > before)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: is_idle(server))
    time.sleep(0.5)
    # The worker is told within a tenth of a second, and looks between two functions.
    assert files.calls("a") - before <= 2
    assert posted(server, "chained").status_code == 200


def test_the_memory_of_the_gateway_does_not_grow_with_the_runs(
    server: Server, files: Files
) -> None:
    put_graph(server, files.graph("failing", "a.plus", "b.broken"))

    def many(count: int) -> None:
        assert ask(server.port, request_to("steady"), count, 16).failures == []
        assert len(ask(server.port, request_to("failing"), count, 16).failures) == count

    many(500)
    warm_mib = resident_mib(server)
    many(2000)
    assert resident_mib(server) < warm_mib + 4


def test_too_many_are_refused_at_once_and_counted(tmp_path: Path) -> None:
    files = Files(tmp_path)
    graph = files.graph("busy", "a.slow", "b.plus")
    with serving("--state-dir", str(tmp_path / "state"), "--max-queue-size", str(QUEUE)) as server:
        put_graph(server, graph)

        def timed(_: int) -> tuple[int, str, float]:
            begin_s = time.monotonic()
            answer = posted(server, "busy")
            return answer.status_code, answer.text, time.monotonic() - begin_s

        with ThreadPoolExecutor(40) as threads:
            found = list(threads.map(timed, range(40)))
        refused = [(text, took_s) for status, text, took_s in found if status in (429, 503)]
        answered = [text for status, text, _ in found if status == 200]
        assert len(refused) + len(answered) == 40
        assert len(answered) >= QUEUE and len(refused) >= 20
        assert all("step 's0'" in text for text, _ in refused)
        assert {json.loads(text)["predictions"][0][0] for text in answered} == {2.0}
        assert sorted(took_s for _, took_s in refused)[len(refused) // 2] < 1
        errors = server.metric("salver_graph_request_errors_total", graph="default/busy")
        assert errors == len(refused)
        labels = {"graph": "default/busy", "step": "s0"}
        assert server.metric("salver_graph_step_errors_total", **labels) == len(refused)
        wait_until(lambda: is_idle(server))


def test_runs_under_way_are_finished_at_sigterm(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with serving("--state-dir", str(tmp_path / "state"), "--drain-timeout", "15") as server:
        put_graph(server, files.graph("long", "a.slow", "b.slow", "c.plus"))
        with ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(posted, server, "long") for _ in range(4)]
            wait_until(lambda: server.metric("salver_graph_requests_in_flight") == 4)
            assert server.stop() == 0
            answers = [each.result(20) for each in asked]
        assert [each.status_code for each in answers] == [200] * 4, answers[0].text
        assert answers[0].json() == {"predictions": [[2.0, 3.0]]}
        assert "Traceback" not in server.log.read_text()
