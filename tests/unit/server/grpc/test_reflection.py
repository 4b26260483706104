"""Reflection as grpcio's own client sees it, on a front with all services."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from io import StringIO
from logging import StreamHandler
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import model_config_pb2, service_pb2

from salver.engine.directory import ModelDirectory
from salver.engine.tracing import RequestTracing
from salver.protocol import triton_tables
from salver.protocol.service_tables import FILES
from salver.server.controls import ServerControls
from salver.server.grpc.fields import MalformedMessageError
from salver.server.grpc.grpcio_front import GrpcioFront
from salver.server.grpc.native import NativeFront
from salver.server.grpc.ports import FrontSettings, GrpcMethods
from salver.server.grpc.reflection import Reflection
from salver.server.grpc.seldon import SeldonMethods
from salver.server.grpc.service import InferenceService
from salver.server.grpc.tfs import TfsMethods
from salver.settings import ServeSettings
from salver.telemetry.log_settings import log_control
from salver.telemetry.trace_file import TraceFiles
from salver.telemetry.trace_settings import TraceBook

EVERY = [
    f"/{file.package}.{service}/{method}"
    for file in FILES
    for service, methods in file.services.items()
    for method in methods
]


def asked(reflection: Reflection, **what: str) -> pb.ServerReflectionResponse:
    request = pb.ServerReflectionRequest(**what)
    return pb.ServerReflectionResponse.FromString(reflection.answer(request.SerializeToString()))


@pytest.fixture(params=[NativeFront, GrpcioFront])
def channel(request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    """A connection to a front that has reflection and nothing else."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    front = request.param(FrontSettings(host="127.0.0.1", port=0, max_message_bytes=1 << 20))
    methods = GrpcMethods(unary={}, stream=Reflection(EVERY).methods(), on_cancel=lambda _: None)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(front.start(methods))
        started.set()
        loop.run_forever()
        loop.run_until_complete(front.stop())
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert started.wait(10)
    with grpc.insecure_channel(f"127.0.0.1:{front.port}") as opened:
        yield opened
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def test_every_described_method_can_be_resolved_from_its_name(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    assert {path.strip("/").rpartition("/")[0] for path in EVERY} == set(database.get_services())
    for path in EVERY:
        service, _, method = path.strip("/").rpartition("/")
        found = pool.FindServiceByName(service).FindMethodByName(method)
        for end in (found.input_type, found.output_type):
            assert GetMessageClass(end)().SerializeToString() == b""
            assert not end.full_name.startswith("salver.")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_answer(channel: grpc.Channel, version: str) -> None:
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )
    requests = [pb.ServerReflectionRequest(list_services="*")] * 3
    for answer in ask(iter(requests), timeout=10):
        names = [service.name for service in answer.list_services_response.service]
        assert f"grpc.reflection.{version}.ServerReflection" in names


def test_the_messages_have_the_names_that_the_protocols_give_them() -> None:
    pool = descriptor_pool.DescriptorPool()
    reflection = Reflection(EVERY)
    known = set()
    for file in FILES:
        answer = asked(reflection, file_by_filename=file.name)
        files = [
            FileDescriptorProto.FromString(each)
            for each in answer.file_descriptor_response.file_descriptor_proto
        ]
        waiting = {each.name: each for each in files}
        while waiting:
            ready = next(each for each in waiting.values() if known >= set(each.dependency))
            if ready.name not in known:
                pool.Add(ready)
            known.add(waiting.pop(ready.name).name)
    infer = pool.FindMessageTypeByName("inference.ModelInferRequest")
    assert infer.fields_by_name["inputs"].message_type.full_name == (
        "inference.ModelInferRequest.InferInputTensor"
    )
    predict = pool.FindMessageTypeByName("tensorflow.serving.PredictRequest")
    entry = predict.fields_by_name["inputs"].message_type
    assert entry.GetOptions().map_entry
    assert entry.fields_by_name["value"].message_type.full_name == "tensorflow.TensorProto"
    classify = pool.FindMessageTypeByName("tensorflow.serving.ClassificationRequest")
    assert classify.fields_by_name["model_spec"].number == 1
    data = pool.FindMessageTypeByName("seldon.protos.DefaultData")
    assert data.fields_by_name["tftensor"].message_type.full_name == "tensorflow.TensorProto"


