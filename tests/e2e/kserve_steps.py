"""Does the steps of a transformer written for the `kserve` SDK, in a process of its own.

Its protobuf descriptors clash with tritonclient's, so it cannot share one with the tests. The
first argument is the folder of the SDK's packages; writes what came out as JSON.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from salver.backends.local.answering import Answerer
from salver.protocol.frame import Item
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.operations import WITH_HEADERS, Operation, marked, with_headers
from salver.protocol.wire import ModelIdentity
from salver.protocol.wire_codes import Codec
from salver.runtimes.ports import ModelSource
from salver.runtimes.transformer import TransformerRuntime

TRANSFORMER = """
from typing import Dict, Union

from kserve import InferInput, InferRequest, InferResponse, Model


class Scaler(Model):
    def __init__(self, name: str, predictor_host: str = None):
        super().__init__(name)
        self.ready = True

    def preprocess(
        self, payload: Union[Dict, InferRequest], headers: Dict[str, str] = None
    ) -> Union[Dict, InferRequest]:
        factor = float(headers["x-factor"])
        if isinstance(payload, InferRequest):
            array = payload.inputs[0].as_numpy() * factor
            tensor = InferInput(payload.inputs[0].name, list(array.shape), "FP32")
            tensor.set_data_from_numpy(array.astype("float32"))
            return InferRequest(self.name, [tensor], payload.id)
        return {"instances": [[v * factor for v in row] for row in payload["instances"]]}

    async def postprocess(
        self,
        result: Union[Dict, InferResponse],
        headers: Dict[str, str] = None,
        response_headers: Dict[str, str] = None,
    ) -> Union[Dict, InferResponse]:
        if isinstance(result, InferResponse):
            for output in result.outputs:
                output.set_data_from_numpy(output.as_numpy() + 100, binary_data=False)
            return result
        return {"predictions": [value + 100 for value in result["predictions"]]}
"""


def loaded() -> Answerer:
    path = Path(tempfile.mkdtemp()) / "scaler.py"
    path.write_text(TRANSFORMER)
    model = TransformerRuntime().load(ModelSource("iris", path, "transformer", "Scaler"))
    identity = ModelIdentity("iris", "1", model.metadata)
    return Answerer(model, identity, max_rows=0, max_body_bytes=1 << 20)


def step(answerer: Answerer, operation: Operation, codec: Codec, body: bytes) -> bytes:
    tag = marked(int(codec), operation) | WITH_HEADERS
    item = Item(tag, 0, with_headers([(b"x-factor", b"2")], body))
    answer = answerer.answer([item]).items[0]
    assert answer.tag == 0, bytes(answer.body)
    return bytes(answer.body)


def main() -> None:
    answerer = loaded()
    before, after = Operation.PREPROCESS, Operation.POSTPROCESS
    request = ModelInferRequest(model_name="iris", id="g")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(np.array([1, 2], "<f4").tobytes())
    response = ModelInferResponse(model_name="iris", id="g")
    response.outputs.add(name="y", datatype="INT64", shape=[1])
    response.raw_output_contents.append(np.array([7], "<i8").tobytes())
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    v2: dict[str, Any] = {"id": "a", "inputs": [tensor]}
    answered = {"name": "y", "shape": [1], "datatype": "INT64", "data": [7]}
    v2_answer = {"model_name": "iris", "id": "a", "outputs": [answered]}
    grpc_request = ModelInferRequest.FromString(
        step(answerer, before, Codec.V2_GRPC, request.SerializeToString())
    )
    grpc_response = ModelInferResponse.FromString(
        step(answerer, after, Codec.V2_GRPC, response.SerializeToString())
    )

    def through(operation: Operation, codec: Codec, document: dict[str, Any]) -> Any:
        return json.loads(step(answerer, operation, codec, json.dumps(document).encode()))

    found = {
        "v1 request": through(before, Codec.V1_JSON, {"instances": [[1.0, 2.0]]}),
        "v1 response": through(after, Codec.V1_JSON, {"predictions": [7]}),
        "v2 request": through(before, Codec.V2_JSON, v2),
        "v2 response": through(after, Codec.V2_JSON, v2_answer),
        "grpc request": np.frombuffer(grpc_request.raw_input_contents[0], "<f4").tolist(),
        "grpc id": grpc_request.id,
        "grpc response": np.frombuffer(grpc_response.raw_output_contents[0], "<i8").tolist(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    main()
