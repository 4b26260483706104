"""tritonclient against a Triton repository served as it is: every backend of this environment."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.e2e.server import Server, command, environment, serving, wait_until
from tests.e2e.triton_kit import write_repository

pytestmark = pytest.mark.e2e

ONES = np.ones((3, 4), np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("triton") / "repository"
    write_repository(folder)
    with serving(str(folder)) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    if request.param == "http":
        made: Any = httpclient.InferenceServerClient(server.url.removeprefix("http://"))
    else:
        made = grpcclient.InferenceServerClient(server.grpc)
    yield made
    made.close()


def ask(client: Any, model: str, tensors: dict[str, Any], version: str = "", **extra: Any) -> Any:
    module = httpclient if isinstance(client, httpclient.InferenceServerClient) else grpcclient
    inputs = []
    for name, array in tensors.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return client.infer(model, inputs, model_version=version, **extra)


def number(value: int) -> dict[str, Any]:
    return {"X": np.array([value], np.int32)}


def test_a_python_model_answers_with_its_parameters(client: Any) -> None:
    result = ask(client, "add", {"A": ONES, "B": 2 * ONES})
    np.testing.assert_array_equal(result.as_numpy("SUM"), 6 * ONES)
    assert result.as_numpy("SUM").dtype == np.float32


def test_execute_gets_the_requests_of_a_batch_as_a_list(server: Server) -> None:
    client = grpcclient.InferenceServerClient(server.grpc)
    row = {"A": ONES[:1], "B": ONES[:1]}
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: ask(client, "add", row), range(24)))
    counts = [int(each.as_numpy("COUNT")[0, 0]) for each in results]
    assert max(counts) > 1
    assert max(counts) <= 8
    client.close()


def test_one_bad_request_of_a_batch_fails_alone(server: Server) -> None:
    client = grpcclient.InferenceServerClient(server.grpc)
    starts = [1, -1, 1, 2e6, 1, -1, 1, 1]

    def asked(first: float) -> Any:
        row = np.full((1, 4), first, np.float32)
        try:
            return ask(client, "add", {"A": row, "B": row}).as_numpy("SUM")[0, 0]
        except InferenceServerException as error:
            return error.message()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(asked, starts))
    assert [each for each in answers if not isinstance(each, str)] == [4.0] * 5
    assert sum("A is negative" in str(each) for each in answers) == 2
    assert sum("ValueError: A is huge" in str(each) for each in answers) == 1
    client.close()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"A": -ONES, "B": ONES}, "A is negative"),
        ({"A": np.ones((9, 4), np.float32), "B": np.ones((9, 4), np.float32)}, "must be <= 8"),
        ({"A": ONES[:, :3].copy(), "B": ONES}, r"takes \[-1,4\]"),
        ({"A": ONES}, "lacks the input 'B'"),
        ({"A": ONES.astype(np.float64), "B": ONES}, "FP64"),
        ({"A": ONES[:2], "B": ONES}, "rows"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    client: Any, tensors: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as refused:
        ask(client, "add", tensors)
    assert refused.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")


def test_a_model_without_configuration_completes_it(client: Any) -> None:
    texts = {"X": np.array([b"a", "ü".encode()], object)}
    result = ask(client, "texts", texts, request_id="r7", parameters={"key": "value"})
    assert result.as_numpy("Y").tolist() == ["ü".encode(), b"a"]
    assert result.as_numpy("ID")[0] == b'r7 {"key": "value"} texts'


def test_an_onnx_model_has_versions_shapes_and_labels_of_its_configuration(
    client: Any, server: Server
) -> None:
    squares = {"X": np.ones((2, 2, 2), np.float32)}
    assert ask(client, "scaled", squares).as_numpy("Y").tolist() == [[3.0] * 4] * 2
    assert ask(client, "scaled", squares, "2").as_numpy("Y").tolist() == [[2.0] * 4] * 2
    with pytest.raises(InferenceServerException, match="no version '1'"):
        ask(client, "scaled", squares, "1")
    metadata = server.get("/v2/models/scaled").json()
    assert metadata["versions"] == ["2", "3"]
    assert metadata["inputs"][0]["shape"] == [-1, 2, 2]


def test_a_model_asks_another_of_the_server(client: Any) -> None:
    assert ask(client, "asks", {"X": ONES}).as_numpy("Y").tolist() == (4 * ONES).tolist()
    with pytest.raises(InferenceServerException, match="A is negative"):
        ask(client, "asks", {"X": -ONES})


def test_a_sequence_keeps_its_state(client: Any) -> None:
    def asked(sequence: int, value: int, **flags: bool) -> int:
        result = ask(client, "running_sum", number(value), sequence_id=sequence, **flags)
        return int(result.as_numpy("Y")[0])

    assert asked(7, 1, sequence_start=True) == 1
    assert asked(8, 10, sequence_start=True) == 10
    assert asked(7, 2) == 3
    assert asked(8, 20) == 30
    assert asked(7, 3, sequence_end=True) == 6
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        asked(7, 4)
    assert asked(8, 1, sequence_start=True) == 1
    time.sleep(0.8)
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        asked(8, 4)
    with pytest.raises(InferenceServerException, match="non-zero or non-empty correlation ID"):
        ask(client, "running_sum", number(1))


def test_sequences_interleave_on_a_stream(server: Server) -> None:
    """As Triton's `simple_grpc_sequence_stream_infer_client`: two of them, on one stream."""
    ids = (1007, 1008)
    client = grpcclient.InferenceServerClient(server.grpc)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    values = {ids[0]: [11, 7, 5], ids[1]: [-11, -7, -5]}
    for turn in range(3):
        for sequence in ids:
            tensor = grpcclient.InferInput("X", [1], "INT32")
            tensor.set_data_from_numpy(np.array([values[sequence][turn]], np.int32))
            client.async_stream_infer(
                "running_sum",
                [tensor],
                request_id=f"{sequence}_{turn}",
                sequence_id=sequence,
                sequence_start=turn == 0,
                sequence_end=turn == 2,
            )
    received = [answers.get(timeout=20) for _ in range(6)]
    assert [error for _, error in received] == [None] * 6
    sums = {result.get_response().id: int(result.as_numpy("Y")[0]) for result, _ in received}
    totals = {ids[0]: [11, 18, 23], ids[1]: [-11, -18, -23]}
    assert sums == {f"{each}_{turn}": totals[each][turn] for each in ids for turn in range(3)}
    client.stop_stream()
    client.close()


