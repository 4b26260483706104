"""The cases: which model, which rows, in which wire format. Builds the bytes that are sent.

Every server of a case gets the same bytes. Knows the V2 protocol's request, nothing of servers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = (1, 4, 16, 64, 200)
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Case:
    """A line of work: `rows` of the model's known rows, sent as `wire` (json, binary, grpc)."""

    name: str
    text: str
    model_file: str
    rows: int = 1
    wire: str = "json"
    connections: tuple[int, ...] = CONNECTIONS

    @property
    def model(self) -> str:
        """The model's name on every server: its file's stem."""
        return Path(self.model_file).stem

    @property
    def input_name(self) -> str:
        """What the input is called: ONNX files name theirs, the others have the usual name."""
        return "x" if self.model_file.endswith(".onnx") else "input-0"

    @property
    def infer_path(self) -> str:
        """The request's path, the same on every HTTP server."""
        return f"/v2/models/{self.model}/infer"


LARGE = (1, 4, 16)
CASES = {
    case.name: case
    for case in (
        Case("lr", "LogisticRegression (iris), 1 row, V2 REST", "lr.joblib"),
        Case("xgb1", "XGBoost, 100 trees, 1 row of 30, V2 REST", "xgb.ubj"),
        Case("xgb100", "XGBoost, 100 trees, 100 rows of 30, V2 REST", "xgb.ubj", rows=100),
        Case("mlp", "ONNX MLP 784-512-512-10, 1 row, V2 REST", "mlp.onnx"),
        Case("tensor-json", "1 MiB tensor as JSON (sum)", "rowsum.onnx", connections=LARGE),
        Case(
            "tensor-binary",
            "1 MiB tensor, binary extension (sum)",
            "rowsum.onnx",
            wire="binary",
            connections=LARGE,
        ),
        Case(
            "tensor-both",
            "1 MiB tensor, binary extension both ways (identity)",
            "same.onnx",
            wire="binary",
            connections=LARGE,
        ),
        Case("grpc", "LogisticRegression (iris), 1 row, V2 gRPC", "lr.joblib", wire="grpc"),
    )
}


@dataclass(frozen=True)
class Payload:
    """What is sent and what must come back."""

    body: bytes
    headers: dict[str, str]
    answers: Any


def make_payload(case: Case, models: Path) -> Payload:
    """The request's bytes and the answers of the library itself."""
    import numpy as np

    with np.load(models / f"{case.model}.npz") as known:
        rows, answers = known["rows"][: case.rows], known["answers"][: case.rows]
    if case.wire == "grpc":
        return Payload(_grpc_body(case, rows), {}, answers)
    if case.wire == "binary":
        head = json.dumps(_binary_document(case, rows)).encode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        return Payload(head + rows.tobytes(), headers, answers)
    body = json.dumps(_json_document(case, rows)).encode()
    return Payload(body, {"Content-Type": "application/json"}, answers)


def _tensor(case: Case, rows: Any) -> dict[str, Any]:
    return {"name": case.input_name, "shape": list(rows.shape), "datatype": "FP32"}


def _json_document(case: Case, rows: Any) -> dict[str, Any]:
    # Rounded as a client would write them: an FP32's shortest text, not its double's 17 digits.
    data = [float(str(value)) for value in rows.ravel()]
    return {"inputs": [_tensor(case, rows) | {"data": data}]}


def _binary_document(case: Case, rows: Any) -> dict[str, Any]:
    tensor = _tensor(case, rows) | {"parameters": {"binary_data_size": rows.nbytes}}
    return {"inputs": [tensor], "parameters": {"binary_data_output": True}}


def _grpc_body(case: Case, rows: Any) -> bytes:
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=case.model)
    request.inputs.add(name=case.input_name, datatype="FP32", shape=rows.shape)
    request.raw_input_contents.append(rows.tobytes())
    return bytes(request.SerializeToString())
