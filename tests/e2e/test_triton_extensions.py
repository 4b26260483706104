"""tritonclient on Triton's classification, trace and logging extensions, against a real server."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests import models
from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

ROW = np.array([[1, 3.3, 0.5, 2.4]], np.float32)
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

TYPES = {"Y": np.float32, "D": np.float64, "I": np.int64, "U": np.uint8, "B": np.bool_}


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
        arrays = {name: x.astype(TYPES[name]) for name in TYPES}
        arrays["S"] = np.array([str(each) for each in x.ravel()], object).reshape(x.shape)
        wanted = request.requested_output_names()
        outputs = [pb_utils.Tensor(name, arrays[name]) for name in arrays if name in wanted]
        return pb_utils.InferenceResponse(outputs)
"""
TENSORS = """
input { name: "X" data_type: TYPE_FP32 dims: [DIMS] }
output [
  { name: "Y" data_type: TYPE_FP32 dims: [DIMS] label_filename: "labels.txt" },
  { name: "D" data_type: TYPE_FP64 dims: [DIMS] }, { name: "I" data_type: TYPE_INT64 dims: [DIMS] },
  { name: "U" data_type: TYPE_UINT8 dims: [DIMS] }, { name: "B" data_type: TYPE_BOOL dims: [DIMS] },
  { name: "S" data_type: TYPE_STRING dims: [DIMS] }
]
"""
CONFIGS = {
    "stacked": 'backend: "python" max_batch_size: 8 dynamic_batching {}'
    + TENSORS.replace("DIMS", "-1"),
    "alone": 'backend: "python" max_batch_size: 8' + TENSORS.replace("DIMS", "-1"),
    "flat": 'backend: "python"' + TENSORS.replace("DIMS", "-1, -1"),
}
ENSEMBLE = """
platform: "ensemble" max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: [-1] }
output { name: "OUT" data_type: TYPE_FP32 dims: [-1] }
ensemble_scheduling {
  step { model_name: "stacked" model_version: -1
    input_map { key: "X" value: "IN" } output_map { key: "Y" value: "between" } }
  step { model_name: "stacked" model_version: -1
    input_map { key: "X" value: "between" } output_map { key: "Y" value: "OUT" } }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extensions")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    repository = folder / "repository"
    for name, config in CONFIGS.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)
        (repository / name / "labels.txt").write_text("red\ngreen\n\nblue\n")
        (repository / name / "1" / "model.py").write_text(MODEL)
    (repository / "twice" / "1").mkdir(parents=True)
    (repository / "twice" / "config.pbtxt").write_text(ENSEMBLE)
    models.save_sklearn_lr(repository / "iris.joblib")
    with serving(str(repository), "--trace-file", str(folder / "trace.json")) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    if request.param == "http":
        made: Any = httpclient.InferenceServerClient(server.url.removeprefix("http://"))
    else:
        made = grpcclient.InferenceServerClient(server.grpc)
    yield made
    made.close()


def module_of(client: Any) -> Any:
    return httpclient if isinstance(client, httpclient.InferenceServerClient) else grpcclient


def given(module: Any, rows: Any) -> list[Any]:
    tensor = module.InferInput("X", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return [tensor]


def classes(client: Any, model: str, output: str, count: int, rows: Any = ROW) -> Any:
    module = module_of(client)
    wanted = module.InferRequestedOutput(output, class_count=count)
    return client.infer(model, given(module, rows), outputs=[wanted]).as_numpy(output)


@pytest.mark.parametrize("model", ["stacked", "alone"])
def test_each_row_has_its_highest_classes(client: Any, model: str) -> None:
    rows = np.vstack([ROW, [[9, 8, 7, 6]]]).astype(np.float32)
    assert classes(client, model, "Y", 2, rows).tolist() == [
        [b"3.300000:1:green", b"2.400000:3:blue"],
        [b"9.000000:0:red", b"8.000000:1:green"],
    ]
    assert classes(client, model, "Y", 99).shape == (1, 4)


def test_every_number_type_can_be_ranked(client: Any) -> None:
    assert classes(client, "stacked", "D", 1).tolist() == [[b"3.300000:1"]]
    assert classes(client, "stacked", "I", 2).tolist() == [[b"3:1", b"2:3"]]
    assert classes(client, "stacked", "U", 1).tolist() == [[b"3:1"]]


def test_a_model_without_batches_has_one_list(client: Any) -> None:
    found = classes(client, "flat", "Y", 3, ROW.reshape(2, 2))
    assert found.tolist() == [b"3.300000:1:green", b"2.400000:3:blue", b"1.000000:0:red"]


def test_the_classes_of_a_scikit_learn_model_are_labels(client: Any) -> None:
    module = module_of(client)
    tensor = module.InferInput("input-0", [2, 4], "FP64")
    tensor.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]))
    wanted = module.InferRequestedOutput("predict_proba", class_count=1)
    found = client.infer("iris", [tensor], outputs=[wanted]).as_numpy("predict_proba")
    assert [each.split(b":")[1:] for each in found.ravel()] == [[b"0", b"0"], [b"2", b"2"]]


def test_an_ensemble_has_the_labels_of_its_models(client: Any) -> None:
    module = module_of(client)
    tensor = module.InferInput("IN", list(ROW.shape), "FP32")
    tensor.set_data_from_numpy(ROW)
    wanted = module.InferRequestedOutput("OUT", class_count=2)
    found = client.infer("twice", [tensor], outputs=[wanted]).as_numpy("OUT")
    assert found.tolist() == [[b"3.300000:1:green", b"2.400000:3:blue"]]


@pytest.mark.parametrize(("output", "count"), [("S", 1), ("B", 1), ("Y", -1)])
def test_what_cannot_be_ranked_is_refused(client: Any, output: str, count: int) -> None:
    with pytest.raises(InferenceServerException, match="class") as refused:
        classes(client, "stacked", output, count)
    assert refused.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    assert classes(client, "stacked", "Y", 1).tolist() == [[b"3.300000:1:green"]]


def test_requests_of_one_batch_get_what_each_asks_for(server: Server) -> None:
    made = grpcclient.InferenceServerClient(server.grpc)
    counts = [1, 2, 3, 4, 0, 1] * 4

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda count: classes(made, "stacked", "Y", count).shape, counts))
    assert found == [(1, count or 4) for count in counts]
    made.close()


def test_a_stream_has_classes_too(server: Server) -> None:
    made = grpcclient.InferenceServerClient(server.grpc)
    answers: queue.Queue[Any] = queue.Queue()
    made.start_stream(callback=lambda result, error: answers.put(error or result))
    wanted = grpcclient.InferRequestedOutput("Y", class_count=1)
    made.async_stream_infer("stacked", given(grpcclient, ROW), outputs=[wanted])
    assert answers.get(timeout=10).as_numpy("Y").tolist() == [[b"3.300000:1:green"]]
    made.stop_stream()
    made.close()


# Traces.


def settings(client: Any, model: str, wanted: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """The settings after an update, if one is wanted; of both clients in one form."""
    is_grpc = module_of(client) is grpcclient
    more = {"as_json": True} if is_grpc else {}
    if wanted is None:
        found = client.get_trace_settings(model, **more)
    else:
        found = client.update_trace_settings(model, wanted, **more)
    if is_grpc:
        return {name: value["value"] for name, value in found["settings"].items()}
    return {name: value if isinstance(value, list) else [value] for name, value in found.items()}


def events(path: Path) -> list[Any]:
    found: list[Any] = json.loads(path.read_bytes()) if path.exists() else []
    return found


def test_sampled_requests_are_written_with_their_times_and_tensors(
    client: Any, folder: Path
) -> None:
    before = {path.name for path in folder.iterdir()}
    wanted = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "1", "trace_count": "2"}
    found = settings(client, "stacked", {**wanted, "log_frequency": "2"})
    assert found["trace_level"] == ["TIMESTAMPS", "TENSORS"]
    assert found["trace_file"] == [str(folder / "trace.json")]
    module = module_of(client)
    outputs = [module.InferRequestedOutput("Y", class_count=1)]
    for number in range(3):
        client.infer("stacked", given(module, ROW), outputs=outputs, request_id=f"r{number}")
        client.infer("alone", given(module, ROW), outputs=outputs)
    assert settings(client, "stacked")["trace_count"] == ["0"]

    def new_file() -> Path | None:
        return next((path for path in folder.iterdir() if path.name not in before), None)

    wait_until(new_file, 10)
    written = events(new_file() or folder)
    heads = [event for event in written if "model_name" in event]
    assert [(event["model_name"], event["request_id"]) for event in heads] == [
        ("stacked", "r0"),
        ("stacked", "r1"),
    ]
    moments = [
        (event["timestamps"][0]["name"], event["timestamps"][0]["ns"])
        for event in written
        if event["id"] == heads[0]["id"] and "timestamps" in event
    ]
    assert [name for name, _ in moments] == [
        *("REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END"),
        *("COMPUTE_OUTPUT_START", "COMPUTE_END", "INFER_RESPONSE_COMPLETE", "REQUEST_END"),
    ]
    assert [at for _, at in moments] == sorted(at for _, at in moments)
    tensors = [event for event in written if "tensor" in event]
    assert tensors[0]["activity"] == "TENSOR_QUEUE_INPUT"
    assert tensors[0]["tensor"]["data"] == "1,3.3,0.5,2.4"
    assert tensors[1]["tensor"]["name"] == "Y"
    cleared = dict.fromkeys(("trace_level", "trace_rate", "trace_count", "log_frequency"))
    assert settings(client, "stacked", cleared) == settings(client, "")


def test_traced_requests_of_many_callers_are_answered_and_each_is_written(
    server: Server, folder: Path
) -> None:
    made = grpcclient.InferenceServerClient(server.grpc)
    made.update_trace_settings("iris", {"trace_level": "TIMESTAMPS", "trace_rate": "2"})
    rows = [[[5.1, 3.5, 1.4, 0.2]], [[6.7, 3.0, 5.2, 2.3]]] * 20
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: server.infer("iris", row).json(), rows))
    assert [each["outputs"][0]["data"] for each in answers] == [[0], [2]] * 20
    made.update_trace_settings("iris", {"trace_level": None, "trace_rate": None})
    path = folder / "trace.json"
    wait_until(lambda: sum("model_name" in event for event in events(path)) == 20, 10)
    made.close()


def test_a_model_s_trace_settings_hold_in_place_of_the_global_ones(client: Any) -> None:
    settings(client, "flat", {"trace_rate": "4"})
    settings(client, "", {"trace_rate": "9", "log_frequency": "7"})
    assert settings(client, "flat")["trace_rate"] == ["4"]
    assert settings(client, "flat")["log_frequency"] == ["7"]
    assert settings(client, "flat", {"trace_rate": None})["trace_rate"] == ["9"]
    settings(client, "", {"trace_rate": None, "log_frequency": None})
    assert settings(client, "flat")["trace_rate"] == ["1000"]


@pytest.mark.parametrize(
    ("model", "wanted", "statuses"),
    [
        ("", {"trace_file": "/etc/passwd"}, ("501", "StatusCode.UNIMPLEMENTED")),
        ("", {"trace_level": ["LOUD"]}, ("400", "StatusCode.INVALID_ARGUMENT")),
        ("", {"trace_rate": "often"}, ("400", "StatusCode.INVALID_ARGUMENT")),
        ("", {"nonsense": "1"}, ("400", "StatusCode.INVALID_ARGUMENT")),
        ("nope", {"trace_rate": "1"}, ("404", "StatusCode.NOT_FOUND")),
    ],
)
def test_wrong_trace_settings_are_refused(
    client: Any, model: str, wanted: dict[str, Any], statuses: tuple[str, str]
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        settings(client, model, wanted)
    assert refused.value.status() in statuses


# Logs.


def log_settings(client: Any, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    is_grpc = module_of(client) is grpcclient
    more = {"as_json": True} if is_grpc else {}
    found = (
        client.get_log_settings(**more)
        if wanted is None
        else client.update_log_settings(wanted, **more)
    )
    if not is_grpc:
        result: dict[str, Any] = found
        return result
    return {name: next(iter(value.values())) for name, value in found["settings"].items()}


def test_log_settings_change_what_is_written(client: Any, server: Server) -> None:
    before = log_settings(client)
    assert before["log_info"] is True
    assert before["log_verbose_level"] == 0

    def reloaded() -> int:
        """How many lines a load has written."""
        lines = len(server.log.read_text().splitlines())
        assert server.post("/v2/repository/models/iris/load").status_code == 200
        return len(server.log.read_text().splitlines()) - lines

    assert log_settings(client, {"log_info": False})["log_info"] is False
    assert log_settings(client, {"log_verbose_level": 1})["log_verbose_level"] == 1
    assert log_settings(client, {"log_info": True, "log_verbose_level": 0}) == before


@pytest.mark.parametrize(
    ("wanted", "statuses"),
    [
        ({"log_file": "/etc/passwd"}, ("501", "StatusCode.UNIMPLEMENTED")),
        ({"log_format": "xml"}, ("400", "StatusCode.INVALID_ARGUMENT")),
    ],
)
def test_wrong_log_settings_are_refused(
    client: Any, wanted: dict[str, Any], statuses: tuple[str, str]
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        log_settings(client, wanted)
    assert refused.value.status() in statuses


def test_the_server_lists_what_it_has(client: Any) -> None:
    found = client.get_server_metadata()
    listed = found["extensions"] if isinstance(found, dict) else list(found.extensions)
    assert {"classification", "trace", "logging"} <= set(listed)