def test_triton_s_extensions_are_told_as_triton_s_own_client_has_them() -> None:
    (file,) = asked(
        Reflection(EVERY), file_by_filename="inference.proto"
    ).file_descriptor_response.file_descriptor_proto
    pool = descriptor_pool.DescriptorPool()
    pool.Add(FileDescriptorProto.FromString(file))
    for name in triton_tables.MESSAGES:
        first, _, nested = name.partition(".")
        module = service_pb2 if hasattr(service_pb2, first) else model_config_pb2
        theirs = getattr(module, first).DESCRIPTOR
        theirs = theirs.nested_types_by_name[nested] if nested else theirs
        ours = pool.FindMessageTypeByName(f"inference.{name}")
        known = theirs.fields_by_name
        assert {_told(each) for each in ours.fields} <= {_told(each) for each in theirs.fields}
        assert all(not each.message_type or known[each.name] for each in ours.fields)
    for name in triton_tables.ENUMS:
        theirs = pool.FindEnumTypeByName(f"inference.{name}").values_by_name
        first, _, nested = name.partition(".")
        found = getattr(model_config_pb2, first)
        theirs_now = found.DESCRIPTOR.enum_types_by_name[nested] if nested else found.DESCRIPTOR
        assert {each.name: each.number for each in theirs.values()} == {
            each.name: each.number for each in theirs_now.values
        }


def _told(field: FieldDescriptor) -> tuple[object, ...]:
    oneof = field.containing_oneof
    held = field.message_type or field.enum_type
    return (
        *(field.name, field.number, field.type, field.is_repeated),
        *(held.full_name if held else "", oneof.name if oneof else ""),
    )


def test_all_that_is_answered_is_told(front: Any, catalog: Any) -> None:
    logs = log_control("info", "text", StreamHandler(StringIO()))
    tracing = RequestTracing(TraceBook("t"), TraceFiles(Path("t")), lambda: 0)
    service = InferenceService(
        front, ModelDirectory(catalog), ServeSettings(), controls=ServerControls(tracing, logs)
    )
    directory = ModelDirectory(catalog)
    served = service.methods()
    others = {
        **SeldonMethods(service, directory, timeout_s=1.0).methods(),
        **TfsMethods(service, directory, timeout_s=1.0).methods(),
    }
    refused = {"/grpc.health.v1.Health/Watch"}
    assert {*served.unary, *served.stream, *others} - refused == {*EVERY}


def test_services_that_are_not_served_are_not_listed() -> None:
    reflection = Reflection(["/inference.GRPCInferenceService/ModelInfer"])
    names = {
        each.name for each in asked(reflection, list_services="").list_services_response.service
    }
    assert names == {
        "inference.GRPCInferenceService",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ({"file_containing_symbol": "no.Such"}, 5),
        ({"file_by_filename": "no.proto"}, 5),
        ({"all_extension_numbers_of_type": "no.Such"}, 5),
        ({"host": "here"}, 3),
    ],
)
def test_what_is_not_there_is_told_as_an_error(what: dict[str, str], code: int) -> None:
    answer = asked(Reflection(EVERY), **what)
    assert answer.error_response.error_code == code
    assert answer.error_response.error_message
    assert answer.original_request == pb.ServerReflectionRequest(**what)


def test_messages_have_no_extensions() -> None:
    name = "inference.ModelInferRequest"
    answer = asked(Reflection(EVERY), all_extension_numbers_of_type=name)
    assert answer.all_extension_numbers_response.base_type_name == name
    assert not answer.all_extension_numbers_response.extension_number


@pytest.mark.parametrize("request_bytes", [b"\xff", b"\x18\x01", b"\x22\x02\xff\xff"])
def test_bytes_that_are_no_request_are_refused(request_bytes: bytes) -> None:
    with pytest.raises((MalformedMessageError, UnicodeDecodeError)):
        Reflection(EVERY).answer(request_bytes)
