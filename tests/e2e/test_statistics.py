"""Triton's statistics and configuration, by Triton's own clients; and `salver top batches`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.documents import ROOT
from tests.e2e.server import Server, command, serving

IRIS = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = str(tmp_path_factory.mktemp("state"))
    with serving(str(ROOT / "examples/iris.skops"), "--state-dir", state) as server:
        yield server


def test_batches_queue_and_failures_add_up(server: Server) -> None:
    before = server.get("/v2/models/iris/stats").json()["model_stats"][0]
    for count in (1, 1, 1, 5, 70):
        assert server.infer("iris", [IRIS] * count).status_code == 200
    assert server.infer("iris", [[1.0]]).status_code == 400
    after = server.get("/v2/models/iris/stats").json()["model_stats"][0]

    def gained(part: str) -> int:
        return int(
            after["inference_stats"][part]["count"] - before["inference_stats"][part]["count"]
        )

    assert (gained("success"), gained("fail"), gained("queue")) == (5, 1, 6)
    assert after["inference_count"] - before["inference_count"] == 78
    assert after["last_inference"] > 1_600_000_000_000
    sizes = {each["batch_size"]: each for each in after["batch_stats"]}
    assert sizes.keys() >= {1, 5, 80}  # 65 to 80 rows are one size.
    assert sizes[5]["compute_infer"]["count"] == 1
    assert sizes[5]["compute_infer"]["ns"] > 0
    assert sizes[5]["compute_input"]["ns"] > 0


def test_every_version_and_every_model_is_listed(server: Server) -> None:
    names = [each["name"] for each in server.get("/v2/models/stats").json()["model_stats"]]
    assert names == ["iris"]
    assert server.get("/v2/models/iris/versions/1/stats").status_code == 200
    assert server.get("/v2/models/iris/versions/9/stats").status_code == 404
    answer = server.get("/v2/models/nobody/stats")
    assert answer.status_code == 404 and "nobody" in answer.json()["error"]
    assert {"statistics", "model_configuration"} <= set(server.get("/v2").json()["extensions"])


def test_tritons_http_client_reads_statistics_and_configuration(server: Server) -> None:
    client = triton_http.InferenceServerClient(server.url.removeprefix("http://"))
    server.infer("iris", [IRIS])
    (found,) = client.get_inference_statistics("iris", "1")["model_stats"]
    assert found["inference_stats"]["success"]["count"] >= 1
    assert len(client.get_inference_statistics()["model_stats"]) == 1
    config = client.get_model_config("iris")
    assert config["max_batch_size"] == 128
    assert config["input"][0]["data_type"] == "TYPE_FP64" and config["input"][0]["dims"] == [4]
    client.close()


def test_tritons_grpc_client_reads_statistics_and_configuration(server: Server) -> None:
    client = triton_grpc.InferenceServerClient(server.grpc)
    server.infer("iris", [IRIS])
    (found,) = client.get_inference_statistics("iris").model_stats
    by_http = server.get("/v2/models/iris/stats").json()["model_stats"][0]
    assert found.inference_count == by_http["inference_count"]
    assert (
        found.inference_stats.compute_infer.ns
        == (by_http["inference_stats"]["compute_infer"]["ns"])
    )
    assert [each.batch_size for each in found.batch_stats] == [
        each["batch_size"] for each in by_http["batch_stats"]
    ]
    config = client.get_model_config("iris").config
    assert config.max_batch_size == 128
    assert list(config.input[0].dims) == [4]
    assert config.instance_group[0].count == 1
    client.close()


def test_top_shows_batches_by_their_size(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(lambda: [server.infer("iris", [IRIS] * 3) for _ in range(150)])
        lines = ""
        while not asking.done() and " 3 " not in lines:
            arguments = command("top", "batches", "iris", "-s", server.url, "--interval", "500ms")
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, done.stderr
            lines = done.stdout
        asking.result()
    header, row, *_ = lines.splitlines()
    assert header.split()[:4] == ["MODEL", "VERSION", "ROWS", "BATCHES/S"]
    assert row.split()[:3] == ["iris", "1", "3"]
