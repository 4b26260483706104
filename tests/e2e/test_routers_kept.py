"""What routers have learned, over kills, stops, other manifests and full disks; and other callers:
Seldon's feedback, gRPC with a context, and a server with a key."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.router_kit import (
    FEEDBACK,
    GRAPHS,
    ROUTERS,
    Visitors,
    arms_file,
    column,
    declared,
    graph,
    in_time,
    is_ready,
    put_graph,
    salver,
    status_of,
)
from tests.e2e.server import Server, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CHANCES = (0.2, 0.4, 0.7)
KEEP = "salver.dev/keep-learned"


@contextmanager
def shop(folder: Path, *objects: dict[str, Any], words: tuple[str, ...] = ()) -> Iterator[Server]:
    """A server of these graphs, which are ready."""
    with declared(folder, list(objects), *words) as server:
        names = [each["metadata"]["name"] for each in objects]
        in_time(lambda: all(is_ready(server, name) for name in names), 60)
        yield server


@contextmanager
def again(folder: Path) -> Iterator[Server]:
    """The same server, by its state alone."""
    with serving("--state-dir", str(folder / "state")) as server:
        in_time(lambda: is_ready(server, "shop"), 60)
        # What was ready before is so in the store; the router is there once it is served.
        in_time(lambda: server.get(f"{ROUTERS}/default/shop/pick").status_code == 200)
        yield server


# Kills and stops.


class Load:
    """Visitors in threads, who remember whose rewards were acknowledged."""

    def __init__(self, server: Server, name: str, count: int = 3) -> None:
        self.acknowledged: list[str] = []
        self.chosen: list[str] = []
        self._server, self._name = server, name
        self._threads = [threading.Thread(target=self._visit, args=(n,)) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """After the server's end."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _visit(self, number: int) -> None:
        with Visitors(self._server, self._name, CHANCES, seed=number) as visitors:
            try:
                while True:
                    run_id, arm = visitors.visit()
                    self.chosen.append(run_id)
                    visitors.tell((run_id, visitors.reward_of(arm)))
                    self.acknowledged.append(run_id)
            except httpx.HTTPError:
                return


def test_a_kill_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    threads = 3
    with shop(tmp_path, graph("shop", arms_file(tmp_path))) as server:
        load = Load(server, "shop", threads)
        load.start()
        in_time(lambda: len(load.acknowledged) > 300)
        server.process.kill()
        server.process.wait(20)
        load.join()
    with again(tmp_path) as server:
        status = status_of(server, "shop")
        told = len(load.acknowledged)
        assert told <= sum(column(status, "rewards")) <= told + threads
        assert len(load.chosen) <= sum(column(status, "choices")) <= len(load.chosen) + threads
        body = {"rewards": [{"id": each, "reward": 0} for each in load.acknowledged]}
        repeated = server.post(FEEDBACK, body).json()
        assert repeated == {"accepted": 0, "duplicate": told, "unknown": 0}


def test_a_stop_and_the_same_manifest_again_keep_what_was_learned(tmp_path: Path) -> None:
    obj = graph("shop", arms_file(tmp_path), min_share=0.05)
    with shop(tmp_path, obj) as server, Visitors(server, "shop", CHANCES) as visitors:
        visitors.play(120, batch=10)
        before = status_of(server, "shop")
        put_graph(server, obj)
        assert column(status_of(server, "shop"), "rewards") == column(before, "rewards")
        run_id, _ = visitors.visit()
        salver(server, "router", "promote", "shop", "a")
        server.stop()
    with shop(tmp_path, obj) as server, Visitors(server, "shop", CHANCES) as visitors:
        after = status_of(server, "shop")
        assert after["mode"] == "promoted"
        assert column(after, "posterior") == column(before, "posterior")
        assert sum(column(after, "choices")) == 121
        assert visitors.tell((run_id, 1.0))["accepted"] == 1


# What goes with the graph, and what does not.


def delete(server: Server, name: str) -> None:
    assert server.delete(f"{GRAPHS}/{name}").is_success
    in_time(lambda: server.get(f"{ROUTERS}/default/{name}/pick").status_code == 404)


def test_a_deleted_graph_is_forgotten_unless_it_was_to_be_kept(tmp_path: Path) -> None:
    source = arms_file(tmp_path)
    keep = {KEEP: "true"}
    objects = [graph("gone", source), graph("kept", source), graph("late", source)]
    objects[1] = graph("kept", source, annotations=keep)
    with shop(tmp_path, *objects) as server:
        learned = {}
        for name in ("gone", "kept", "late"):
            with Visitors(server, name, CHANCES) as visitors:
                visitors.play(30, batch=10)
                learned[name] = column(status_of(server, name), "rewards")
        # Nothing but the annotation is another.
        assert server.put(f"{GRAPHS}/late", graph("late", source, annotations=keep)).is_success
        for name in learned:
            delete(server, name)
        folders = tmp_path / "state" / "routers" / "default"
        in_time(lambda: sorted(each.name for each in folders.iterdir()) == ["kept", "late"])
        put_graph(server, graph("gone", source))
        put_graph(server, graph("late", source))
        assert column(status_of(server, "gone"), "rewards") == [0, 0, 0]
        assert column(status_of(server, "late"), "rewards") == learned["late"]
        server.stop()
    with shop(tmp_path, graph("kept", source)) as server:
        assert column(status_of(server, "kept"), "rewards") == learned["kept"]


