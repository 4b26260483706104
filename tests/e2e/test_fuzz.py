"""Made-up requests at a running server: no 5xx, no hang, no crash, whatever comes.

`SALVER_FUZZ_EXAMPLES` sets how many inputs each test makes up, by default enough for half a
minute in all; 10000 make more than 100,000.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi import checks as conformance

from salver.protocol import inference_pb2 as pb
from tests import models
from tests.e2e.raw_http import RawConnection, connected, request
from tests.e2e.server import Server, serving
from tests.e2e.zoo import ANYTHING

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3 * 3600)]

EXAMPLES = int(os.environ.get("SALVER_FUZZ_EXAMPLES", "0"))
CHECKS = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
]


def made_up(default: int) -> settings:
    """As many examples as asked for; without being asked, the same ones every time."""
    return settings(
        max_examples=EXAMPLES or default,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=CHECKS,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Models that fail on nothing that passes their metadata."""
    folder = tmp_path_factory.mktemp("fuzzed")
    models.save_sklearn_lr(folder / "iris.joblib")
    models.save_sklearn_mixed(folder / "mixed.joblib")
    models.save_sklearn_text(folder / "words.joblib")
    models.save_xgboost(folder / "trees.json", trees=5)
    models.save_lightgbm(folder / "leaves.txt", trees=5)
    models.save_onnx_two_inputs(folder / "pair.onnx")
    (folder / "anything.py").write_text(ANYTHING)
    with serving(str(folder), "--threads", "1", "--max-body-size", "4MiB") as running:
        yield running
        assert_unharmed(running)


def assert_unharmed(server: Server) -> None:
    """No worker died, nothing was logged as unforeseen, and every model still answers."""
    assert server.metric("salver_worker_restarts_total") == 0
    assert server.metric("salver_request_errors_total", reason="model_failed") == 0
    log = server.log.read_text()
    assert "Traceback" not in log, log[-4000:]
    assert server.get("/v2/health/ready").status_code == 200


