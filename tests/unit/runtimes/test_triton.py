"""Triton's models in a worker: Python and ONNX, shapes, sequences, cache, warm-up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.e2e.triton_kit import write_onnx, write_repository

from salver.errors import (
    InvalidInput,
    LoadFailed,
    ModelFailed,
    ModelNotFound,
    Unavailable,
    Unsupported,
)
from salver.inference.tensor import InferRequest, InferResponse, tensor_from_array
from salver.runtimes.ports import AskedRequest, ModelSource
from salver.runtimes.triton import TritonRuntime
from salver.runtimes.triton_cache import ResponseCache, request_digest
from salver.runtimes.triton_sequences import MOST_SEQUENCES, SequenceTable
from salver.runtimes.triton_shapes import reshaped


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_repository(folder)
    return folder


def loaded(folder: Path, **parameters: Any) -> Any:
    return TritonRuntime().load(ModelSource(folder.name, folder, "triton", parameters=parameters))


def asking(**arrays: Any) -> InferRequest:
    return InferRequest(tuple(tensor_from_array(k, np.asarray(v)) for k, v in arrays.items()))


def asked(parameters: dict[str, Any] | None = None, **arrays: Any) -> AskedRequest:
    return AskedRequest(asking(**arrays), "r", parameters or {})


ROW = np.ones((1, 4), np.float32)


def test_requests_come_as_a_list_and_fail_apart(repository: Path) -> None:
    model = loaded(repository / "add")
    requests = [asked(A=ROW, B=ROW), asked(A=-ROW, B=ROW), asked(A=ROW, B=3 * ROW)]
    first, refused, last = model.predict_each(requests)
    assert first.outputs[0].data.tolist() == [[4.0] * 4]
    assert first.outputs[1].data.tolist() == [[3]]
    assert isinstance(refused, InvalidInput) and str(refused) == "A is negative"
    assert last.outputs[0].data.tolist() == [[8.0] * 4]
    assert model.metadata.batchable


def test_a_batch_has_no_more_rows_than_it_may(repository: Path) -> None:
    model = loaded(repository / "add")
    five = np.ones((5, 4), np.float32)
    nine = np.ones((9, 4), np.float32)
    one, two, refused = model.predict_each(
        [asked(A=five, B=five), asked(A=five, B=five), asked(A=nine, B=nine)]
    )
    assert one.outputs[1].data[0, 0] == two.outputs[1].data[0, 0] == 1
    assert "batch-size must be <= 8 for 'add'" in str(refused)


def python_model(folder: Path, config: str, execute: str) -> Any:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(f'backend: "python" {config}')
    source = "import triton_python_backend_utils as pb_utils\nimport numpy as np\n"
    body = f"class TritonPythonModel:\n    def execute(self, requests):\n        {execute}\n"
    (folder / "1" / "model.py").write_text(source + body)
    return loaded(folder)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NOT_FOUND", ModelNotFound),
        ("INVALID_ARG", InvalidInput),
        ("UNAVAILABLE", Unavailable),
        ("UNSUPPORTED", Unsupported),
        ("ALREADY_EXISTS", InvalidInput),
        ("CANCELLED", InvalidInput),
        ("INTERNAL", ModelFailed),
        ("UNKNOWN", ModelFailed),
    ],
)
def test_a_model_s_own_error_has_the_kind_of_its_code(
    tmp_path: Path, code: str, kind: type[Exception]
) -> None:
    execute = (
        f"error = pb_utils.TritonError('told so', pb_utils.TritonError.{code}); "
        "return [pb_utils.InferenceResponse([], error=error) for each in requests]"
    )
    model = python_model(
        tmp_path / "m", "input { name: 'X' data_type: TYPE_FP32 dims: 4 }", execute
    )
    (refused,) = model.predict_each([asked(X=ROW[0])])
    assert type(refused) is kind and str(refused) == "told so"


def test_outputs_that_the_configuration_has_not_are_kept_back(tmp_path: Path) -> None:
    execute = (
        "made = [pb_utils.Tensor(name, np.ones(2, np.float32)) for name in ('MORE', 'Y')]; "
        "return [pb_utils.InferenceResponse(made) for each in requests]"
    )
    config = (
        "input { name: 'X' data_type: TYPE_FP32 dims: 4 } "
        "output { name: 'Y' data_type: TYPE_FP32 dims: 2 }"
    )
    (answer,) = python_model(tmp_path / "m", config, execute).predict_each([asked(X=ROW[0])])
    assert [each.name for each in answer.outputs] == ["Y"]


def test_a_request_without_rows_is_refused(repository: Path) -> None:
    none = np.ones((0, 4), np.float32)
    (refused,) = loaded(repository / "asks").predict_each([asked(X=none)])
    assert isinstance(refused, InvalidInput) and "has no rows" in str(refused)


@pytest.mark.parametrize("name", ["add", "scaled"])
def test_metadata_have_the_configuration(repository: Path, name: str) -> None:
    config = json.loads(loaded(repository / name).metadata.configuration)
    assert config["name"] == name
    assert config["max_batch_size"] == {"add": 8, "scaled": 4}[name]
    assert "dynamic_batching" in config


def test_an_onnx_model_is_reshaped_and_labelled(repository: Path) -> None:
    model = loaded(repository / "scaled", version="2")
    answer = model.predict(asking(X=np.ones((3, 2, 2), np.float32)))
    assert answer.outputs[0].data.tolist() == [[2.0] * 4] * 3
    assert model.metadata.outputs[0].labels == ("red", "green", "blue", "black")
    with pytest.raises(InvalidInput, match="batch-size must be <= 4"):
        model.predict(asking(X=np.ones((5, 2, 2), np.float32)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('input { name: "XX" data_type: TYPE_FP32 dims: 4 }', "did you mean 'X'"),
        ('input { name: "X" data_type: TYPE_INT32 dims: 4 }\nplatform: ""', ""),
        ('input { name: "X" data_type: TYPE_STRING dims: 4 }', "TYPE_STRING in config.pbtxt"),
        ('input { name: "X" data_type: TYPE_FP32 dims: 5 }', "has the shape [-1, 5]"),
    ],
)
def test_a_model_that_is_not_as_configured_is_refused(
    tmp_path: Path, config: str, message: str
) -> None:
    folder = tmp_path / "m"
    (folder / "1").mkdir(parents=True)
    write_onnx(folder / "1" / "model.onnx", 2)
    (folder / "config.pbtxt").write_text(f'max_batch_size: 4 backend: "onnxruntime" {config}')
    if not message:
        loaded(folder)
        return
    with pytest.raises(LoadFailed) as refused:
        loaded(folder)
    assert message in str(refused.value)


def test_a_model_says_nothing_of_a_configuration_that_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "m" / "3").mkdir(parents=True)
    write_onnx(tmp_path / "m" / "3" / "model.onnx", 3)
    model = loaded(tmp_path / "m")
    assert model.metadata.inputs[0].shape == (-1, 4)
    assert model.predict(asking(X=ROW)).outputs[0].data.tolist() == [[3.0] * 4]


def test_auto_completion_gives_tensors(repository: Path) -> None:
    model = loaded(repository / "texts")
    assert [(each.name, each.datatype, each.shape) for each in model.metadata.inputs] == [
        ("X", "BYTES", (-1,))
    ]
    assert not model.metadata.batchable


def test_a_model_that_refuses_its_warm_up_does_not_load(tmp_path: Path) -> None:
    write_repository(tmp_path)
    file = tmp_path / "add" / "config.pbtxt"
    file.write_text(file.read_text().replace("dims: 4 zero_data", "dims: 3 zero_data"))
    with pytest.raises(LoadFailed, match="model_warmup 'w' failed with ValueError"):
        loaded(tmp_path / "add")


def test_a_missing_server_is_an_error_of_the_response(repository: Path) -> None:
    model = loaded(repository / "asks")
    (answer,) = model.predict_each([asked(X=ROW)])
    assert "no server that it could ask" in str(answer)
    model.unload()


def test_a_decoupled_model_streams_or_answers_once(repository: Path) -> None:
    model = loaded(repository / "many")
    assert model.metadata.decoupled
    found = [each.outputs[0].data[0] for each in model.stream(asking(X=np.array([3], np.int32)))]
    assert found == [0, 1, 2]
    assert list(model.stream(asking(X=np.array([0], np.int32)))) == []
    assert model.predict(asking(X=np.array([1], np.int32))).outputs[0].data.tolist() == [0]
    with pytest.raises(Unsupported, match="gave 2 responses"):
        model.predict(asking(X=np.array([2], np.int32)))


def test_sequences_have_controls_and_state(repository: Path) -> None:
    model = loaded(repository / "running_sum")

    def turn(sequence: int | str, value: int, **flags: bool) -> Any:
        parameters = {"sequence_id": sequence, **flags}
        (answer,) = model.predict_each([asked(parameters, X=np.array([value], np.int32))])
        return answer.outputs[0].data.tolist() if isinstance(answer, InferResponse) else answer

    assert turn(1, 5, sequence_start=True) == [5]
    assert turn(2, 1, sequence_start=True) == [1]
    assert turn(1, 5, sequence_end=True) == [10]
    assert "must specify the START flag" in str(turn(1, 5))
    assert "cannot be the UINT64" in str(turn("text", 5, sequence_start=True))
    assert len(model.table) == 2
    (answer,) = model.predict_each([asked(X=np.array([1], np.int32))])
    assert "non-empty correlation ID" in str(answer)


def test_idle_sequences_are_forgotten_and_places_are_reused() -> None:
    now_s = 0.0
    table = SequenceTable("m", idle_s=1.0, slots=2, clock=lambda: now_s)
    assert [table.turn(each, starts=True).slot for each in ("a", "b")] == [0, 1]
    with pytest.raises(Unavailable, match="2 sequences at a time"):
        table.turn("c", starts=True)
    now_s = 0.9
    table.turn("b", starts=False)
    now_s = 1.5
    assert table.turn("c", starts=True).slot == 0
    with pytest.raises(InvalidInput, match="START"):
        table.turn("a", starts=False)
    table.end("b")
    assert table.turn("d", starts=True).slot == 1


def test_a_sequence_that_starts_again_has_no_state() -> None:
    table = SequenceTable("m", idle_s=1.0, slots=MOST_SEQUENCES, clock=lambda: 0.0)
    table.turn(1, starts=True).states["s"] = np.ones(1)
    assert table.turn(1, starts=False).states
    assert not table.turn(1, starts=True).states


def test_equal_requests_are_computed_once(repository: Path) -> None:
    model = loaded(repository / "counter")
    requests = [asked(X=np.array([each], np.int32)) for each in (1, 2, 1)]
    first = [each.outputs[0].data[0] for each in model.predict_each(requests)]
    again = [each.outputs[0].data[0] for each in model.predict_each(requests)]
    assert first == again == [1, 2, 1]
    cache = model.answer_cache
    assert (cache.hits, cache.misses) == (3, 3)
    assert cache.hit_ns > 0
    assert cache.miss_ns > 0
    cache.begin_counting()
    assert (cache.hits, cache.misses, cache.hit_ns, cache.miss_ns) == (0, 0, 0, 0)
    assert cache.size_bytes > 0


def test_the_cache_is_bounded_and_drops_what_was_not_asked_for_longest() -> None:
    cache = ResponseCache(most_bytes=250)
    response = InferResponse((tensor_from_array("Y", np.zeros(10)),))
    for key in (b"a", b"b", b"c"):
        cache.keep(key, response)
    cache.find(b"a")
    cache.keep(b"d", response)
    assert cache.find(b"b") is None
    assert cache.find(b"a") is not None
    assert cache.size_bytes <= 250
    cache.keep(b"e", InferResponse((tensor_from_array("Y", np.zeros(100)),)))
    assert cache.find(b"e") is None


def test_digests_tell_requests_apart() -> None:
    texts = [np.array(each, object) for each in (["ab", "c"], ["a", "bc"])]
    requests = [
        asking(X=np.zeros(2)),
        asking(Y=np.zeros(2)),
        asking(X=np.zeros((1, 2))),
        asking(X=np.zeros(4, np.float32)),
        asking(X=texts[0]),
        asking(X=texts[1]),
        InferRequest(asking(X=np.zeros(2)).inputs, ("Z",)),
    ]
    assert len({request_digest(each) for each in requests}) == len(requests)
    turned = asking(A=np.zeros(1), B=np.ones(1)), asking(B=np.ones(1), A=np.zeros(1))
    assert request_digest(turned[0]) == request_digest(turned[1])


@pytest.mark.parametrize(
    ("shape", "wanted", "found"),
    [((2, 1), (), (2,)), ((2, 4), (2, 2), (2, 2, 2)), ((2, 6), (-1, 2), (2, 3, 2))],
)
def test_reshaping_keeps_the_rows(
    shape: tuple[int, ...], wanted: tuple[int, ...], found: tuple[int, ...]
) -> None:
    assert reshaped(np.zeros(shape), wanted, has_batch=True).shape == found


def test_the_stand_in_has_what_models_use(repository: Path) -> None:
    loaded(repository / "add")
    utils = sys.modules["triton_python_backend_utils"]
    config = {"output": [{"name": "Y", "data_type": "TYPE_FP16"}]}
    assert utils.get_output_config_by_name(config, "Y")["data_type"] == "TYPE_FP16"
    assert utils.get_output_config_by_name(config, "Z") is None
    assert utils.triton_string_to_numpy("TYPE_FP16") is np.float16
    assert utils.triton_string_to_numpy("TYPE_STRING") is np.object_
    assert utils.numpy_to_triton_type(np.float32) == 11
    texts = np.array([[b"a", b"bc"]], object)
    packed = utils.serialize_byte_tensor(texts)
    assert utils.deserialize_bytes_tensor(packed.item()).tolist() == [b"a", b"bc"]
    with pytest.raises(utils.TritonModelException):
        utils.Tensor("X", [1, 2])
    request = utils.InferenceRequest("m", ["Y"], [utils.Tensor("X", ROW)], parameters={"a": 1})
    assert json.loads(request.parameters()) == {"a": 1}
    with pytest.raises(utils.TritonModelException, match="decoupled"):
        request.get_response_sender()
    assert not utils.using_decoupled_model_transaction_policy({})
    np.testing.assert_array_equal(
        utils.Tensor.from_dlpack("X", utils.Tensor("X", ROW)).as_numpy(), ROW
    )
