"""Asks with TensorFlow Serving's own messages and stubs; run by the client's environment.

Reads a JSON object from stdin: where the server is, the rows of each model. Writes what the client
got, by how it asked, as JSON.
"""

import json
import random
import struct
import sys
from collections.abc import Callable
from typing import Any

import grpc
import tfserving_messages as tf
from google.protobuf import json_format

FUZZED = 1000


class Client:
    """One channel, and every method that is called."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.predictions = tf.prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = tf.model_service_pb2_grpc.ModelServiceStub(self.channel)


def told(call: Callable[[], Any]) -> Any:
    """The answer as JSON values, or the code and the message of a refusal."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def spec_of(name: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    if "version" in more:
        found["version"] = {"value": more.pop("version")}
    return {**found, **more}


def encodings(rows: list[list[float]]) -> dict[str, dict[str, Any]]:
    """The same matrix in each way that a TensorProto can have it."""
    flat = [value for row in rows for value in row]
    shape = {"dim": [{"size": len(rows)}, {"size": len(rows[0])}]}
    floats = struct.pack(f"<{len(flat)}f", *flat)
    doubles = struct.pack(f"<{len(flat)}d", *flat)
    return {
        "float_val": {"dtype": 1, "tensor_shape": shape, "float_val": flat},
        "float content": {"dtype": 1, "tensor_shape": shape, "tensor_content": floats},
        "double_val": {"dtype": 2, "tensor_shape": shape, "double_val": flat},
        "double content": {"dtype": 2, "tensor_shape": shape, "tensor_content": doubles},
    }


def predict(client: Client, spec: dict[str, Any], inputs: dict[str, Any], *wanted: str) -> Any:
    request = tf.predict_pb2.PredictRequest(model_spec=spec, output_filter=wanted)
    for name, fields in inputs.items():
        request.inputs[name].CopyFrom(tf.tensor_pb2.TensorProto(**fields))
    return told(lambda: client.predictions.Predict(request, 20))


def example(**features: list[Any]) -> Any:
    found = tf.example_pb2.Example()
    for name, values in features.items():
        feature = found.features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return found


def ask_examples(client: Client, name: str, feature: str, rows: Any, **more: Any) -> dict[str, Any]:
    examples = [example(**{feature: row}) for row in rows]
    given = {"example_list": {"examples": examples}}
    spec = spec_of(name, **more)
    classify = tf.classification_pb2.ClassificationRequest(model_spec=spec, input=given)
    regress = tf.regression_pb2.RegressionRequest(model_spec=spec, input=given)
    tasks = [
        {"model_spec": spec, "method_name": f"tensorflow/serving/{method}"}
        for method in ("classify", "regress")
    ]
    multi = tf.inference_pb2.MultiInferenceRequest(tasks=tasks, input=given)
    return {
        "classify": told(lambda: client.predictions.Classify(classify, 20)),
        "regress": told(lambda: client.predictions.Regress(regress, 20)),
        "multi": told(lambda: client.predictions.MultiInference(multi, 20)),
    }


def by_columns(client: Client, name: str, columns: list[str], rows: Any) -> Any:
    """Examples with a feature for each column, of which the last is the same in all."""
    examples = [
        example(**{c: [v] for c, v in zip(columns[:-1], row, strict=False)}) for row in rows
    ]
    context = example(**{columns[-1]: [rows[0][-1]]})
    listed = {"example_list_with_context": {"examples": examples, "context": context}}
    request = tf.classification_pb2.ClassificationRequest(model_spec=spec_of(name), input=listed)
    return told(lambda: client.predictions.Classify(request, 20))


def metadata(client: Client, name: str, field: str = "signature_def") -> Any:
    request = tf.get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=spec_of(name), metadata_field=[field]
    )
    try:
        answer = client.predictions.GetModelMetadata(request, 20)
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    signatures = tf.get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    found = json_format.MessageToDict(signatures, preserving_proto_field_name=True)
    return {"spec": json_format.MessageToDict(answer.model_spec), **found}


def status(client: Client, spec: dict[str, Any]) -> Any:
    request = tf.get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
    return told(lambda: client.models.GetModelStatus(request, 20))


def reload(client: Client, *configs: dict[str, Any]) -> Any:
    request = tf.model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for config in configs:
        request.config.model_config_list.config.add(**config)
    return told(lambda: client.models.HandleReloadConfigRequest(request, 60))


def fuzzed(client: Client, spec: dict[str, Any], fields: dict[str, Any]) -> dict[str, int]:
    """How many mutated messages got which code, of all methods with a request about a model."""
    request = tf.predict_pb2.PredictRequest(model_spec=spec)
    request.inputs["input-0"].CopyFrom(tf.tensor_pb2.TensorProto(**fields))
    given = {"example_list": {"examples": [example(x=[1.0, 2.0, 3.0, 4.0])]}}
    classify = tf.classification_pb2.ClassificationRequest(model_spec=spec, input=given)
    task = {"model_spec": spec, "method_name": "tensorflow/serving/classify"}
    multi = tf.inference_pb2.MultiInferenceRequest(tasks=[task], input=given)
    service = "/tensorflow.serving.PredictionService/"
    bodies = {
        "Predict": request.SerializeToString(),
        "Classify": classify.SerializeToString(),
        "Regress": classify.SerializeToString(),
        "MultiInference": multi.SerializeToString(),
    }
    chance, codes = random.Random(7), dict[str, int]()
    for index in range(FUZZED):
        method = list(bodies)[index % len(bodies)]
        body = mutated(bodies[method], chance)
        try:
            client.channel.unary_unary(service + method)(body, timeout=20)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
            if not error.details():
                code += " without a reason"
        codes[code] = codes.get(code, 0) + 1
    return codes