class Line:
    """One kept-alive connection, opened again only when the server had to close it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._opened: Any = None
        self._wire: RawConnection | None = None

    def ask(self, path: str, body: bytes, *headers: str) -> int:
        if self._wire is None:
            self._opened = connected(self._server.port, timeout_s=20)
            self._wire = self._opened.__enter__()
        self._wire.send(request(path, body, *headers))
        answer = self._wire.answer()
        if answer.headers.get("connection") == "close":
            self.close()
        if answer.status >= 400:
            assert answer.json["error"], answer
        return answer.status

    def close(self) -> None:
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
        self._opened = self._wire = None


@pytest.fixture(scope="module")
def line(server: Server) -> Iterator[Line]:
    opened = Line(server)
    yield opened
    opened.close()


# Valid requests to start from.

IRIS = {
    "name": "input-0",
    "shape": [2, 4],
    "datatype": "FP64",
    "data": [[6, 2, 4, 1], [5, 3, 1, 0]],
}
PAIR = [{"name": name, "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} for name in "ab"]
MIXED = [
    {"name": "age", "shape": [2], "datatype": "FP64", "data": [20.5, 41]},
    {"name": "city", "shape": [2, 1], "datatype": "BYTES", "data": ["Bern", "Rom"]},
]
TEXT = {
    "name": "x",
    "shape": [2],
    "datatype": "BYTES",
    "data": ["good", "Zürich 😁"],
    "parameters": {"content_type": "str"},
}
EVERY = [
    {"name": datatype, "shape": [2], "datatype": datatype, "data": data}
    for datatype, data in [
        ("BOOL", [True, False]),
        ("INT8", [-1, 2]),
        ("UINT64", [0, 2**64 - 1]),
        ("INT64", [-(2**63), 1]),
        ("FP16", [0.5, 1]),
        ("BF16", [0.5, 1]),
        ("BYTES", ["a", ""]),
    ]
]
V2_SEEDS: list[tuple[str, dict[str, Any]]] = [
    ("iris", {"id": "7", "inputs": [IRIS], "outputs": [{"name": "predict_proba"}]}),
    ("pair", {"inputs": PAIR, "parameters": {"binary_data_output": True}}),
    ("mixed", {"inputs": MIXED, "parameters": {"content_type": "pd"}}),
    ("words", {"inputs": [TEXT]}),
    ("anything", {"inputs": EVERY}),
]
V1_SEEDS: list[tuple[str, dict[str, Any]]] = [
    ("iris", {"instances": [[6, 2, 4, 1]], "signature_name": "predict_proba"}),
    ("iris", {"inputs": [[6, 2, 4, 1]]}),
    ("mixed", {"instances": [{"age": 20, "city": "Bern"}]}),
    ("pair", {"instances": [{"a": [1, 2], "b": [3, 4]}]}),
    ("words", {"instances": ["good", {"b64": "aGVsbG8="}]}),
    ("anything", {"instances": [{"a": 1}, [2], "x", None]}),
]


def binary_seed(model: str, tensors: list[tuple[str, np.ndarray, str]]) -> tuple[str, int, bytes]:
    blobs = [
        b"".join(len(each).to_bytes(4, "little") + each for each in array.ravel().tolist())
        if datatype == "BYTES"
        else array.tobytes()
        for _, array, datatype in tensors
    ]
    head = {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": len(blob)},
            }
            for (name, array, datatype), blob in zip(tensors, blobs, strict=True)
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    return model, len(text), text + b"".join(blobs)


BINARY_SEEDS = [
    binary_seed("iris", [("input-0", np.ones((2, 4)), "FP64")]),
    binary_seed("pair", [(name, np.ones((1, 2), "f4"), "FP32") for name in "ab"]),
    binary_seed("words", [("x", np.array([b"good", b"bad"], object), "BYTES")]),
    binary_seed(
        "anything",
        [
            ("b", np.array([True, False]), "BOOL"),
            ("h", np.ones(3, "u2"), "BF16"),
            ("s", np.array([b"", b"\xff\xfe"], object), "BYTES"),
        ],
    ),
]


def grpc_seed(model: str, *, raw: bool) -> bytes:
    asked = pb.ModelInferRequest(model_name=model, id="1")
    for tensor in {"iris": [IRIS], "pair": PAIR, "mixed": MIXED, "words": [TEXT]}[model]:
        flat = np.array(tensor["data"], object).ravel().tolist()
        sent = asked.inputs.add(
            name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"]
        )
        if tensor["datatype"] == "BYTES":
            texts = [each.encode() for each in flat]
            blob = b"".join(len(each).to_bytes(4, "little") + each for each in texts)
            sent.contents.bytes_contents.extend([] if raw else texts)
        elif tensor["datatype"] == "FP32":
            blob = np.array(flat, "<f4").tobytes()
            sent.contents.fp32_contents.extend([] if raw else flat)
        else:
            blob = np.array(flat, "<f8").tobytes()
            sent.contents.fp64_contents.extend([] if raw else flat)
        if raw:
            sent.ClearField("contents")
            asked.raw_input_contents.append(blob)
    asked.parameters["priority"].int64_param = 1
    return asked.SerializeToString()


GRPC_SEEDS = [
    grpc_seed(model, raw=raw) for model in ("iris", "pair", "mixed", "words") for raw in (0, 1)
]

# What is done to them.

INTERESTING = [
    b"",
    b"\x00",
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"[[[[[",
    b'"',
    b"{}",
    b"\\u0000",
    b"\\ud800",
    b"99999999999999999999",
    b"\r\n\r\n",
    b"\x80\x80\x80\x01",
]
EDIT = st.tuples(
    st.sampled_from(["cut", "insert", "overwrite", "repeat", "swap", "flip"]),
    st.floats(0, 1),
    st.one_of(st.sampled_from(INTERESTING), st.binary(max_size=12)),
)


def edited(body: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """The body after these edits; a place is a fraction of its length."""
    for kind, place, piece in edits:
        at = int(place * len(body))
        width = max(1, len(piece))
        if kind == "cut":
            body = body[:at] + body[at + width :]
        elif kind == "insert":
            body = body[:at] + piece + body[at:]
        elif kind == "overwrite":
            body = body[:at] + piece + body[at + len(piece) :]
        elif kind == "repeat":
            body = body[:at] + body[at : at + 40] * 3 + body[at + 40 :]
        elif kind == "swap":
            body = body[:at] + body[at : at + width][::-1] + body[at + width :]
        elif body:
            at = min(at, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ (1 << width % 8)]) + body[at + 1 :]
    return body


EDITS = st.lists(EDIT, min_size=1, max_size=4)
JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            [
                2**63,
                2**64,
                -1,
                0,
                1 << 60,
                "FP64",
                "BYTES",
                "np",
                "base64",
                "pd",
                "json",
                "datetime",
                "NaN",
                "predict",
                [1, 2],
                [-1, 4],
                [0],
            ]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within the document."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    first, *rest = path
    if isinstance(document, dict):
        return {**document, first: replaced(document[first], tuple(rest), value)}
    changed = list(document)
    changed[first] = replaced(document[first], tuple(rest), value)
    return changed


@st.composite
def documents(draw: Any, seeds: list[tuple[str, dict[str, Any]]]) -> tuple[str, Any]:
    """A valid request of which some values have become others."""
    model, document = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        document = replaced(document, path, draw(JSON_VALUES))
    return model, document


def v2_path(model: str) -> str:
    return f"/v2/models/{model}/infer"


def v1_path(model: str) -> str:
    return f"/v1/models/{model}:predict"


@given(made=documents(V2_SEEDS))
@made_up(600)
def test_v2_documents(line: Line, made: tuple[str, Any]) -> None:
    model, document = made
    assert line.ask(v2_path(model), json.dumps(document).encode()) < 500


@given(made=documents(V1_SEEDS))
@made_up(600)
def test_v1_documents(line: Line, made: tuple[str, Any]) -> None:
    model, document = made
    assert line.ask(v1_path(model), json.dumps(document).encode()) < 500


@pytest.mark.parametrize(("path_of", "seeds"), [(v2_path, V2_SEEDS), (v1_path, V1_SEEDS)])
def test_json_bytes(
    line: Line, path_of: Callable[[str], str], seeds: list[tuple[str, dict[str, Any]]]
) -> None:
    @given(seed=st.sampled_from(seeds), edits=EDITS)
    @made_up(500)
    def run(seed: tuple[str, dict[str, Any]], edits: list[tuple[str, float, bytes]]) -> None:
        model, document = seed
        body = edited(json.dumps(document).encode(), edits)
        assert line.ask(path_of(model), body) < 500

    run()


@given(seed=st.sampled_from(BINARY_SEEDS), edits=EDITS, shift=st.integers(-3, 3))
@made_up(600)
def test_binary_bytes(
    line: Line, seed: tuple[str, int, bytes], edits: list[tuple[str, float, bytes]], shift: int
) -> None:
    model, length, body = seed
    header = f"Inference-Header-Content-Length: {max(0, length + shift)}"
    assert line.ask(v2_path(model), edited(body, edits), header) < 500


@given(seed=st.sampled_from(BINARY_SEEDS), edits=EDITS)
@made_up(600)
def test_binary_tensors(
    line: Line, seed: tuple[str, int, bytes], edits: list[tuple[str, float, bytes]]
) -> None:
    model, length, body = seed
    changed = body[:length] + edited(body[length:], edits)
    header = f"Inference-Header-Content-Length: {length}"
    assert line.ask(v2_path(model), changed, header) < 500


@given(body=st.binary(max_size=200), model=st.sampled_from(["iris", "words", "leaves", "trees"]))
@made_up(300)
def test_raw_bodies(line: Line, body: bytes, model: str) -> None:
    assert line.ask(v2_path(model), body, "Inference-Header-Content-Length: 0") < 500


@given(
    seed=st.sampled_from([request(v2_path(m), json.dumps(d).encode()) for m, d in V2_SEEDS]),
    edits=EDITS,
    in_head=st.booleans(),
)
@made_up(300)
def test_whole_requests(
    server: Server, seed: bytes, edits: list[tuple[str, float, bytes]], in_head: bool
) -> None:
    head, _, body = seed.partition(b"\r\n\r\n")
    raw = edited(head, edits) + b"\r\n\r\n" + body if in_head else edited(seed, edits)
    with connected(server.port, timeout_s=20) as wire:
        wire.send(raw)
        wire.shut_sending()
        received = wire.wait_closed()
    statuses = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
    # 501: a transfer coding that is none of ours; 505 cannot be told from 400 by the parser.
    assert not [status for status in statuses if status >= 500 and status != 501], received


REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}


@given(seed=st.sampled_from(GRPC_SEEDS), edits=EDITS)
@made_up(800)
def test_grpc_bytes(
    ask_grpc: Callable[..., bytes], seed: bytes, edits: list[tuple[str, float, bytes]]
) -> None:
    try:
        ask_grpc(edited(seed, edits), timeout=20)
    except grpc.RpcError as error:
        refused: Any = error
        assert refused.code().name in REFUSALS, refused.details()


@given(
    seed=st.sampled_from(GRPC_SEEDS),
    changes=st.lists(
        st.tuples(
            st.sampled_from(["shape", "datatype", "name", "raw", "output", "drop", "content"]),
            st.integers(-3, 2**40),
            st.sampled_from(["FP64", "BYTES", "INT8", "BF16", "", "x", "predict"]),
        ),
        min_size=1,
        max_size=3,
    ),
)
@made_up(600)
def test_grpc_messages(
    ask_grpc: Callable[..., bytes], seed: bytes, changes: list[tuple[str, int, str]]
) -> None:
    asked = pb.ModelInferRequest.FromString(seed)
    for what, number, text in changes:
        first = asked.inputs[0] if asked.inputs else asked.inputs.add()
        if what == "shape":
            first.shape.append(number)
        elif what == "datatype":
            first.datatype = text
        elif what == "name":
            first.name = text
        elif what == "raw":
            asked.raw_input_contents.append(b"x" * (number % 50))
        elif what == "output":
            asked.outputs.add(name=text)
        elif what == "drop":
            del asked.inputs[0]
        else:
            first.contents.int_contents.append(number % 2**31)
    try:
        ask_grpc(asked.SerializeToString(), timeout=20)
    except grpc.RpcError as error:
        refused: Any = error
        assert refused.code().name in REFUSALS, refused.details()


@given(name=st.text(min_size=1, max_size=20), body=st.one_of(st.binary(max_size=60), JSON_VALUES))
@made_up(150)
def test_loading_and_unloading_what_is_not_there(line: Line, name: str, body: Any) -> None:
    from urllib.parse import quote

    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    for verb in ("load", "unload"):
        path = f"/v2/repository/models/x{quote(name, safe='')}/{verb}"
        assert line.ask(path, sent) in (400, 404)


@pytest.fixture(scope="module")
def ask_grpc(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


def test_the_published_api(server: Server) -> None:
    """schemathesis on every operation; loading and unloading have a test of their own."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in schema.exclude(path_regex="load$").get_all_operations()]
    assert len(operations) > 10
    checks = [
        schemathesis.checks.not_a_server_error,
        conformance.status_code_conformance,
        conformance.content_type_conformance,
        conformance.response_schema_conformance,
        conformance.allow_header_conformance,
    ]
    for operation in operations:
        for mode in schemathesis.GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @made_up(8)
            def run(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=checks, timeout=20)

            # An operation without parameters cannot be asked wrongly.
            is_wrong = mode is schemathesis.GenerationMode.NEGATIVE
            with contextlib.suppress(*[Unsatisfiable] * is_wrong):
                run()


def test_the_server_is_unharmed(server: Server) -> None:
    assert_unharmed(server)
    assert Path(f"/proc/{server.process.pid}").exists()
