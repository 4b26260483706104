"""What an inference request over HTTP was, for logs and traces."""

from __future__ import annotations

from salver.engine.call import Call
from salver.protocol.wire_codes import Codec
from salver.server.http.head import RequestHead
from salver.server.observe import Answered, Observation

_PROTOCOLS = {
    int(Codec.V1_JSON): "v1-http",
    int(Codec.V2_JSON): "v2-http",
    int(Codec.SELDON_JSON): "seldon-http",
    int(Codec.TFS_EXAMPLES_JSON): "tfs-http",
    int(Codec.MLFLOW_JSON): "mlflow-http",
    int(Codec.MLFLOW_CSV): "mlflow-http",
    int(Codec.MLFLOW_PARQUET): "mlflow-http",
    int(Codec.GENERATE_JSON): "generate-http",
    int(Codec.V2_FORM): "v2-http",
}


def answered_http(
    observation: Observation, head: RequestHead, call: Call, status: int, error: str
) -> Answered:
    """The request with that head, once its answer is written."""
    target = head.path.decode("latin-1")
    return Answered(
        protocol=_PROTOCOLS.get(head.codec, "http"),
        target=target,
        status=status,
        model=head.model or observation.model or head.scope,
        bytes_in=len(call.body),
        error=error,
        is_fault=status >= 500,
        attributes={
            "salver.model.version": head.version,
            "salver.attempts": call.attempts + 1,
            "http.request.method": "POST",
            "http.response.status_code": status,
            "url.path": target,
        },
    )


def answered_forward(
    method: str, path: str, name: str, size: int, status: int, *, is_cut: bool
) -> Answered:
    """A request that was handed on whole to what serves under that name. `is_cut`: its answer, if
    it had begun at all, was not brought to its end."""
    error = f"it answered {status}" if status >= 500 else ""
    if is_cut:
        error = "its answer was cut off" if status else "its caller left before the answer"
    return Answered(
        protocol="http",
        target=path,
        status=status,
        model=name,
        bytes_in=size,
        error=error,
        is_fault=status >= 500 or (is_cut and status > 0),
        attributes={
            "http.request.method": method,
            "http.response.status_code": status,
            "url.path": path,
        },
    )
