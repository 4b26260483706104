"""tritonclient on a running server: every transport, each answer against the library's own."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.e2e.zoo import COMPARED, TOLERANCE, Case, Zoo

pytestmark = pytest.mark.e2e


@pytest.fixture
def http(zoo: Zoo) -> Iterator[Any]:
    client = httpclient.InferenceServerClient(zoo.authority)
    yield client
    client.close()


@pytest.fixture
def grpc(zoo: Zoo) -> Iterator[Any]:
    client = grpcclient.InferenceServerClient(zoo.grpc)
    yield client
    client.close()


def names(client: Any, case: Case) -> tuple[str, str]:
    """The model's input and output as a client finds them in its metadata."""
    metadata = client.get_model_metadata(case.model)
    if isinstance(metadata, dict):
        outputs = [output["name"] for output in metadata["outputs"]]
        return metadata["inputs"][0]["name"], (outputs or ["predict"])[0]
    outputs = [output.name for output in metadata.outputs]
    return metadata.inputs[0].name, (outputs or ["predict"])[0]


def tensor_for(module: Any, name: str, case: Case, **extra: Any) -> Any:
    tensor = module.InferInput(name, list(case.rows.shape), case.datatype)
    tensor.set_data_from_numpy(case.rows, **extra)
    return tensor


@pytest.mark.parametrize("answers_binary", [True, False])
@pytest.mark.parametrize("asks_binary", [True, False])
@pytest.mark.parametrize("model", COMPARED)
def test_http_answers_as_the_library_does(
    zoo: Zoo, http: Any, model: str, asks_binary: bool, answers_binary: bool
) -> None:
    case = zoo.cases[model]
    name, output = names(http, case)
    result = http.infer(
        model,
        [tensor_for(httpclient, name, case, binary_data=asks_binary)],
        outputs=[httpclient.InferRequestedOutput(output, binary_data=answers_binary)],
        request_id="r-17",
    )
    np.testing.assert_allclose(result.as_numpy(output), case.expected, **TOLERANCE)
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("r-17", model, "1")
    is_binary = "binary_data_size" in answer["outputs"][0].get("parameters", {})
    assert is_binary is answers_binary


@pytest.mark.parametrize("model", COMPARED)
def test_http_with_no_outputs_named_answers_as_the_library_does(
    zoo: Zoo, http: Any, model: str
) -> None:
    case = zoo.cases[model]
    name, output = names(http, case)
    result = http.infer(model, [tensor_for(httpclient, name, case)], model_version="1")
    np.testing.assert_allclose(result.as_numpy(output), case.expected, **TOLERANCE)


@pytest.mark.parametrize("answers", ["gzip", "deflate", None])
@pytest.mark.parametrize("asks", ["gzip", "deflate", None])
@pytest.mark.parametrize("is_binary", [True, False])
def test_http_compresses_both_ways(
    zoo: Zoo, http: Any, asks: str | None, answers: str | None, is_binary: bool
) -> None:
    case = zoo.cases["mlp"]
    result = http.infer(
        "mlp",
        [tensor_for(httpclient, "pixels", case, binary_data=is_binary)],
        outputs=[httpclient.InferRequestedOutput("scores", binary_data=is_binary)],
        request_compression_algorithm=asks,
        response_compression_algorithm=answers,
    )
    np.testing.assert_allclose(result.as_numpy("scores"), case.expected, **TOLERANCE)


def test_http_async_infer_answers_all(zoo: Zoo) -> None:
    case = zoo.cases["iris"]
    client = httpclient.InferenceServerClient(zoo.authority, concurrency=4)
    tensor = tensor_for(httpclient, "input-0", case)
    pending = [client.async_infer("iris", [tensor]) for _ in range(20)]
    for each in pending:
        np.testing.assert_array_equal(each.get_result().as_numpy("predict"), case.expected)
    client.close()


@pytest.mark.parametrize("model", COMPARED)
def test_grpc_answers_as_the_library_does(zoo: Zoo, grpc: Any, model: str) -> None:
    case = zoo.cases[model]
    name, output = names(grpc, case)
    result = grpc.infer(
        model,
        [tensor_for(grpcclient, name, case)],
        outputs=[grpcclient.InferRequestedOutput(output)],
        request_id="r-18",
    )
    np.testing.assert_allclose(result.as_numpy(output), case.expected, **TOLERANCE)
    answer = result.get_response()
    assert (answer.id, answer.model_name, answer.model_version) == ("r-18", model, "1")