def test_a_decoupled_model_generates(server: Server) -> None:
    """Triton's generate extension, as curl and plain HTTP clients use it."""
    with httpx.stream(
        "POST", server.url + "/v2/models/many/generate_stream", json={"X": 3}, timeout=20
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert [json.loads(event)["Y"] for event in events] == [0, 1, 2]
    one = httpx.post(server.url + "/v2/models/many/generate", json={"X": 1}, timeout=20)
    assert one.json() == {"model_name": "many", "model_version": "1", "Y": 0}
    several = httpx.post(server.url + "/v2/models/many/generate", json={"X": 2}, timeout=20)
    assert (several.status_code, "gave 2 responses" in several.json()["error"]) == (501, True)


def test_equal_requests_are_answered_from_the_cache(client: Any) -> None:
    def asked(value: int) -> int:
        return int(ask(client, "counter", number(value)).as_numpy("Y")[0])

    base = hash(type(client)) % 1000 * 10
    first, second = asked(base + 1), asked(base + 2)
    assert second == first + 1
    assert [asked(base + 1), asked(base + 2), asked(base + 1)] == [first, second, first]


def test_a_decoupled_model_streams(server: Server) -> None:
    client = grpcclient.InferenceServerClient(server.grpc)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    tensor = grpcclient.InferInput("X", [1], "INT32")
    tensor.set_data_from_numpy(np.array([4], np.int32))
    client.async_stream_infer("many", [tensor])
    received = [answers.get(timeout=20) for _ in range(4)]
    assert [error for _, error in received] == [None] * 4
    assert [int(result.as_numpy("Y")[0]) for result, _ in received] == [0, 1, 2, 3]
    client.stop_stream()
    client.close()


def test_an_ensemble_answers_under_its_own_name(client: Any, server: Server) -> None:
    wait_until(lambda: server.get("/v2/models/both_steps/ready").status_code == 200, 20)
    result = ask(client, "both_steps", {"IN": ONES})
    np.testing.assert_array_equal(result.as_numpy("MID"), 4 * ONES)
    np.testing.assert_array_equal(result.as_numpy("OUT"), 10 * ONES)


def test_what_has_no_effect_is_told_at_the_start(server: Server) -> None:
    log = server.log.read_text()
    assert "2 instances become 1, since a sequence stays in one worker" in log


def test_instances_are_workers(server: Server) -> None:
    names = [line for line in server.get("/metrics").text.splitlines() if "salver_replicas" in line]
    assert (
        any('model="add"' in line and line.endswith(" 2.0") for line in names)
        or len(server.workers()) >= 9
    )


def test_a_wrong_configuration_names_line_and_field(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_repository(folder)
    (folder / "add" / "config.pbtxt").write_text('backend: "python"\nmax_batchsize: 3\n')
    done = subprocess.run(
        command("serve", str(folder / "add"), "--http-port", "0"),
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "config.pbtxt:2: max_batchsize: is no field of Triton's" in done.stderr
    assert "did you mean 'max_batch_size'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_hostile_folders_leave_the_models_beside_them_be(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_repository(folder)
    for each in folder.iterdir():
        if each.name not in ("add", "texts"):
            shutil.rmtree(each)
    maps = 'input_map {key: "X" value: "X"} output_map {key: "Y" value: "Y"}'
    ask = f'step [{{model_name: "%s" {maps}}}]'
    tensor = '{name: "%s" data_type: TYPE_STRING dims: [-1]}'
    ensemble = (
        f'platform: "ensemble" input [{tensor % "X"}] output [{tensor % "Y"}] '
        f"ensemble_scheduling {{ {ask} }}"
    )
    for name, text in (
        ("nested", "input " + "{" * 50_000),
        ("bytes", "\udcff\udc80" * 99),
        ("versionless", 'backend: "python"'),
        ("round", ensemble % "trip"),
        ("trip", ensemble % "round"),
        ("lost", ensemble % "nobody"),
    ):
        (folder / name).mkdir()
        (folder / name / "config.pbtxt").write_text(text, errors="surrogateescape")
    (folder / "empty" / "1").mkdir(parents=True)
    (folder / "empty" / "config.pbtxt").write_text('backend: "python"')
    with serving(str(folder)) as running:
        index = {each["name"]: each for each in running.post("/v2/repository/index").json()}
        ready = {name for name, each in index.items() if each["state"] == "READY"}
        assert ready == {"add", "texts"}
        for name, said in (
            ("nested", "config.pbtxt:1: expected"),
            ("bytes", "config.pbtxt cannot be read"),
            ("versionless", "has no version: put the model into a folder with a number"),
            ("empty", "version 1 holds no model.py"),
        ):
            assert said in index[name]["reason"]
            answer = running.post(f"/v2/repository/models/{name}/load")
            assert answer.status_code == 400
            assert said in answer.json()["error"]
        assert running.post("/v2/repository/models/add/load").status_code == 200
        log = running.log.read_text()
        assert "ensembles round, trip ask each other in a circle" in log
        assert "ensemble 'lost' asks 'nobody', which the repository does not have" in log


def test_models_that_cannot_load_say_why_and_others_serve(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_repository(folder)
    for name in ("asks", "counter", "many", "both_steps", "running_sum"):
        shutil.rmtree(folder / name)
    (folder / "texts" / "1" / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    config = (folder / "scaled" / "config.pbtxt").read_text()
    (folder / "scaled" / "config.pbtxt").write_text(config.replace('"X"', '"XX"'))
    with serving(str(folder)) as running:
        assert running.get("/v2/models/add/ready").status_code == 200
        index = {each["name"]: each for each in running.post("/v2/repository/index").json()}
        assert "has no method execute" in index["texts"]["reason"]
        assert "did you mean 'X'?" in index["scaled"]["reason"]


def test_finalize_is_called_when_a_model_is_unloaded(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_repository(folder)
    with serving(str(folder / "texts")) as running:
        running.post("/v2/repository/models/texts/unload")
        wait_until(lambda: "finalized" in running.log.read_text())
