"""Bad input gets a 400-class answer that says what, why and what to do; all else lives on.

Each case goes down one connection, over V1, V2 JSON, V2 binary or gRPC, and a good request
follows on the same connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from salver.protocol import inference_pb2 as pb
from tests.e2e.raw_http import connected, request
from tests.e2e.server import serving
from tests.e2e.zoo import Zoo

pytestmark = pytest.mark.e2e

ROW = [6.8, 2.8, 4.8, 1.4]


@pytest.fixture(scope="module")
def client(zoo: Zoo) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=1)
    with httpx.Client(base_url=zoo.url, timeout=30, limits=limits) as one_connection:
        yield one_connection


@pytest.fixture(scope="module")
def channel(zoo: Zoo) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(zoo.grpc) as open_channel:
        yield open_channel


@pytest.fixture(autouse=True)
def nothing_breaks(zoo: Zoo, client: httpx.Client) -> Iterator[None]:
    """After every test: the connection answers a good request, and no worker has died."""
    yield
    answer = client.post("/v1/models/iris:predict", json={"instances": [ROW]})
    assert answer.json() == {"predictions": [1]}
    assert zoo.server.metric("salver_worker_restarts_total") == 0


def tensor(**changes: Any) -> dict[str, Any]:
    fields = {"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [ROW]}
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def v2(*tensors: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"inputs": list(tensors), **extra}


def assert_refused(answer: httpx.Response, status: int, *said: str) -> None:
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]
    assert len(message.splitlines()) == 1
    for each in said:
        assert each in message, message


PAIR_A = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
PAIR_B = {**PAIR_A, "name": "b"}
# The model, the body, and what the refusal must say.
V2_CASES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "too few columns": (
        "iris",
        v2(tensor(shape=[1, 3], data=[1, 2, 3])),
        ("input-0", "iris", "[1,3]", "[-1,4]"),
    ),
    "one dimension": ("iris", v2(tensor(shape=[4], data=ROW)), ("[4]", "[-1,4]", "[1,4]")),
    "too many dimensions": ("iris", v2(tensor(shape=[1, 1, 4])), ("[1,1,4]", "[-1,4]")),
    "no rows": ("iris", v2(tensor(shape=[0, 4], data=[])), ("[0,4]", "rows")),
    "a negative size": ("iris", v2(tensor(shape=[-1, 4])), ("[-1,4]", "size")),
    "an absurd size": ("iris", v2(tensor(shape=[1 << 50, 4])), ("shape",)),
    "data shorter than its shape": ("iris", v2(tensor(shape=[2, 4])), ("[2,4]", "input-0")),
    "data longer than its shape": ("iris", v2(tensor(data=[ROW, ROW])), ("[1,4]", "input-0")),
    "ragged rows": (
        "iris",
        v2(tensor(shape=[2, 4], data=[ROW, ROW[:3]])),
        ("3", "[2,4]", "equally"),
    ),
    "rows and values mixed": ("iris", v2(tensor(shape=[2, 4], data=[ROW, 1])), ("input-0",)),
    "an unknown datatype": ("iris", v2(tensor(datatype="FLOAT")), ("'FLOAT'", "FP64")),
    "strings for numbers": ("iris", v2(tensor(datatype="BYTES", data=list("abcd"))), ("BYTES",)),
    "a string among numbers": ("iris", v2(tensor(data=[1, 2, "x", 4])), ("'x'", "FP64")),
    "null": ("iris", v2(tensor(data=[1, 2, {}, 4])), ("object", "FP64")),
    "a fraction in integers": (
        "simple",
        v2(
            *[
                {"name": name, "shape": [1, 2], "datatype": "INT32", "data": [1.5, 2]}
                for name in ("INPUT0", "INPUT1")
            ]
        ),
        ("INPUT0", "1.5", "INT32"),
    ),
    "an integer too large": (
        "simple",
        v2(
            *[
                {"name": name, "shape": [1, 2], "datatype": "INT8", "data": [300, 2]}
                for name in ("INPUT0", "INPUT1")
            ]
        ),
        ("INPUT0", "INT8"),
    ),
    "a wrong name": ("pair", v2(PAIR_A, {**PAIR_B, "name": "c"}), ("'c'", "'b'", "pair")),
    "a missing input": ("pair", v2(PAIR_A), ("lacks", "'b'")),
    "an extra input": ("pair", v2(PAIR_A, PAIR_B, {**PAIR_A, "name": "c"}), ("unknown", "'c'")),
    "the same input twice": ("pair", v2(PAIR_A, PAIR_A), ("'a'", "twice")),
    "rows that differ": (
        "pair",
        v2(PAIR_A, {**PAIR_B, "shape": [2, 2], "data": [1, 2, 3, 4]}),
        ("'b'", "2 rows"),
    ),
    "an extra column": (
        "mixed",
        v2(
            {"name": "age", "shape": [1], "datatype": "FP64", "data": [1]},
            {"name": "town", "shape": [1], "datatype": "BYTES", "data": ["Bern"]},
        ),
        ("'town'", "'city'"),
    ),
    "a number for a text column": (
        "mixed",
        v2(
            {"name": "age", "shape": [1], "datatype": "FP64", "data": [1]},
            {"name": "city", "shape": [1], "datatype": "FP64", "data": [1]},
        ),
        ("'city'", "FP64"),
    ),
    "an unknown output": (
        "iris",
        v2(tensor(), outputs=[{"name": "colour"}]),
        ("'colour'", "'predict'"),
    ),
    "an unknown content type": (
        "iris",
        v2(tensor(parameters={"content_type": "yaml"})),
        ("'yaml'", "np"),
    ),
    "no base64": (
        "words",
        v2(
            {
                "name": "x",
                "shape": [1],
                "datatype": "BYTES",
                "data": ["***"],
                "parameters": {"content_type": "base64"},
            }
        ),
        ("base64",),
    ),
    "no data": ("iris", v2(tensor(data=...)), ("input-0", "no data")),
    "shared memory": (
        "iris",
        v2(tensor(data=..., parameters={"shared_memory_region": "r"})),
        ("shared_memory_byte_size", "input-0"),
    ),
    "no inputs": ("iris", v2(), ("lacks", "'input-0'", "iris")),
    "inputs missing": ("iris", {}, ("inputs", "iris")),
    "inputs no list": ("iris", {"inputs": "all"}, ("iris",)),
    "a shape of strings": ("iris", v2(tensor(shape=["1", "4"])), ("shape",)),
    "a list for a body": ("iris", [1, 2], ("iris",)),
    "NaN where it is forbidden": ("iris", v2(tensor(data=[1, 2, float("nan"), 4])), ("NaN",)),
    "infinity where it is forbidden": (
        "iris",
        v2(tensor(data=[1, 2, float("inf"), 4])),
        ("infinity", "'iris'"),
    ),
}


@pytest.mark.parametrize("what", V2_CASES)
def test_v2_refuses(client: httpx.Client, what: str) -> None:
    model, body, said = V2_CASES[what]
    answer = client.post(f"/v2/models/{model}/infer", content=json.dumps(body))
    assert_refused(answer, 400, *said)


MALFORMED = {
    "nothing": b"",
    "half an object": b'{"inputs": [',
    "no JSON": b"inputs: 1",
    "no UTF-8": b'{"inputs": [{"name": "\xff\xfe"}]}',
    "nested without end": b"[" * 100_000,
    "a number without end": b'{"inputs":[{"name":"input-0","shape":[1,4],"datatype":"FP64","data":['
    + b"9" * 10_000
    + b",1,1,1]}]}",
    "a second document": b'{"inputs": []} {"inputs": []}',
    "zeros": b"\x00" * 100,
}


@pytest.mark.parametrize("path", ["/v2/models/iris/infer", "/v1/models/iris:predict"])
@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_json_is_refused(client: httpx.Client, what: str, path: str) -> None:
    assert_refused(client.post(path, content=MALFORMED[what]), 400, "iris")


V1_CASES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "too few columns": ("iris", {"instances": [[1, 2, 3]]}, ("[1,3]", "[-1,4]")),
    "ragged rows": ("iris", {"instances": [ROW, ROW[:3]]}, ("3", "iris")),
    "no rows": ("iris", {"instances": []}, ("empty", "instances")),
    "no instances": ("iris", {"rows": [ROW]}, ("instances", "missing")),
    "instances no list": ("iris", {"instances": 7}, ("instances", "list")),
    "strings for numbers": ("iris", {"instances": [["a", "b", "c", "d"]]}, ("'a'",)),
    "an unknown column": ("mixed", {"instances": [{"age": 1, "town": "Bern"}]}, ("'town'",)),
    "a missing column": ("mixed", {"instances": [{"age": 1}]}, ("'city'",)),
    "records that differ": (
        "mixed",
        {"instances": [{"age": 1, "city": "Bern"}, {"age": 1}]},
        ("instance 1",),
    ),
    "a list for two inputs": ("pair", {"instances": [[1, 2]]}, ("'a'", "'b'")),
    "an unknown signature": (
        "iris",
        {"instances": [ROW], "signature_name": "guess"},
        ("'guess'", "predict_proba"),
    ),
    "NaN where it is forbidden": ("iris", {"instances": [[1, 2, float("nan"), 4]]}, ("NaN",)),
}


@pytest.mark.parametrize("what", V1_CASES)
def test_v1_refuses(client: httpx.Client, what: str) -> None:
    model, body, said = V1_CASES[what]
    answer = client.post(f"/v1/models/{model}:predict", content=json.dumps(body))
    assert_refused(answer, 400, *said)


def binary(head: Any, blobs: bytes, length: int | str | None = None) -> dict[str, Any]:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    told = len(text) if length is None else length
    return {
        "content": text + blobs,
        "headers": {"Inference-Header-Content-Length": str(told)},
    }


ROW_BYTES = np.array(ROW).tobytes()


def sized(size: Any, **changes: Any) -> dict[str, Any]:
    return v2(tensor(data=..., parameters={"binary_data_size": size}, **changes))


BINARY_CASES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "a truncated tensor": ("iris", binary(sized(32), ROW_BYTES[:20]), ("input-0", "32", "20")),
    "bytes left over": ("iris", binary(sized(32), ROW_BYTES + b"more"), ("4 bytes", "after")),
    "a size that is not the shape's": (
        "iris",
        binary(sized(24), ROW_BYTES[:24]),
        ("24 bytes", "[1,4]"),
    ),
    "a negative size": ("iris", binary(sized(-1), ROW_BYTES), ("input-0", "-1")),
    "a size that is no number": ("iris", binary(sized("32"), ROW_BYTES), ("binary_data_size",)),
    "data and bytes": (
        "iris",
        binary(v2(tensor(parameters={"binary_data_size": 32})), ROW_BYTES),
        ("both", "input-0"),
    ),
    "a JSON length over the body's": (
        "iris",
        binary(sized(32), b"", 10_000),
        ("Inference-Header-Content-Length", "10000"),
    ),
    "a JSON length that cuts the JSON": ("iris", binary(sized(32), ROW_BYTES, 20), ("JSON",)),
    "malformed JSON": ("iris", binary(b"{", ROW_BYTES), ("JSON",)),
    "a string longer than its bytes": (
        "words",
        binary(
            v2(
                {
                    "name": "x",
                    "shape": [1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": 6},
                }
            ),
            b"\xff\x00\x00\x00ab",
        ),
        ("x",),
    ),
    "fewer strings than the shape says": (
        "words",
        binary(
            v2(
                {
                    "name": "x",
                    "shape": [2],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": 6},
                }
            ),
            b"\x02\x00\x00\x00ab",
        ),
        ("[2]",),
    ),
    "a raw body of the wrong size": (
        "mlp",
        binary(b"", b"\x00" * 17, 0),
        ("mlp",),
    ),
    "a raw body for two inputs": ("pair", binary(b"", b"\x00" * 16, 0), ("2 inputs", "pair")),
    "NaN where it is forbidden": (
        "iris",
        binary(sized(32), np.array([1, 2, np.nan, 4]).tobytes()),
        ("NaN",),
    ),
}


@pytest.mark.parametrize("what", BINARY_CASES)
def test_v2_binary_refuses(client: httpx.Client, what: str) -> None:
    model, sent, said = BINARY_CASES[what]
    assert_refused(client.post(f"/v2/models/{model}/infer", **sent), 400, *said)


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/v2/models/roses/infer", ("'roses'", "iris")),
        ("POST", "/v1/models/roses:predict", ("'roses'", "iris")),
        ("POST", "/v2/models/iris/versions/9/infer", ("'9'", "iris", "1")),
        ("GET", "/v2/models/roses", ("'roses'", "iris")),
        ("GET", "/v2/models/roses/ready", ("'roses'",)),
        ("GET", "/v1/models/roses", ("'roses'",)),
        ("POST", "/v2/repository/models/roses/load", ("'roses'",)),
        ("POST", "/v2/repository/models/roses/unload", ("'roses'",)),
        ("GET", "/v3", ("/v3", "/docs")),
        ("POST", "/v2/models//infer", ("/docs",)),
        ("POST", "/v2/models/..%2f..%2fetc/infer", ("unknown model",)),
    ],
)
def test_what_is_not_there_is_404(
    client: httpx.Client, method: str, path: str, said: tuple[str, ...]
) -> None:
    body = b"{}" if method == "POST" else None
    assert_refused(client.request(method, path, content=body), 404, *said)


def test_requests_in_one_batch_fail_alone(zoo: Zoo) -> None:
    good = request("/v1/models/iris:predict", json.dumps({"instances": [ROW]}).encode())
    bad = request("/v1/models/iris:predict", b'{"instances": [[1, 2, NaN, 4]]}')
    with connected(zoo.server.port) as first, connected(zoo.server.port) as second:
        for _ in range(50):
            first.send(good)
            second.send(bad)
            assert first.answer().json == {"predictions": [1]}
            assert second.answer().status == 400


# gRPC


def infer(channel: grpc.Channel, payload: bytes) -> pb.ModelInferResponse:
    ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    return pb.ModelInferResponse.FromString(ask(payload, timeout=30))


def message(model: str = "iris", **changes: Any) -> pb.ModelInferRequest:
    fields = {"name": "input-0", "datatype": "FP64", "shape": [1, 4]} | changes
    asked = pb.ModelInferRequest(model_name=model)
    asked.inputs.add(**fields)
    return asked


def typed(model: str = "iris", values: Any = ROW, **changes: Any) -> pb.ModelInferRequest:
    asked = message(model, **changes)
    asked.inputs[0].contents.fp64_contents.extend(values)
    return asked


def raw(*blobs: bytes, **changes: Any) -> pb.ModelInferRequest:
    asked = message(**changes)
    asked.raw_input_contents.extend(blobs)
    return asked


def both() -> pb.ModelInferRequest:
    asked = typed()
    asked.raw_input_contents.append(ROW_BYTES)
    return asked


def named_output() -> pb.ModelInferRequest:
    asked = typed()
    asked.outputs.add(name="colour")
    return asked


def other_version() -> pb.ModelInferRequest:
    asked = typed()
    asked.model_version = "9"
    return asked


GRPC_CASES: dict[str, tuple[pb.ModelInferRequest, str, tuple[str, ...]]] = {
    "an unknown model": (typed("roses"), "NOT_FOUND", ("'roses'", "iris")),
    "an unknown version": (other_version(), "NOT_FOUND", ("'9'",)),
    "no model": (typed(""), "NOT_FOUND", ()),
    "too few columns": (typed(shape=[1, 3], values=ROW[:3]), "INVALID_ARGUMENT", ("[1,3]",)),
    "data shorter than its shape": (typed(shape=[2, 4]), "INVALID_ARGUMENT", ("[2,4]",)),
    "an unknown datatype": (typed(datatype="FLOAT"), "INVALID_ARGUMENT", ("'FLOAT'",)),
    "contents of another datatype": (typed(datatype="INT64"), "INVALID_ARGUMENT", ("input-0",)),
    "a negative size": (typed(shape=[-1, 4]), "INVALID_ARGUMENT", ("[-1,4]",)),
    "an unknown output": (named_output(), "INVALID_ARGUMENT", ("'colour'", "'predict'")),
    "no contents": (message(), "INVALID_ARGUMENT", ("input-0",)),
    "a truncated raw tensor": (raw(ROW_BYTES[:20]), "INVALID_ARGUMENT", ("input-0", "20")),
    "more raw tensors than inputs": (raw(ROW_BYTES, ROW_BYTES), "INVALID_ARGUMENT", ("raw",)),
    "raw and typed": (both(), "INVALID_ARGUMENT", ("raw",)),
    "a missing input": (
        typed("pair", [1, 2], name="a", shape=[1, 2]),
        "INVALID_ARGUMENT",
        ("'b'",),
    ),
    "NaN where it is forbidden": (
        typed(values=[1, 2, float("nan"), 4]),
        "INVALID_ARGUMENT",
        ("NaN",),
    ),
}


def assert_refused_by_grpc(channel: grpc.Channel, payload: bytes, code: str, *said: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        infer(channel, payload)
    error: Any = refused.value
    assert error.code().name == code, error.details()
    assert len(error.details().splitlines()) == 1
    for each in said:
        assert each in error.details(), error.details()
    good = infer(channel, typed().SerializeToString())
    assert good.outputs[0].name == "predict"


@pytest.mark.parametrize("what", GRPC_CASES)
def test_grpc_refuses(channel: grpc.Channel, what: str) -> None:
    asked, code, said = GRPC_CASES[what]
    assert_refused_by_grpc(channel, asked.SerializeToString(), code, *said)


GOOD = typed().SerializeToString()


@pytest.mark.parametrize(
    "payload",
    [
        GOOD[:-1],
        GOOD[:10],
        GOOD + b"\xff",
        b"\x0a\x04iris" + b"\x2a\xff\xff\xff\xff\x0f",
        b"\x0a\x04iris" + b"\x00" * 40,
    ],
)
def test_malformed_protobuf_is_refused(channel: grpc.Channel, payload: bytes) -> None:
    assert_refused_by_grpc(channel, payload, "INVALID_ARGUMENT")


def test_an_oversized_message_is_refused(tmp_path: Any) -> None:
    (tmp_path / "sum.py").write_text(
        "import numpy as np\nclass Sum:\n"
        "    def predict(self, x: np.ndarray) -> np.ndarray:\n        return x.sum(axis=1)\n"
    )
    with serving(str(tmp_path / "sum.py"), "--max-body-size", "1MiB") as server:
        with grpc.insecure_channel(server.grpc) as channel:
            for size in (140_000, 1_000_000):
                asked = typed("sum", [0.0] * size, name="x", shape=[1, size])
                with pytest.raises(grpc.RpcError) as refused:
                    infer(channel, asked.SerializeToString())
                error: Any = refused.value
                assert error.code().name in (
                    "RESOURCE_EXHAUSTED",
                    "INVALID_ARGUMENT",
                    "OUT_OF_RANGE",
                )
                good = typed("sum", [1.0, 2.0], name="x", shape=[1, 2]).SerializeToString()
                assert infer(channel, good).outputs[0].shape == [1]


def test_an_unknown_grpc_method_is_unimplemented(channel: grpc.Channel) -> None:
    for method in ("/inference.GRPCInferenceService/Dance", "/other.Service/ModelInfer"):
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(method)(b"", timeout=30)
        error: Any = refused.value
        assert error.code().name == "UNIMPLEMENTED"
    assert infer(channel, GOOD).model_name == "iris"
