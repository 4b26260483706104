"""TensorFlow Serving's services: whom a request goes to, and what the small methods tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from salver.engine.directory import ModelDirectory
from salver.errors import ErrorKind
from salver.protocol.wire_codes import FIRST_TASK_AUX, REGRESS_AUX, Codec
from salver.server.grpc.fields import bytes_field, number_field, read_fields, text_field
from salver.server.grpc.ports import Code
from salver.server.grpc.service import InferenceService
from salver.server.grpc.tfs import TfsMethods
from salver.settings import ServeSettings

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"


@pytest.fixture
def service(front: Any, catalog: Any) -> InferenceService:
    settings = ServeSettings(request_timeout=30.0, max_body_size=1000)
    return InferenceService(front, ModelDirectory(catalog), settings, clock=lambda: 100.0)


@pytest.fixture
def methods(service: InferenceService, catalog: Any) -> Any:
    return TfsMethods(service, ModelDirectory(catalog), timeout_s=1.0).methods()


def spec(name: str, version: int | None = None, label: str = "") -> bytes:
    found = text_field(1, name) + text_field(4, label)
    if version is not None:
        found += bytes_field(2, number_field(1, version))
    return found


def request(name: str, version: int | None = None, label: str = "") -> bytes:
    return bytes_field(2, b"a tensor") + bytes_field(1, spec(name, version, label))


@pytest.mark.parametrize(
    ("method", "codec", "aux"),
    [
        ("Predict", Codec.TFS_GRPC, 0),
        ("Classify", Codec.TFS_EXAMPLES_GRPC, 0),
        ("Regress", Codec.TFS_EXAMPLES_GRPC, REGRESS_AUX),
    ],
)
def test_a_request_goes_to_its_model_with_its_bytes_untouched(
    methods: Any, catalog: Any, front: Any, method: str, codec: Codec, aux: int
) -> None:
    methods[PREDICTION + method](1, request("iris"), None, ())
    methods[PREDICTION + method](2, request("iris", 1), None, ())
    assert [call.body for call in catalog.two.calls] == [request("iris")]
    assert [call.body for call in catalog.one.calls] == [request("iris", 1)]
    call = catalog.two.calls[0]
    assert (call.codec, call.aux, call.deadline_s) == (codec, aux, 130.0)
    call.deliver(b"answer", 0)
    assert front.responses == {1: b"answer"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (request("nope"), Code.NOT_FOUND),
        (request("iris", 9), Code.NOT_FOUND),
        (request("iris", (1 << 64) - 1), Code.NOT_FOUND),
        (request("iris", None, "canary"), Code.INVALID_ARGUMENT),
        (request(""), Code.INVALID_ARGUMENT),
        (b"", Code.INVALID_ARGUMENT),
        (b"\x0a\xff", Code.INVALID_ARGUMENT),
        (bytes_field(1, b"\x0a\x05ab"), Code.INVALID_ARGUMENT),
        (bytes_field(1, text_field(1, "iris") + b"\x10\x01"), Code.INVALID_ARGUMENT),
        (bytes_field(1, bytes_field(1, b"\xff")), Code.INVALID_ARGUMENT),
        (b"0" * 1001, Code.RESOURCE_EXHAUSTED),
    ],
)
def test_a_request_that_means_no_model_is_refused(
    methods: Any, front: Any, body: bytes, code: Code
) -> None:
    methods[PREDICTION + "Predict"](1, body, None, ())
    assert front.failures[1][0] is code
    assert front.failures[1][1]


def tasks(*names: str) -> bytes:
    return b"".join(bytes_field(1, bytes_field(1, spec(name))) for name in names)


def test_each_task_is_a_call_and_their_answers_are_joined_in_order(
    methods: Any, catalog: Any, front: Any
) -> None:
    methods[PREDICTION + "MultiInference"](1, tasks("iris", "iris"), None, ())
    first, second = catalog.two.calls
    assert [first.aux, second.aux] == [FIRST_TASK_AUX, FIRST_TASK_AUX - 1]
    second.deliver(b"two", 0)
    assert front.responses == {}
    first.deliver(b"one", 0)
    assert front.responses == {1: b"onetwo"}


def test_the_first_task_that_fails_is_the_answer(methods: Any, catalog: Any, front: Any) -> None:
    methods[PREDICTION + "MultiInference"](1, tasks("iris", "iris"), None, ())
    first, second = catalog.two.calls
    second.fail(ErrorKind.INVALID_INPUT, "no classes")
    first.deliver(b"one", 0)
    assert front.failures[1][:2] == (Code.INVALID_ARGUMENT, "no classes")
    assert front.responses == {}


@pytest.mark.parametrize("body", [b"", tasks("iris", "broken"), tasks(*["iris"] * 17)])
def test_tasks_must_be_some_and_of_one_model(methods: Any, front: Any, body: bytes) -> None:
    methods[PREDICTION + "MultiInference"](1, body, None, ())
    assert front.failures[1][0] is Code.INVALID_ARGUMENT


def told(methods: Any, path: str, body: bytes) -> None:
    async def ask() -> None:
        methods[path](1, body, None, ())
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    asyncio.run(ask())


def test_the_status_tells_of_all_versions_or_of_one(methods: Any, front: Any) -> None:
    told(methods, MODEL + "GetModelStatus", bytes_field(1, spec("iris")))
    versions = [dict(read_fields(bytes(value))) for _, value in read_fields(front.responses[1])]
    assert [(each[1], each[2]) for each in versions] == [(1, 30), (2, 30)]
    front.responses.clear()
    told(methods, MODEL + "GetModelStatus", bytes_field(1, spec("broken", 1)))
    (_, value), *_ = read_fields(front.responses[1])
    assert isinstance(value, bytes)
    found = dict(read_fields(value))
    assert (found[2], b"file is gone" in bytes(found[3])) == (50, True)


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        (MODEL + "GetModelStatus", bytes_field(1, spec("nope")), Code.NOT_FOUND),
        (MODEL + "GetModelStatus", b"\x0a", Code.INVALID_ARGUMENT),
        (PREDICTION + "GetModelMetadata", bytes_field(1, spec("iris")), Code.INVALID_ARGUMENT),
        (
            PREDICTION + "GetModelMetadata",
            bytes_field(1, spec("broken")) + text_field(2, "signature_def"),
            Code.UNAVAILABLE,
        ),
        (MODEL + "HandleReloadConfigRequest", b"", Code.INVALID_ARGUMENT),
        (MODEL + "HandleReloadConfigRequest", b"\x0a\x03\x0a\x01\xff", Code.INVALID_ARGUMENT),
    ],
)
def test_small_methods_refuse_with_the_reason(
    methods: Any, front: Any, method: str, body: bytes, code: Code
) -> None:
    told(methods, method, body)
    assert front.failures[1][0] is code


def config(name: str, **labels: int) -> bytes:
    found = text_field(1, name)
    for label, version in labels.items():
        found += bytes_field(8, text_field(1, label) + number_field(2, version))
    return bytes_field(1, found)


def test_a_label_of_a_version_that_is_not_loaded_is_a_failed_precondition(
    methods: Any, front: Any, catalog: Any
) -> None:
    catalog.two.is_ready = False

    async def nothing(name: str) -> None:
        """Loading changes nothing here."""

    catalog.load = nothing
    listed = bytes_field(1, config("iris", canary=2))
    told(methods, MODEL + "HandleReloadConfigRequest", bytes_field(1, listed))
    code, message, _ = front.failures[1]
    assert code is Code.FAILED_PRECONDITION
    assert "cannot move to version 2" in message
