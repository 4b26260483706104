"""The repository of Python models that Salver and the real Triton are both given.

Small models that between them use every datatype, fixed and variable dimensions, batches, optional
inputs, parameters, failures of all kinds, sequences, decoupled responses, ensembles and requests to
other models. They work with Triton's own `triton_python_backend_utils` and with Salver's.
"""

from __future__ import annotations

from pathlib import Path

DATATYPES = {
    "BOOL": "BOOL",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "FP16": "FP16",
    "FP32": "FP32",
    "FP64": "FP64",
    "BYTES": "STRING",
}
"""V2's datatypes, and what the configuration calls them."""

_IMPORTS = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


def given(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def tensors(arrays):
    return [pb_utils.Tensor(name, array) for name, array in arrays.items()]


def response(**arrays):
    return pb_utils.InferenceResponse(tensors(arrays))


class TritonPythonModel:
"""


def _tensors(kind: str, dims: str, extra: str = "") -> str:
    return "\n".join(
        f'{kind} {{ name: "{name}" data_type: TYPE_{config} dims: [{dims}] {extra} }}'
        for name, config in DATATYPES.items()
    )


FILES = {
    "types/config.pbtxt": 'backend: "python" max_batch_size: 0\n'
    + _tensors("input", "-1", "optional: true")
    + "\n"
    + _tensors("output", "-1"),
    "types/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [
            response(**{each.name(): each.as_numpy() for each in request.inputs()})
            for request in requests
        ]
""",
    "add/config.pbtxt": """
backend: "python" max_batch_size: 8
input [{name: "A" data_type: TYPE_FP32 dims: [4]}, {name: "B" data_type: TYPE_FP32 dims: [4]}]
output [{name: "SUM" data_type: TYPE_FP32 dims: [4]}, {name: "DIFF" data_type: TYPE_FP32 dims: [4]}]
dynamic_batching { }
instance_group [{count: 1 kind: KIND_CPU}]
""",
    "add/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [self.answer(given(each, "A"), given(each, "B")) for each in requests]

    def answer(self, a, b):
        return response(SUM=a + b, DIFF=a - b)
""",
    "matrix/config.pbtxt": """
backend: "python" max_batch_size: 4
input { name: "M" data_type: TYPE_INT64 dims: [-1, 2] }
output { name: "TOTAL" data_type: TYPE_FP64 dims: [2] }
output { name: "ROWS" data_type: TYPE_INT32 dims: [1] }
""",
    "matrix/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [self.answer(given(each, "M")) for each in requests]

    def answer(self, m):
        rows = np.full((len(m), 1), m.shape[1], np.int32)
        return response(TOTAL=m.sum(axis=1).astype(np.float64), ROWS=rows)
""",
    "fixed/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_FP64 dims: [2, 3] }
output { name: "Y" data_type: TYPE_FP64 dims: [3, 2] }
version_policy { specific { versions: [1, 3] } }
""",
    **{
        f"fixed/{version}/model.py": _IMPORTS
        + f"""
    def execute(self, requests):
        return [response(Y={version} * given(each, "X").T) for each in requests]
"""
        for version in (1, 2, 3)
    },
    "reshaped/config.pbtxt": """
backend: "python" max_batch_size: 4
input { name: "X" data_type: TYPE_INT32 dims: [2, 2] reshape { shape: [4] } }
input { name: "SCALAR" data_type: TYPE_INT32 dims: [1] reshape { shape: [] } optional: true }
output { name: "Y" data_type: TYPE_INT32 dims: [2, 2] reshape { shape: [4] } }
""",
    "reshaped/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        x = given(request, "X")
        scalar = pb_utils.get_input_tensor_by_name(request, "SCALAR")
        more = 0 if scalar is None else scalar.as_numpy()[:, None]
        return response(Y=(x + more).astype(np.int32))
""",
    "texts/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_STRING dims: [-1] }
output { name: "Y" data_type: TYPE_STRING dims: [-1] }
output { name: "LENGTHS" data_type: TYPE_INT64 dims: [-1] }
""",
    "texts/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [self.answer(given(each, "X")) for each in requests]

    def answer(self, texts):
        lengths = np.array([len(each) for each in texts], np.int64)
        return response(Y=texts[::-1].copy(), LENGTHS=lengths)
""",
    "scores/config.pbtxt": """
backend: "python" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [3] }
output { name: "SCORES" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }
""",
    "scores/labels.txt": "red\ngreen\nblue\n",
    "scores/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [response(SCORES=given(each, "X") * 2) for each in requests]
""",
    "told/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "TOLD" data_type: TYPE_STRING dims: [1] }
""",
    "told/1/model.py": _IMPORTS
    + """
    def initialize(self, args):
        self.name = args["model_name"] + "/" + args["model_version"]

    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        told = {
            "id": request.request_id(),
            "parameters": json.loads(request.parameters() or "{}"),
            "outputs": sorted(request.requested_output_names()),
            "name": self.name,
            "correlation": str(request.correlation_id()),
            "flags": request.flags(),
            "timeout": request.timeout(),
        }
        text = json.dumps(told, sort_keys=True)
        return response(TOLD=np.array([text.encode()], object))
""",
    "says/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
""",
    "says/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [response(Y=given(each, "X")) for each in requests]
""",
    "faults/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "KIND" data_type: TYPE_STRING dims: [1] }
output { name: "Y" data_type: TYPE_FP32 dims: [2] }
output { name: "Z" data_type: TYPE_FP32 dims: [-1] }
""",
    "faults/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        kind = given(requests[0], "KIND")[0].decode()
        if kind == "raises":
            raise ValueError("as it was asked to")
        if kind == "too few":
            return []
        if kind == "no response":
            return ["text" for each in requests]
        return [self.answer(kind) for each in requests]

    def answer(self, kind):
        y, z = np.ones(2, np.float32), np.arange(3, dtype=np.float32)
        if kind.startswith("error"):
            code = int(kind.removeprefix("error"))
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError("told so", code))
        if kind == "error":
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError("told so"))
        if kind == "error and outputs":
            error = pb_utils.TritonError("told so")
            return pb_utils.InferenceResponse(tensors({"Y": y, "Z": z}), error=error)
        if kind == "lacks Z":
            return response(Y=y)
        if kind == "nothing":
            return response()
        if kind == "more":
            return response(Y=y, Z=z, MORE=z)
        if kind == "wrong shape":
            return response(Y=np.ones(5, np.float32), Z=z)
        if kind == "wrong rank":
            return response(Y=np.ones((1, 2), np.float32), Z=z)
        if kind == "wrong type":
            return response(Y=y.astype(np.float64), Z=z)
        if kind == "empty":
            return response(Y=y, Z=z[:0])
        if kind == "not finite":
            return response(Y=y * np.float32("nan"), Z=z * np.float32("inf"))
        if kind == "strided":
            return response(Y=np.arange(4, dtype=np.float32)[::2], Z=z[::-1])
        if kind == "reversed order":
            return response(Z=z, Y=y)
        if kind == "not an array":
            return pb_utils.InferenceResponse([pb_utils.Tensor("Y", [1.0, 2.0])])
        return response(Y=y, Z=z)
""",
    "sequence/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
sequence_batching {
  oldest { max_candidate_sequences: 16 }
  max_sequence_idle_microseconds: 60000000
  control_input [
    { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } },
    { name: "END" control { kind: CONTROL_SEQUENCE_END int32_false_true: [0, 1] } },
    { name: "READY" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] } },
    { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
  ]
}
""",
    "sequence/1/model.py": _IMPORTS
    + """
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        name = int(given(request, "ID").ravel()[0])
        if given(request, "START").ravel()[0]:
            self.sums[name] = 0
        self.sums[name] += int(given(request, "X")[0])
        total = self.sums[name] + (1000 if given(request, "END").ravel()[0] else 0)
        return response(Y=np.array([total], np.int32))
