"""tritonclient against queue policies, ordered answers, the rate limiter and the cache."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

_MODEL = """
import os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    number = 0

    def initialize(self, args):
        self.folder = args["model_repository"]

    def execute(self, requests):
        begun = time.time()
        found = []
        for each in requests:
            x = pb_utils.get_input_tensor_by_name(each, "X").as_numpy()
            self.number += 1
            if x[0, 0] > 0:  # What warms a worker up sleeps for no time.
                with open(os.path.join(self.folder, "busy"), "w") as opened:
                    opened.write(str(os.getpid()))
            time.sleep(max(0.0, float(x[0, 0])))
            while x[0, 0] < 0 and not os.path.exists(os.path.join(self.folder, "go")):
                time.sleep(0.01)
            times = np.array([[self.number, len(requests), begun, time.time()]])
            found.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", times)]))
        return found
"""
_CONFIG = """
backend: "python" max_batch_size: %d
input { name: "X" data_type: TYPE_FP64 dims: [1] }
output { name: "Y" data_type: TYPE_FP64 dims: [4] }
%s
"""
_LIMITED = """
instance_group { count: 2 rate_limiter { resources [{name: "SLOT" count: 1 global: true}] } }
"""
MODELS = {
    "levels": (
        1,
        "dynamic_batching { priority_levels: 3 default_priority_level: 2 default_queue_policy "
        "{ allow_timeout_override: true } priority_queue_policy { key: 3 value { "
        "max_queue_size: 2 timeout_action: DELAY default_timeout_microseconds: 50000 } } }",
    ),
    "bounded": (1, "dynamic_batching { default_queue_policy { max_queue_size: 2 } }"),
    "hasty": (
        1,
        "dynamic_batching { default_queue_policy { default_timeout_microseconds: 200000 "
        "allow_timeout_override: true } }",
    ),
    "preferring": (8, "dynamic_batching { preferred_batch_size: [4] }"),
    "ordered": (
        1,
        "dynamic_batching { preserve_ordering: true } instance_group { count: 2 }",
    ),
    "left": (0, _LIMITED),
    "right": (0, _LIMITED),
    "greedy": (0, _LIMITED.replace("count: 1", "count: 3")),
    "cached": (0, "response_cache { enable: true }"),
}
UNTIL_TOLD = -1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scheduling")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    for name, (rows, text) in MODELS.items():
        config = _CONFIG % (rows, text)
        if rows == 0:
            config = config.replace("dims: [1]", "dims: [1, 1]").replace(
                "dims: [4]", "dims: [1, 4]"
            )
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
        (folder / name / "1" / "model.py").write_text(_MODEL)
    flags = ("--rate-limit", "execution_count", "--rate-limit-resource", "SLOT:1")
    with serving(str(folder), *flags) as running:
        names = set(MODELS) - {"greedy"}
        wait_until(lambda: all(is_ready(running, name) for name in names), 30)
        yield running


def is_ready(server: Server, name: str) -> bool:
    return server.get(f"/v2/models/{name}/ready").status_code == 200


class Asker:
    """Asks over one protocol, many at a time."""

    def __init__(self, protocol: str, server: Server, folder: Path) -> None:
        self._folder = folder
        self.is_grpc = protocol == "grpc"
        self.is_binary = protocol != "json"
        self._module: Any = grpcclient if self.is_grpc else httpclient
        self._server = server
        self._url = server.url.removeprefix("http://")
        self.client = grpcclient.InferenceServerClient(server.grpc)
        self._pool = ThreadPoolExecutor(32)

    def ask(self, model: str, seconds: float = 0.0, **extra: Any) -> list[float]:
        """What the model says: its count of requests, the batch's size, begin and end."""
        tensor = self._module.InferInput("X", [1, 1], "FP64")
        arguments = {} if self.is_grpc else {"binary_data": self.is_binary}
        tensor.set_data_from_numpy(np.array([[seconds]]), **arguments)
        if not self.is_grpc:
            output = httpclient.InferRequestedOutput("Y", binary_data=self.is_binary)
            extra["outputs"] = [output]
        if self.is_grpc:
            return self._said(self.client, model, tensor, extra)
        # A client of its own: gevent's stay in their thread.
        with httpclient.InferenceServerClient(self._url) as client:
            return self._said(client, model, tensor, extra)

    def _said(self, client: Any, model: str, tensor: Any, extra: dict[str, Any]) -> list[float]:
        found: list[float] = client.infer(model, [tensor], **extra).as_numpy("Y")[0].tolist()
        return found

    def start(self, model: str, seconds: float = 0.0, **extra: Any) -> Future[list[float]]:
        """Asks in a thread; returns once the server has got it."""
        before = self._server.metric("salver_requests_total", model=model)
        future = self._pool.submit(self.ask, model, seconds, **extra)
        wait_until(lambda: self._server.metric("salver_requests_total", model=model) > before)
        return future

    def hold(self, model: str) -> Future[list[float]]:
        """Keeps a worker busy until `let_go`."""
        self._go(model).unlink(missing_ok=True)
        return self.start(model, UNTIL_TOLD)

    def let_go(self, model: str) -> None:
        self._go(model).touch()

    def _go(self, model: str) -> Path:
        return self._folder / model / "go"

    def close(self) -> None:
        self._pool.shutdown()
        self.client.close()