def mutated(body: bytes, chance: random.Random) -> bytes:
    found = bytearray(body)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(found)) if found else 0
        kind = chance.randrange(4)
        if kind == 0 and found:
            found[place] = chance.randrange(256)
        elif kind == 1:
            found = found[:place]
        elif kind == 2:
            found[place:place] = chance.randbytes(chance.randint(1, 4))
        else:
            del found[place : place + chance.randint(1, 8)]
    return bytes(found)


def main() -> None:
    asked = json.load(sys.stdin)
    client = Client(asked["grpc"])
    rows = asked["rows"]
    found: dict[str, Any] = {}
    for how, fields in encodings(rows).items():
        found[f"iris {how}"] = predict(client, spec_of("iris"), {"x": fields})
    floats = encodings(rows)["float_val"]
    wide = encodings(asked["pixels"])["float content"]
    found["onnx"] = predict(client, spec_of("mlp"), {asked["mlp_input"]: wide})
    found["onnx double"] = predict(
        client, spec_of("mlp"), {asked["mlp_input"]: encodings(asked["pixels"])["double_val"]}
    )
    found["filtered"] = predict(client, spec_of("iris"), {"x": floats}, "predict_proba")
    found["signature"] = predict(
        client, spec_of("iris", signature_name="predict_proba"), {"x": floats}
    )
    found["versioned"] = predict(client, spec_of("iris", version=1), {"x": floats})
    shape = {"dim": [{"size": 2}, {"size": 4}]}
    splat = {"dtype": 1, "tensor_shape": shape, "float_val": [1.5]}
    found["splat"] = predict(client, spec_of("iris"), {"x": splat})
    zeros = {"dtype": 1, "tensor_shape": shape}
    found["zeros"] = predict(client, spec_of("iris"), {"x": zeros})
    typed = {"dim": [{"size": 3}]}
    values = {
        "text": {"dtype": 7, "tensor_shape": typed, "string_val": [b"a", b"\xff", b"c"]},
        "half": {"dtype": 19, "tensor_shape": typed, "half_val": [0x3C00, 0x4000]},
        "brain": {"dtype": 14, "tensor_shape": typed, "half_val": [0x3F80, 0x4000, 0x4040]},
        "truth": {"dtype": 10, "tensor_shape": typed, "bool_val": [True, False, True]},
        "bytes": {"dtype": 4, "tensor_shape": typed, "int_val": [0, 128, 255]},
        "short": {"dtype": 5, "tensor_shape": typed, "int_val": [-1, 0, 1]},
        "long": {"dtype": 9, "tensor_shape": typed, "int64_val": [-(1 << 62), 0, 1 << 62]},
        "unsigned": {"dtype": 23, "tensor_shape": typed, "uint64_val": [0, 1, (1 << 64) - 1]},
        "packed": {"dtype": 7, "tensor_shape": typed, "tensor_content": b"\x01\x00\x02abc"},
    }
    for name, fields in values.items():
        found[f"echo {name}"] = predict(client, spec_of("echo"), {name: fields})
    too_small = {"dtype": 4, "tensor_shape": typed, "int_val": [0, 1, 256]}
    complex_ = {"dtype": 8, "tensor_shape": typed, "scomplex_val": [1.0] * 6}
    found["out of range"] = predict(client, spec_of("echo"), {"x": too_small})
    found["complex"] = predict(client, spec_of("echo"), {"x": complex_})
    found["unknown model"] = predict(client, spec_of("nope"), {"x": floats})
    found["unknown version"] = predict(client, spec_of("iris", version=9), {"x": floats})
    found["unknown label"] = predict(client, spec_of("iris", version_label="x"), {"x": floats})
    found["no name"] = predict(client, {}, {"x": floats})
    found["unknown signature"] = predict(
        client, spec_of("iris", signature_name="nope"), {"x": floats}
    )
    for name in ("iris", "flowers", "line"):
        feature = "f" if name == "flowers" else "input-0"
        found[f"{name} examples"] = ask_examples(client, name, feature, rows)
    found["columns"] = by_columns(client, "flowers", asked["columns"], rows)
    found["metadata iris"] = metadata(client, "iris")
    found["metadata mlp"] = metadata(client, "mlp")
    found["metadata other"] = metadata(client, "iris", "graph")
    found["status"] = status(client, spec_of("iris"))
    found["status unknown"] = status(client, spec_of("nope"))
    found["fuzzed"] = fuzzed(client, spec_of("iris"), floats)
    found["after"] = predict(client, spec_of("iris"), {"x": floats})
    found["reload label unknown"] = reload(
        client, {"name": "steps", "version_labels": {"canary": 9}}
    )
    everything = [{"name": name} for name in asked["models"] if name != "steps"]
    labelled = {"name": "steps", "version_labels": {"stable": 1, "canary": 2}}
    found["reload"] = reload(client, labelled, *everything)
    for label in ("stable", "canary"):
        spec = spec_of("steps", version_label=label)
        found[f"label {label}"] = predict(client, spec, {"x": floats})
        found[f"status {label}"] = status(client, spec)
    found["reload twice"] = reload(client, {"name": "iris"}, {"name": "iris"})
    found["reload unknown"] = reload(client, {"name": "iris"}, {"name": "nope"})
    found["reload fewer"] = reload(client, *(each for each in everything if each["name"] != "line"))
    found["status line"] = status(client, spec_of("line"))
    found["unloaded"] = predict(client, spec_of("line"), {"x": floats})
    found["reload again"] = reload(client, labelled, *everything)
    found["loaded"] = predict(client, spec_of("line"), {"x": floats})
    json.dump(found, sys.stdout)


main()