def test_grpc_takes_typed_contents_and_answers_all_outputs_asked_for(zoo: Zoo, grpc: Any) -> None:
    from tritonclient.grpc import service_pb2

    case = zoo.cases["iris"]
    request = service_pb2.ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="input-0", datatype="FP64", shape=case.rows.shape)
    tensor.contents.fp64_contents.extend(case.rows.ravel().tolist())
    request.outputs.add(name="predict_proba")
    request.outputs.add(name="predict")
    answer = grpc._client_stub.ModelInfer(request)
    assert [output.name for output in answer.outputs] == ["predict_proba", "predict"]
    assert list(answer.outputs[0].shape) == [case.batch, 3]


def test_grpc_takes_gzipped_messages(zoo: Zoo, grpc: Any) -> None:
    case = zoo.cases["mlp"]
    tensor = tensor_for(grpcclient, "pixels", case)
    result = grpc.infer("mlp", [tensor], compression_algorithm="gzip")
    np.testing.assert_allclose(result.as_numpy("scores"), case.expected, **TOLERANCE)


def test_grpc_says_that_it_does_not_take_deflate(zoo: Zoo, grpc: Any) -> None:
    # The default front's limit: gRPC's own answer to a coding unknown is UNIMPLEMENTED.
    tensor = tensor_for(grpcclient, "pixels", zoo.cases["mlp"])
    with pytest.raises(InferenceServerException, match="deflate") as refused:
        grpc.infer("mlp", [tensor], compression_algorithm="deflate")
    assert refused.value.status() == "StatusCode.UNIMPLEMENTED"


def test_grpc_async_infer_calls_back(zoo: Zoo, grpc: Any) -> None:
    case = zoo.cases["trees"]
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for _ in range(20):
        grpc.async_infer(
            "trees",
            [tensor_for(grpcclient, "input-0", case)],
            callback=lambda result, error: answers.put((result, error)),
        )
    for _ in range(20):
        result, error = answers.get(timeout=30)
        assert error is None
        np.testing.assert_allclose(result.as_numpy("predict"), case.expected, **TOLERANCE)


@pytest.mark.parametrize("model", COMPARED)
def test_a_grpc_stream_answers_in_order(zoo: Zoo, grpc: Any, model: str) -> None:
    case = zoo.cases[model]
    name, output = names(grpc, case)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    grpc.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number in range(10):
        tensor = tensor_for(grpcclient, name, case)
        grpc.async_stream_infer(model, [tensor], request_id=str(number))
    for number in range(10):
        result, error = answers.get(timeout=30)
        assert error is None
        assert result.get_response().id == str(number)
        np.testing.assert_allclose(result.as_numpy(output), case.expected, **TOLERANCE)
    grpc.stop_stream()


def test_a_bad_request_on_a_grpc_stream_fails_alone(zoo: Zoo, grpc: Any) -> None:
    case = zoo.cases["iris"]
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    grpc.start_stream(callback=lambda result, error: answers.put((result, error)))
    good = tensor_for(grpcclient, "input-0", case)
    bad = grpcclient.InferInput("input-0", [1, 3], "FP64")
    bad.set_data_from_numpy(np.zeros((1, 3)))
    for tensor in (good, bad, good):
        grpc.async_stream_infer("iris", [tensor])
    received = [answers.get(timeout=30) for _ in range(3)]
    assert [error is None for _, error in received] == [True, False, True]
    assert "[1,3]" in str(received[1][1])
    np.testing.assert_array_equal(received[2][0].as_numpy("predict"), case.expected)
    grpc.stop_stream()


def test_grpc_aio_answers_as_the_library_does(zoo: Zoo) -> None:
    async def ask() -> dict[str, Any]:
        async with aioclient.InferenceServerClient(zoo.grpc) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            answers = {}
            for model in COMPARED:
                case = zoo.cases[model]
                metadata = await client.get_model_metadata(model)
                tensor = tensor_for(aioclient, metadata.inputs[0].name, case)
                results = await asyncio.gather(*[client.infer(model, [tensor]) for _ in range(5)])
                answers[model] = [
                    result.as_numpy(result.get_response().outputs[0].name) for result in results
                ]
            return answers

    for model, answers in asyncio.run(ask()).items():
        assert len(answers) == 5
        for answer in answers:
            np.testing.assert_allclose(answer, zoo.cases[model].expected, **TOLERANCE)