""",
    "many/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
model_transaction_policy { decoupled: true }
""",
    "many/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        for request in requests:
            sender, count = request.get_response_sender(), int(given(request, "X")[0])
            if count < 0:
                error = pb_utils.TritonError("a negative number", pb_utils.TritonError.INVALID_ARG)
                sender.send(pb_utils.InferenceResponse([], error=error))
            for number in range(count):
                sender.send(response(Y=np.array([number], np.int32)))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
""",
    "asks/config.pbtxt": """
backend: "python" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [4] }
output { name: "Y" data_type: TYPE_FP32 dims: [4] }
""",
    "asks/1/model.py": _IMPORTS
    + """
    def execute(self, requests):
        return [self.answer(given(each, "X")) for each in requests]

    def answer(self, x):
        name = "nobody" if x[0, 0] == -1 else "add"
        asked = pb_utils.InferenceRequest(
            model_name=name,
            requested_output_names=["SUM"],
            inputs=[pb_utils.Tensor("A", x), pb_utils.Tensor("B", x)],
        )
        answer = asked.exec()
        if answer.has_error():
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError("it has no answer"))
        return response(Y=pb_utils.get_output_tensor_by_name(answer, "SUM").as_numpy())
""",
    "both/config.pbtxt": """
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
    "completed/1/model.py": _IMPORTS
    + """
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_INT16", "dims": [-1, 2]})
        config.add_output({"name": "Y", "data_type": "TYPE_INT16", "dims": [2, -1]})
        config.set_max_batch_size(0)
        return config

    def execute(self, requests):
        return [response(Y=np.ascontiguousarray(given(each, "X").T)) for each in requests]
""",
}


def write_models(folder: Path) -> None:
    """Writes the repository; Triton wants a version's folder of ensembles too."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "both" / "1").mkdir()