@pytest.fixture(params=["json", "binary", "grpc"])
def asker(request: pytest.FixtureRequest, server: Server, folder: Path) -> Iterator[Asker]:
    made = Asker(request.param, server, folder)
    yield made
    made.close()


@pytest.fixture
def grpc_asker(server: Server, folder: Path) -> Iterator[Asker]:
    made = Asker("grpc", server, folder)
    yield made
    made.close()


def refusal_of(asked: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as refused:
        asked()
    return str(refused.value.status()), str(refused.value.message())


UNAVAILABLE = ("503", "StatusCode.UNAVAILABLE")


def test_lower_levels_wait_for_higher_ones(asker: Asker) -> None:
    asker.hold("levels")
    order = [3, 2, 1, 0, 1, 9]
    futures = [asker.start("levels", priority=priority) for priority in order]
    asker.let_go("levels")
    numbers = [future.result()[0] for future in futures]
    first = min(numbers)
    # Not said, and out of range, is the default level: 2.
    assert [number - first for number in numbers] == [5, 2, 0, 3, 1, 4]


def test_what_has_waited_too_long_is_refused_before_the_worker_is_free(asker: Asker) -> None:
    busy = asker.hold("hasty")
    late = asker.start("hasty")
    later = asker.start("hasty", timeout=50_000)
    not_longer = asker.start("hasty", timeout=9_000_000)
    for future in (late, later, not_longer):
        status, message = refusal_of(future.result)
        assert status in UNAVAILABLE
        assert "Request timeout expired" in message
    assert not busy.done()
    asker.let_go("hasty")
    busy.result()
    assert asker.ask("hasty", timeout=100_000)


def test_a_level_has_its_own_bound_and_delays(grpc_asker: Asker) -> None:
    busy = grpc_asker.hold("levels")
    slow = grpc_asker.start("levels", priority=3)
    time.sleep(0.1)
    fresh = grpc_asker.start("levels", priority=3)
    status, message = refusal_of(lambda: grpc_asker.ask("levels", priority=3))
    assert status in UNAVAILABLE
    assert "Exceeds maximum queue size of 2 on priority level 3" in message
    time.sleep(0.1)
    other = grpc_asker.start("levels", priority=2)
    grpc_asker.let_go("levels")
    busy.result()
    numbers = [future.result()[0] for future in (other, slow, fresh)]
    assert numbers == sorted(numbers)


def test_a_full_queue_refuses_at_once(grpc_asker: Asker, server: Server) -> None:
    rejected = {"model": "bounded", "reason": "max_queue_size"}
    before = server.metric("salver_queue_rejected_total", **rejected)
    futures = [
        grpc_asker.hold("bounded"),
        grpc_asker.start("bounded"),
        grpc_asker.start("bounded"),
    ]
    status, message = refusal_of(lambda: grpc_asker.ask("bounded"))
    assert status in UNAVAILABLE
    assert "Exceeds maximum queue size" in message
    grpc_asker.let_go("bounded")
    for future in futures:
        future.result()
    after = server.metric("salver_queue_rejected_total", **rejected)
    assert after == before + 1


def test_a_parameter_that_is_no_number_is_refused(server: Server) -> None:
    row = {"name": "X", "shape": [1, 1], "datatype": "FP64", "data": [0.0]}
    for value in ("high", -1, 1.5, True):
        body = {"parameters": {"priority": value}, "inputs": [row]}
        answer = server.post("/v2/models/levels/infer", body)
        assert answer.status_code == 400
        assert "the parameter 'priority' must be a whole number" in answer.json()["error"]


def test_messages_of_a_stream_have_priorities(server: Server, grpc_asker: Asker) -> None:
    grpc_asker.hold("levels")
    answers: queue.Queue[Any] = queue.Queue()
    client: Any = grpc_asker.client
    tensor = grpcclient.InferInput("X", [1, 1], "FP64")
    tensor.set_data_from_numpy(np.zeros((1, 1)))
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    before = server.metric("salver_requests_total", model="levels")
    for priority in (2, 1):
        client.async_stream_infer("levels", [tensor], priority=priority)
    wait_until(lambda: server.metric("salver_requests_total", model="levels") == before + 2)
    grpc_asker.let_go("levels")
    found = [answers.get(timeout=20) for _ in range(2)]
    client.stop_stream()
    assert [error for _, error in found] == [None, None]
    second, first = [result.as_numpy("Y")[0, 0] for result, _ in found]
    assert first == second - 1


def test_a_preferred_size_is_taken_where_it_is_there(grpc_asker: Asker) -> None:
    grpc_asker.hold("preferring")
    futures = [grpc_asker.start("preferring") for _ in range(6)]
    grpc_asker.let_go("preferring")
    sizes = sorted(future.result()[1] for future in futures)
    assert sizes == [2, 2, 4, 4, 4, 4]
    # Without a delay, nobody waits for a size to be reached.
    assert grpc_asker.ask("preferring")[1] == 1


def test_answers_keep_the_order_of_requests(grpc_asker: Asker) -> None:
    held = grpc_asker.hold("ordered")
    later = [grpc_asker.start("ordered") for _ in range(2)]
    time.sleep(0.2)
    assert not any(future.done() for future in later)
    grpc_asker.let_go("ordered")
    ends = [future.result()[3] for future in (held, *later)]
    assert max(ends[1:]) < ends[0]


def test_executions_that_share_a_resource_never_overlap(grpc_asker: Asker) -> None:
    names = ["left", "right"] * 6
    futures = [grpc_asker.start(name, 0.05) for name in names]
    spans = sorted(future.result()[2:] for future in futures)
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))


