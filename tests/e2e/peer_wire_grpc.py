"""gRPC messages that are wrong, or unusual: raw and typed contents that do not go together.

The counterpart of `peer_wire`. Each function gives one case.
"""

from __future__ import annotations

import random

from tritonclient.grpc import service_pb2

from tests.e2e.peer_requests import GrpcCase, Infer, grpc_message


def fewer_raws(label: str, infer: Infer, chance: random.Random) -> GrpcCase:
    message = grpc_message(infer, raw=True)
    message.raw_input_contents.pop()
    return _grpc(label, message)


def more_raws(label: str, infer: Infer, chance: random.Random) -> GrpcCase:
    message = grpc_message(infer, raw=True)
    message.raw_input_contents.append(b"more")
    return _grpc(label, message)


def raw_and_contents(label: str, infer: Infer, chance: random.Random) -> GrpcCase:
    message = grpc_message(infer, raw=False)
    for _ in infer.inputs:
        message.raw_input_contents.append(b"\0" * 4)
    return _grpc(label, message)


def other_contents(label: str, infer: Infer, chance: random.Random) -> GrpcCase:
    """Values in the field of another datatype."""
    message = grpc_message(infer, raw=True)
    del message.raw_input_contents[:]
    message.inputs[0].contents.int64_contents.extend([1, 2])
    return _grpc(label, message)


def empty_message(label: str, infer: Infer, chance: random.Random) -> GrpcCase:
    return _grpc(label, service_pb2.ModelInferRequest(model_name=chance.choice(("", infer.model))))


def odd_raws(label: str, infer: Infer, chance: random.Random) -> GrpcCase:
    message = grpc_message(infer, raw=True)
    if len(message.raw_input_contents):
        first = message.raw_input_contents[0]
        message.raw_input_contents[0] = chance.choice((b"", first[:-1], first + b"\0", b"\xff" * 8))
    return _grpc(label, message)


def _grpc(label: str, message: service_pb2.ModelInferRequest) -> GrpcCase:
    return GrpcCase(label, "ModelInfer", (message.SerializeToString(deterministic=True),))


GRPC_MUTATIONS = (
    fewer_raws,
    more_raws,
    raw_and_contents,
    other_contents,
    empty_message,
    odd_raws,
)
