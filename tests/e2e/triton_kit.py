"""A Triton repository of small models, written for the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

_IMPORTS = """
import json
import threading
import numpy as np
import triton_python_backend_utils as pb_utils


def given(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def response(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(k, v) for k, v in arrays.items()])


class TritonPythonModel:
"""

FILES = {
    "add/config.pbtxt": """
backend: "python" max_batch_size: 8
input [{name: "A" data_type: TYPE_FP32 dims: [4]}, {name: "B" data_type: TYPE_FP32 dims: [4]}]
output [{name: "SUM" data_type: TYPE_FP32 dims: [4]}, {name: "COUNT" data_type: TYPE_INT32 dims: 1}]
dynamic_batching { max_queue_delay_microseconds: 100000 }
instance_group [{count: 2 kind: KIND_CPU}]
parameters { key: "scale" value { string_value: "2" } }
model_warmup { name: "w" batch_size: 2
  inputs { key: "A" value {data_type: TYPE_FP32 dims: 4 zero_data: true} }
  inputs { key: "B" value {data_type: TYPE_FP32 dims: 4 random_data: true} } }
""",
    "add/1/model.py": _IMPORTS
    + """
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.scale = float(config["parameters"]["scale"]["string_value"])
        output = pb_utils.get_output_config_by_name(config, "SUM")
        self.dtype = pb_utils.triton_string_to_numpy(output["data_type"])

    def execute(self, requests):
        return [self.answer(each, len(requests)) for each in requests]

    def answer(self, request, count):
        a, b = given(request, "A"), given(request, "B")
        if (a < 0).any():
            error = pb_utils.TritonError("A is negative", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse([], error=error)
        if (a > 1e6).any():
            raise ValueError("A is huge")
        total = ((a + b) * self.scale).astype(self.dtype)
        return response(SUM=total, COUNT=np.full((len(a), 1), count, np.int32))
""",
    "texts/1/model.py": _IMPORTS
    + """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_STRING", "dims": [-1]})
        config.add_output({"name": "Y", "data_type": "TYPE_STRING", "dims": [-1]})
        config.add_output({"name": "ID", "data_type": "TYPE_STRING", "dims": [1]})
        config.set_max_batch_size(0)
        return config

    def execute(self, requests):
        (request,) = requests
        told = f"{request.request_id()} {request.parameters()} {request.model_name()}"
        return [response(Y=given(request, "X")[::-1], ID=np.array([told], object))]

    def finalize(self):
        print("finalized", flush=True)
""",
    "asks/1/model.py": _IMPORTS
    + """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [4]})
        config.add_output({"name": "Y", "data_type": "TYPE_FP32", "dims": [4]})
        config.set_max_batch_size(8)
        return config

    async def execute(self, requests):
        return [await self.answer(each) for each in requests]

    async def answer(self, request):
        x = given(request, "X")
        asked = pb_utils.InferenceRequest(
            model_name="add",
            requested_output_names=["SUM"],
            inputs=[pb_utils.Tensor("A", x), pb_utils.Tensor("B", x)],
        )
        answer = await asked.async_exec()
        if answer.has_error():
            return pb_utils.InferenceResponse([], error=answer.error())
        return response(Y=pb_utils.get_output_tensor_by_name(answer, "SUM").as_numpy())
""",
    "scaled/config.pbtxt": """
platform: "onnxruntime_onnx" max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [2, 2] reshape { shape: [4] } }
output { name: "Y" data_type: TYPE_FP32 dims: [4] label_filename: "labels.txt" }
version_policy { latest { num_versions: 2 } }
dynamic_batching { }
""",
    "scaled/labels.txt": "red\ngreen\nblue\nblack\n",
    "running_sum/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
sequence_batching {
  oldest { max_candidate_sequences: 4 }
  max_sequence_idle_microseconds: 700000
  control_input [
    { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } },
    { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
  ]
  state { input_name: "S" output_name: "S2" data_type: TYPE_INT32 dims: [1] }
}
instance_group { count: 2 }
""",
    "running_sum/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        (request,) = requests
        assert (request.flags() & 1) == given(request, "START")[0]
        assert request.correlation_id() == given(request, "ID")[0]
        total = given(request, "X") + given(request, "S")
        return [response(Y=total, S2=total)]
""",
    "counter/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
response_cache { enable: true }
""",
    "counter/1/model.py": _IMPORTS
    + """
    count = 0

    def execute(self, requests):
        self.count += 1
        return [response(Y=np.array([self.count], np.int32)) for each in requests]
""",
    "many/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
model_transaction_policy { decoupled: True }
""",
    "many/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        for request in requests:
            arguments = request.get_response_sender(), int(given(request, "X")[0])
            threading.Thread(target=self.send, args=arguments).start()
        return None

    def send(self, sender, count):
        for number in range(count):
            sender.send(response(Y=np.array([number], np.int32)))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
""",
    "both_steps/config.pbtxt": """
platform: "ensemble" max_batch_size: 4
input { name: "IN" data_type: TYPE_FP32 dims: [4] }
output { name: "OUT" data_type: TYPE_FP32 dims: [4] }
output { name: "MID" data_type: TYPE_FP32 dims: [4] }
ensemble_scheduling {
  step [
    { model_name: "asks" model_version: -1
      input_map { key: "X" value: "IN" } output_map { key: "Y" value: "MID" } },
    { model_name: "add" model_version: -1
      input_map { key: "A" value: "MID" } input_map { key: "B" value: "IN" }
      output_map { key: "SUM" value: "OUT" } }
  ]
}
""",
}


def write_repository(folder: Path) -> None:
    """Writes all models; those of `scaled` multiply by their version."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for version in (1, 2, 3):
        file = folder / "scaled" / str(version) / "model.onnx"
        file.parent.mkdir()
        write_onnx(file, version)


def write_onnx(file: Path, factor: float) -> None:
    """A model that multiplies rows of four by a factor."""
    import onnx
    from onnx import TensorProto, helper

    rows = ["rows", 4]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["X", "factor"], ["Y"])],
        "scaled",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, rows)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, rows)],
        initializer=[helper.make_tensor("factor", TensorProto.FLOAT, [], [float(factor)])],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(file))