def test_a_worker_that_dies_gives_back_what_it_held(grpc_asker: Asker, folder: Path) -> None:
    busy = folder / "left" / "busy"
    busy.unlink(missing_ok=True)
    dying = grpc_asker.start("left", 20.0)
    waiting = grpc_asker.start("right")
    assert not waiting.done()
    for _ in range(2):  # The request is tried once more, on another worker.
        wait_until(lambda: busy.is_file() and busy.read_text(), 10)
        pid = int(busy.read_text())
        busy.unlink()
        os.kill(pid, signal.SIGKILL)
    _, message = refusal_of(dying.result)
    assert "signal 9" in message
    assert waiting.result(timeout=20)
    assert grpc_asker.ask("right")


def test_a_model_that_wants_more_than_there_is_does_not_load(server: Server) -> None:
    answer = server.get("/v2/models/greedy/ready")
    assert answer.status_code != 200
    index = server.post("/v2/repository/index").json()
    reason = next(each["reason"] for each in index if each["name"] == "greedy")
    assert 'Resource count for "SLOT" is limited to 1' in reason
    assert "the minimum required count is 3" in reason


def test_hits_and_misses_are_counted(grpc_asker: Asker, server: Server) -> None:
    def counted() -> tuple[float, float]:
        return (
            server.metric("salver_cache_hits_total", model="cached"),
            server.metric("salver_cache_misses_total", model="cached"),
        )

    hits, misses = counted()
    value = 0.001
    first = grpc_asker.ask("cached", value)
    assert grpc_asker.ask("cached", value) == grpc_asker.ask("cached", value) == first
    assert counted() == (hits + 2, misses + 1)
    (stats,) = server.get("/v2/models/cached/stats").json()["model_stats"]
    shown = stats["inference_stats"]
    assert (shown["cache_hit"]["count"], shown["cache_miss"]["count"]) == counted()
    assert shown["cache_hit"]["ns"] > 0
    assert shown["cache_miss"]["ns"] > 0


def test_the_configuration_is_shown(server: Server) -> None:
    batching = server.get("/v2/models/levels/config").json()["dynamic_batching"]
    assert (batching["priority_levels"], batching["default_priority_level"]) == (3, 2)
    assert batching["default_queue_policy"]["allow_timeout_override"] is True
    assert batching["priority_queue_policy"]["3"]["timeout_action"] == "DELAY"
    assert "schedule_policy" in server.get("/v2").json()["extensions"]