def test_a_grpc_aio_stream_answers_in_order(zoo: Zoo) -> None:
    case = zoo.cases["leaves"]

    async def ask() -> list[Any]:
        async def requests() -> Any:
            for number in range(5):
                tensor = tensor_for(aioclient, "input-0", case)
                yield {"model_name": "leaves", "inputs": [tensor], "request_id": str(number)}

        async with aioclient.InferenceServerClient(zoo.grpc) as client:
            return [each async for each in client.stream_infer(requests())]

    received = asyncio.run(ask())
    assert [error for _, error in received] == [None] * 5
    assert [result.get_response().id for result, _ in received] == list("01234")
    for result, _ in received:
        np.testing.assert_allclose(result.as_numpy("predict"), case.expected, **TOLERANCE)


TYPES = {
    "BOOL": np.array([[True, False], [False, True]]),
    **{
        f"INT{bits}": np.array([[-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]], f"i{bits // 8}")
        for bits in (8, 16, 32, 64)
    },
    **{f"UINT{bits}": np.array([[0, 2**bits - 1]], f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    "FP16": np.array([[0.5, -1.25]], np.float16),
    "FP32": np.array([[0.1, 3.4e38]], np.float32),
    "FP64": np.array([[0.1, -1e300]]),
    "BF16": np.array([[1.5, -2.25]], ml_dtypes.bfloat16),
    "BYTES": np.array([["Zürich".encode(), b""]], np.object_),
}


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("datatype", TYPES)
def test_every_datatype_comes_back_as_it_went(
    zoo: Zoo, request: pytest.FixtureRequest, datatype: str, transport: str
) -> None:
    module = httpclient if transport == "http" else grpcclient
    client = request.getfixturevalue(transport)
    array = TYPES[datatype]
    tensor = module.InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    result = client.infer("anything", [tensor])
    np.testing.assert_array_equal(result.as_numpy("x"), array)
    output = result.get_output("x")
    # NumPy has no bfloat16: a Python model gets those values as float32 and answers so.
    expected = "FP32" if datatype == "BF16" else datatype
    assert (output["datatype"] if transport == "http" else output.datatype) == expected


def test_http_tells_of_the_server_and_its_models(zoo: Zoo, http: Any) -> None:
    assert http.is_server_live()
    assert http.is_server_ready()
    assert http.is_model_ready("iris")
    assert http.is_model_ready("iris", "1")
    assert not http.is_model_ready("roses")
    server = http.get_server_metadata()
    assert server["name"] == "salver"
    assert "binary_tensor_data" in server["extensions"]
    metadata = http.get_model_metadata("iris")
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == (
        "iris",
        ["1"],
        "sklearn",
    )
    assert metadata["inputs"][0]["shape"] == [-1, 4]
    index = {entry["name"]: entry["state"] for entry in http.get_model_repository_index()}
    assert index["iris"] == "READY"


def test_grpc_tells_of_the_server_and_its_models(zoo: Zoo, grpc: Any) -> None:
    assert grpc.is_server_live()
    assert grpc.is_server_ready()
    assert grpc.is_model_ready("iris")
    assert grpc.is_model_ready("iris", "1")
    assert grpc.get_server_metadata().name == "salver"
    metadata = grpc.get_model_metadata("pair")
    assert metadata.platform == "onnxruntime_onnx"
    assert [(each.name, list(each.shape)) for each in metadata.inputs] == [
        ("a", [-1, 2]),
        ("b", [-1, 2]),
    ]
    assert [each.datatype for each in metadata.outputs] == ["FP32", "FP32"]
    index = {entry.name: entry.state for entry in grpc.get_model_repository_index().models}
    assert index["pair"] == "READY"


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_model_is_unloaded_and_loaded_again(
    zoo: Zoo, request: pytest.FixtureRequest, transport: str
) -> None:
    client = request.getfixturevalue(transport)
    client.unload_model("words")
    assert not client.is_model_ready("words")
    assert client.is_model_ready("iris")
    client.load_model("words")
    assert client.is_model_ready("words")
    assert client.is_server_ready()


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_refusal_carries_code_and_reason(
    zoo: Zoo, request: pytest.FixtureRequest, transport: str
) -> None:
    module = httpclient if transport == "http" else grpcclient
    client = request.getfixturevalue(transport)
    tensor = module.InferInput("input-0", [1, 4], "FP64")
    tensor.set_data_from_numpy(np.zeros((1, 4)))
    with pytest.raises(InferenceServerException) as unknown:
        client.infer("roses", [tensor])
    assert "unknown model 'roses'" in unknown.value.message()
    assert unknown.value.status() == ("404" if transport == "http" else "StatusCode.NOT_FOUND")
    with pytest.raises(InferenceServerException, match="has no version '7'"):
        client.infer("iris", [tensor], model_version="7")
    with pytest.raises(InferenceServerException, match="roses"):
        client.load_model("roses")
