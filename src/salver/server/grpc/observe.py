"""What a call over gRPC was, for logs and traces; its trace context is in its metadata."""

from __future__ import annotations

from salver.engine.call import Call
from salver.protocol.wire_codes import Codec
from salver.server.grpc.headers import header_of
from salver.server.grpc.ports import Code, Metadata
from salver.server.observe import REQUEST_ID, Answered, Observation, RequestObserver
from salver.telemetry.trace import TRACEPARENT

OK = 0
_PROTOCOLS = {
    int(Codec.SELDON_GRPC): "seldon-grpc",
    int(Codec.TFS_GRPC): "tfs-grpc",
    int(Codec.TFS_EXAMPLES_GRPC): "tfs-grpc",
}
_FAULTS = (Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE)


def begun_grpc(
    observer: RequestObserver, metadata: Metadata, target: str, model: str
) -> Observation:
    """A call has arrived for that model; `target` is the path of its method."""
    found = observer.begin(header_of(metadata, TRACEPARENT), header_of(metadata, REQUEST_ID))
    found.target, found.model = target, model
    return found


def told_metadata(observation: Observation) -> Metadata:
    """What the answer tells the client."""
    return tuple((name.decode(), value.decode()) for name, value in observation.headers())


def answered_grpc(observation: Observation, call: Call, code: int, error: str) -> Answered:
    """The call once its answer is out; `code` is `OK` or a `Code`."""
    service, _, method = observation.target.strip("/").partition("/")
    return Answered(
        protocol=_PROTOCOLS.get(call.codec & 0xFF, "v2-grpc"),
        target=observation.target,
        status=code,
        model=observation.model,
        bytes_in=len(call.body),
        error=error,
        is_fault=code in _FAULTS,
        attributes={
            "salver.attempts": call.attempts + 1,
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.grpc.status_code": code,
        },
    )