# Full disks.


@contextmanager
def no_room(server: Server) -> Iterator[None]:
    """The server's files cannot grow: the system refuses its writes, as it does on a full disk."""
    pid = server.process.pid
    former = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, former[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, former)


def test_a_disk_that_takes_no_more_refuses_rewards_and_answers_requests(tmp_path: Path) -> None:
    with (
        shop(tmp_path, graph("shop", arms_file(tmp_path))) as server,
        Visitors(server, "shop", CHANCES) as visitors,
    ):
        visitors.play(10)
        run_id, _ = visitors.visit()
        with no_room(server):
            lost, _ = visitors.visit()
            answer = server.post(FEEDBACK, {"id": run_id, "reward": 1})
            assert answer.status_code == 503, answer.text
            error = answer.json()["error"]
            assert "router default/shop/pick cannot keep what it is told: File too large" in error
            assert "free some space and send it again" in error
            assert sum(column(status_of(server, "shop"), "rewards")) == 10
        assert visitors.tell((run_id, 1.0))["accepted"] == 1
        # Its choice is in memory, and so its reward is learned from.
        assert visitors.tell((lost, 1.0))["accepted"] == 1
        router = {"router": "default/shop/pick"}
        in_time(lambda: server.metric("salver_router_choices_unlogged", **router) == 1)
        server.stop()
    with again(tmp_path) as server:
        assert sum(column(status_of(server, "shop"), "rewards")) == 12


# Other callers.


def test_seldons_call_rewards_the_choice_that_its_answer_is_of(tmp_path: Path) -> None:
    with shop(tmp_path, graph("shop", arms_file(tmp_path))) as server:
        path = "/seldon/default/shop/api/v1.0"
        answer = server.post(f"{path}/predictions", {"data": {"ndarray": [[1.0]]}}).json()
        (arm,) = answer["data"]["ndarray"]
        told = server.post(f"{path}/feedback", {"response": answer, "reward": 1.0})
        assert told.status_code == 200, told.text
        status = status_of(server, "shop")
        assert column(status, "rewards") == [int(each == arm) for each in range(3)]
        assert column(status, "mean")[int(arm)] > 0.5
        repeated = server.post(FEEDBACK, {"id": answer["meta"]["puid"], "reward": 0})
        assert repeated.json() == {"accepted": 0, "duplicate": 1, "unknown": 0}


def ask_grpc(server: Server, row: list[float], run_id: str) -> int:
    """The arm that a contextual router chose."""
    import grpc
    import numpy as np

    from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse

    message = ModelInferRequest(model_name="shop", id=run_id)
    message.inputs.add(name="x", datatype="FP64", shape=[1, len(row)])
    message.raw_input_contents.append(np.asarray(row, "<f8").tobytes())
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        found = call(message.SerializeToString(), timeout=30, metadata=(("x-request-id", run_id),))
    answer = ModelInferResponse.FromString(found)
    return int(np.frombuffer(answer.raw_output_contents[0], "<f8")[0])


def test_a_contextual_router_learns_from_what_is_asked_over_grpc(tmp_path: Path) -> None:
    source = arms_file(tmp_path)
    objects = [graph("shop", source, "lints", arms=("a", "b"), alpha=0.3)]
    with shop(tmp_path, *objects) as server:
        for index in range(80):
            row = [1.0, 0.0] if index % 2 else [0.0, 1.0]
            arm = ask_grpc(server, row, f"run-{index}")
            reward = float(arm == int(row[1]))
            answer = server.post(FEEDBACK, {"id": f"run-{index}", "reward": reward})
            assert answer.json()["accepted"] == 1, answer.text
        right = [
            ask_grpc(server, row, f"later-{index}") == int(row[1])
            for index, row in enumerate([[1.0, 0.0], [0.0, 1.0]] * 15)
        ]
        assert sum(right) >= 27
        # Two numbers, and the constant 1.
        weights = status_of(server, "shop")["arms"][0]["posterior"]
        assert list(weights) == ["theta[0]", "theta[1]", "theta[2]"]


def test_a_server_with_a_key_shows_and_obeys_only_those_who_have_it(tmp_path: Path) -> None:
    with declared(
        tmp_path, [graph("shop", arms_file(tmp_path))], "--admin-key", "secret"
    ) as server:
        key = {"authorization": "Bearer secret"}
        one = f"{ROUTERS}/default/shop/pick"
        in_time(lambda: server.get(one, headers=key).status_code == 200, 60)
        for headers in ({}, {"authorization": "Bearer other"}):
            assert server.get(one, headers=headers).status_code == 401
            assert server.post(f"{one}/freeze", {}, headers=headers).status_code == 401
        assert server.get(one, headers=key).json()["mode"] == "learning"
        assert server.post(f"{one}/freeze", {}, headers=key).json()["mode"] == "best"
        with Visitors(server, "shop", CHANCES) as visitors:
            run_id, _ = visitors.visit()
            assert visitors.tell((run_id, 1.0))["accepted"] == 1
