"""What the codecs cost a request, in microseconds: decode, group, assemble, encode.

Run it as `python bench/codecs.py`; the model is left out, so this is the protocol layer's
own share of a worker's time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.codecs import codec_for
from salver.protocol.inference_pb2 import ModelInferRequest
from salver.protocol.materialise import assemble, group_key
from salver.protocol.wire import Codec, ModelIdentity

COLUMNS = 4
IRIS = ModelIdentity(
    "iris",
    "1",
    ModelMetadata(
        "sklearn",
        (TensorMetadata("input-0", "FP64", (-1, -1), accepts=("FP32", "INT64")),),
        (TensorMetadata("predict", "INT64", (-1,)),),
        default_outputs=("predict",),
        positional_input=True,
        forbids_nan=True,
    ),
)
ROW = b"5.1,3.5,1.4,0.2"


def v2_json(rows: int) -> tuple[bytes, int]:
    data = b",".join([ROW] * rows)
    head = b'{"inputs":[{"name":"input-0","shape":[%d,4],"datatype":"FP64","data":[' % rows
    return head + data + b"]}]}", 0


def v2_binary(rows: int) -> tuple[bytes, int]:
    raw = np.tile([5.1, 3.5, 1.4, 0.2], rows).tobytes()
    head = (
        b'{"inputs":[{"name":"input-0","shape":[%d,4],"datatype":"FP64",'
        b'"parameters":{"binary_data_size":%d}}],"parameters":{"binary_data_output":true}}'
        % (rows, len(raw))
    )
    return head + raw, len(head)


def v2_grpc(rows: int) -> tuple[bytes, int]:
    tensor = ModelInferRequest.InferInputTensor(
        name="input-0", datatype="FP64", shape=[rows, COLUMNS]
    )
    raw = np.tile([5.1, 3.5, 1.4, 0.2], rows).tobytes()
    message = ModelInferRequest(model_name="iris", inputs=[tensor], raw_input_contents=[raw])
    return message.SerializeToString(), 0


def v1_json(rows: int) -> tuple[bytes, int]:
    return b'{"instances":[' + b",".join([b"[" + ROW + b"]"] * rows) + b"]}", 0


CASES: list[tuple[str, Codec, Callable[[int], tuple[bytes, int]]]] = [
    ("V2 JSON", Codec.V2_JSON, v2_json),
    ("V2 binary", Codec.V2_JSON, v2_binary),
    ("V2 gRPC raw", Codec.V2_GRPC, v2_grpc),
    ("V1 JSON", Codec.V1_JSON, v1_json),
]


def stage_times(kind: Codec, body: bytes, aux: int, batch: int) -> list[float]:
    """Seconds of each stage for one batch."""
    codec = codec_for(kind)
    start = time.perf_counter()
    requests = [codec.decode(body, aux, IRIS) for _ in range(batch)]
    decoded = time.perf_counter()
    keys = {group_key(request, IRIS) for request in requests}
    grouped = time.perf_counter()
    request, rows = assemble(requests, IRIS)
    assembled = time.perf_counter()
    classes = np.ones(len(request.inputs[0].data), np.int64)
    response = InferResponse((Tensor("predict", "INT64", classes),))
    predicted = time.perf_counter()
    codec.encode_rows(response, requests, rows, IRIS)
    encoded = time.perf_counter()
    if len(keys) != 1:
        raise RuntimeError("the requests of a batch did not group")
    return [decoded - start, grouped - decoded, assembled - grouped, encoded - predicted]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(
        f"{'microseconds':14}{'rows':>6}{'batch':>6}"
        + "".join(f"{stage:>9}" for stage in ("decode", "key", "assemble", "encode", "sum"))
    )
    for name, kind, make in CASES:
        for rows, batch in ((1, 1), (1, 32), (100, 1), (4096, 1)):
            body, aux = make(rows)
            repeats = max(20, rounds // (batch * max(1, rows // 10)))
            times = np.array([stage_times(kind, body, aux, batch) for _ in range(repeats)])
            best = np.median(times, axis=0) / batch * 1e6
            cells = "".join(f"{value:9.2f}" for value in (*best, best.sum()))
            print(f"{name:14}{rows:6}{batch:6}{cells}")


if __name__ == "__main__":
    main()
