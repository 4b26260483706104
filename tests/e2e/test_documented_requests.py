"""The request examples of the peers' documentation, as written."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import json_format

from tests import models
from tests.e2e.server import Server, serving
from tests.e2e.zoo import Zoo

pytestmark = pytest.mark.e2e

SOURCES = {
    # MLServer, "Content Type Decoding": gives back its inputs.
    "content-type-example": """
class EchoRuntime:
    def predict(self, payload: dict) -> dict:
        return payload
""",
    "frame-example": """
class FrameRuntime:
    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        assert list(table.columns) == ["First Name", "Age"], table.columns
        return pd.DataFrame({"who": table["First Name"] + "!", "next": table["Age"] + 1})
""",
    # MLServer, "Serving a custom model with JSON serialization".
    "json-hello-world": """
import json
class JsonHelloWorldModel:
    def predict(self, echo_request: str) -> str:
        request = {"echo_request": json.loads(echo_request)}
        return json.dumps({"request": request, "server_response": "Hello from the server."})
""",
    # Triton, the protocol's binary tensor data extension.
    "mymodel": """
class MyModel:
    def predict(self, input0: np.ndarray, input1: np.ndarray) -> dict:
        assert input0.dtype == np.uint32 and input0.shape == (2, 2)
        assert input1.dtype == np.bool_ and input1.shape == (3,)
        values = [1.0, 1.1, 2.0, 2.1, 3.0, 3.1]
        return {"output0": np.array(values, np.float32).reshape(3, 2)}
""",
    # TensorFlow Serving, the REST API's first example.
    "half_plus_two": """
class HalfPlusTwo:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x * 0.5 + 2.0
""",
    "images": """
class Images:
    def predict(self, image_bytes: list[bytes]) -> list[int]:
        return [len(each if isinstance(each, bytes) else each.encode()) for each in image_bytes]
""",
}


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the models that the examples ask."""
    folder = tmp_path_factory.mktemp("documented")
    for name, source in SOURCES.items():
        (folder / f"{name}.py").write_text("import numpy as np\nimport pandas as pd\n" + source)
    models.save_sklearn_lr(folder / "sklearn-iris.joblib")
    save_columns(folder / "iris-columns.txt")
    with serving(str(folder), start_timeout_s=120) as server:
        yield server


def save_columns(path: Path) -> None:
    """KServe's LightGBM example: iris by column, the names as scikit-learn gives them."""
    import lightgbm

    rows, classes = models.iris()
    names = ["sepal_length_(cm)", "sepal_width_(cm)", "petal_length_(cm)", "petal_width_(cm)"]
    parameters = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(rows, classes, feature_name=names)
    lightgbm.train(parameters, data, 10).save_model(path)


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


# KServe


def test_kserve_v1_iris(documented: Server) -> None:
    body = b"""{
  "instances": [
    [6.8,  2.8,  4.8,  1.4],
    [6.0,  3.4,  4.5,  1.6]
  ]
}"""
    headers = {"Host": "sklearn-iris.default.example.com", "Content-Type": "application/json"}
    response = documented.post("/v1/models/sklearn-iris:predict", body, headers=headers)
    assert response.status_code == 200
    assert response.json() == {"predictions": [1, 1]}


def test_kserve_v2_iris(documented: Server) -> None:
    body = b"""{
  "inputs": [
    {
      "name": "input-0",
      "shape": [2, 4],
      "datatype": "FP32",
      "data": [
        [6.8, 2.8, 4.8, 1.4],
        [6.0, 3.4, 4.5, 1.6]
      ]
    }
  ]
}"""
    response = documented.post("/v2/models/sklearn-iris/infer", body)
    (output,) = outputs(response).values()
    assert (output["data"], output["shape"]) == ([1, 1], [2])
    assert response.json()["model_name"] == "sklearn-iris"


def test_kserve_v2_iris_with_id_and_a_named_output(documented: Server) -> None:
    body = {
        "id": "d3b15cad-50a2-4eaf-80ce-8b0a428bd298",
        "inputs": [
            {"name": "input-0", "shape": [1, 4], "datatype": "FP32", "data": [[6.8, 2.8, 4.8, 1.4]]}
        ],
        "outputs": [{"name": "predict"}],
    }
    response = documented.post("/v2/models/sklearn-iris/infer", body)
    assert outputs(response)["predict"]["data"] == [1]
    assert response.json()["id"] == "d3b15cad-50a2-4eaf-80ce-8b0a428bd298"


def test_kserve_grpc_iris(documented: Server) -> None:
    from salver.protocol import inference_pb2 as pb

    request = json_format.Parse(
        """{
  "model_name": "sklearn-iris",
  "inputs": [
    {
      "name": "input-0",
      "shape": [2, 4],
      "datatype": "FP32",
      "contents": {
        "fp32_contents": [6.8, 2.8, 4.8, 1.4, 6.0, 3.4, 4.5, 1.6]
      }
    }
  ]
}""",
        pb.ModelInferRequest(),
    )
    with grpc.insecure_channel(documented.grpc) as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answer = ask(request, timeout=30)
    assert answer.model_name == "sklearn-iris"
    values = answer.outputs[0].contents.int64_contents or np.frombuffer(
        answer.raw_output_contents[0], "<i8"
    )
    assert list(values) == [1, 1]


def test_kserve_v1_lightgbm_by_column(documented: Server) -> None:
    record = {
        "sepal_width_(cm)": 3.5,
        "petal_length_(cm)": 1.4,
        "petal_width_(cm)": 0.2,
        "sepal_length_(cm)": 5.1,
    }
    response = documented.post("/v1/models/iris-columns:predict", {"instances": [record]})
    assert response.status_code == 200, response.text
    assert np.argmax(response.json()["predictions"][0]) == 0


def test_kserve_v2_pandas_columns(documented: Server) -> None:
    columns = {
        "sepal_width_(cm)": [3.5, 2.8],
        "petal_length_(cm)": [1.4, 4.8],
        "petal_width_(cm)": [0.2, 1.4],
        "sepal_length_(cm)": [5.1, 6.8],
    }
    body = {
        "parameters": {"content_type": "pd"},
        "inputs": [
            {"name": name, "shape": [2], "datatype": "FP32", "data": data}
            for name, data in columns.items()
        ],
    }
    (output,) = outputs(documented.post("/v2/models/iris-columns/infer", body)).values()
    assert np.reshape(output["data"], output["shape"]).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/health/live",
        "/v2/health/ready",
        "/v1/models/sklearn-iris",
        "/v2/models/sklearn-iris",
        "/v2/models/sklearn-iris/ready",
        "/v2",
        "/v1/models",
        "/v2/models",
    ],
)
def test_the_routes_that_need_no_body(documented: Server, path: str) -> None:
    assert documented.get(path).status_code == 200


# MLServer


def test_mlserver_sklearn_digits(zoo: Zoo) -> None:
    from sklearn.datasets import load_digits

    rows, classes = load_digits(return_X_y=True)
    x_0 = rows[0:1]
    inference_request = {
        "inputs": [
            {
                "name": "predict",
                "shape": x_0.shape,
                "datatype": "FP32",
                "data": x_0.tolist(),
            }
        ]
    }
    response = zoo.server.post("/v2/models/mnist-svm/infer", inference_request)
    (output,) = outputs(response).values()
    assert output["name"] == "predict"
    assert output["data"] == [int(classes[0])]


def test_mlserver_asks_for_probabilities(documented: Server) -> None:
    body = {
        "inputs": [
            {"name": "predict", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}
        ],
        "outputs": [{"name": "predict_proba"}],
    }
    found = outputs(documented.post("/v2/models/sklearn-iris/infer", body))
    assert found["predict_proba"]["shape"] == [1, 3]
    assert sum(found["predict_proba"]["data"]) == pytest.approx(1)


def test_mlserver_content_types_by_input(documented: Server) -> None:
    payload = {
        "inputs": [
            {
                "name": "parameters-np",
                "datatype": "INT32",
                "shape": [2, 2],
                "data": [1, 2, 3, 4],
                "parameters": {"content_type": "np"},
            },
            {
                "name": "parameters-str",
                "datatype": "BYTES",
                "shape": [1],
                "data": "hello world 😁",
                "parameters": {"content_type": "str"},
            },
        ]
    }
    found = outputs(documented.post("/v2/models/content-type-example/infer", payload))
    assert (found["parameters-np"]["data"], found["parameters-np"]["shape"]) == (
        [1, 2, 3, 4],
        [2, 2],
    )
    assert found["parameters-str"]["data"] == ["hello world 😁"]


def test_mlserver_content_type_of_the_request(documented: Server) -> None:
    payload = {
        "inputs": [
            {
                "name": "parameters-np",
                "datatype": "INT32",
                "shape": [2, 2],
                "data": [1, 2, 3, 4],
                "parameters": {"content_type": "np"},
            },
            {
                "name": "parameters-str",
                "datatype": "BYTES",
                "shape": [2, 11],
                "data": ["hello world 😁", "bye bye 😁"],
                "parameters": {"content_type": "str"},
            },
        ],
        "parameters": {"content_type": "pd"},
    }
    found = outputs(documented.post("/v2/models/content-type-example/infer", payload))
    assert found["parameters-str"]["data"] == ["hello world 😁", "bye bye 😁"]


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (
            {
                "name": "foo",
                "parameters": {"content_type": "np"},
                "data": [1, 2, 3, 4],
                "datatype": "INT32",
                "shape": [2, 2],
            },
            [1, 2, 3, 4],
        ),
        (
            {
                "name": "foo",
                "parameters": {"content_type": "str"},
                "data": ["bar", "bar2"],
                "datatype": "BYTES",
                "shape": [2],
            },
            ["bar", "bar2"],
        ),
        (
            {
                "name": "foo",
                "parameters": {"content_type": "base64"},
                "data": ["UHl0aG9uIGlzIGZ1bg=="],
                "datatype": "BYTES",
                "shape": [1],
            },
            ["Python is fun"],
        ),
        (
            {
                "name": "foo",
                "parameters": {"content_type": "datetime"},
                "data": ["2022-01-11T11:00:00"],
                "datatype": "BYTES",
                "shape": [1],
            },
            ["2022-01-11T11:00:00"],
        ),
    ],
)
def test_mlserver_available_content_types(
    documented: Server, tensor: dict[str, Any], expected: Any
) -> None:
    response = documented.post("/v2/models/content-type-example/infer", {"inputs": [tensor]})
    assert outputs(response)["foo"]["data"] == expected


def test_mlserver_pandas_with_strings(documented: Server) -> None:
    body = {
        "parameters": {"content_type": "pd"},
        "inputs": [
            {
                "name": "First Name",
                "datatype": "BYTES",
                "parameters": {"content_type": "str"},
                "shape": [2],
                "data": ["Joanne", "Michael"],
            },
            {"name": "Age", "datatype": "INT32", "shape": [2], "data": [34, 22]},
        ],
    }
    found = outputs(documented.post("/v2/models/frame-example/infer", body))
    assert found["who"]["data"] == ["Joanne!", "Michael!"]
    assert found["next"]["data"] == [35, 23]


def test_mlserver_custom_json(documented: Server) -> None:
    inputs = {"name": "Foo Bar", "message": "Hello from Client (REST)!"}
    inputs_string = json.dumps(inputs)
    inference_request = {
        "inputs": [
            {
                "name": "echo_request",
                "shape": [len(inputs_string)],
                "datatype": "BYTES",
                "data": [inputs_string],
            }
        ]
    }
    response = documented.post("/v2/models/json-hello-world/infer", inference_request)
    (output,) = outputs(response).values()
    assert json.loads(output["data"][0])["request"] == {"echo_request": inputs}


def test_mlserver_repository(documented: Server) -> None:
    index = documented.post("/v2/repository/index", {})
    assert {"name", "version", "state"} <= set(index.json()[0])
    unload = documented.post("/v2/repository/models/half_plus_two/unload")
    assert unload.status_code == 200
    states = {e["name"]: e["state"] for e in documented.post("/v2/repository/index", {}).json()}
    assert states["half_plus_two"] == "UNAVAILABLE"
    assert documented.post("/v2/repository/models/half_plus_two/load").status_code == 200
    ready = documented.post("/v2/repository/index", {"ready": True}).json()
    assert "half_plus_two" in {entry["name"] for entry in ready}


# Triton


def simple_body(**extra: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": list(range(16))},
            {"name": "INPUT1", "shape": [1, 16], "datatype": "INT32", "data": [1] * 16},
        ],
        **extra,
    }


def test_triton_simple_in_json(zoo: Zoo) -> None:
    body = simple_body(id="1", outputs=[{"name": "OUTPUT0"}, {"name": "OUTPUT1", "parameters": {}}])
    response = zoo.server.post("/v2/models/simple/infer", body)
    found = outputs(response)
    assert found["OUTPUT0"]["data"] == [number + 1 for number in range(16)]
    assert found["OUTPUT1"]["data"] == [number - 1 for number in range(16)]
    assert found["OUTPUT0"]["shape"] == [1, 16]
    assert found["OUTPUT0"]["datatype"] == "INT32"


def test_triton_simple_in_binary(zoo: Zoo) -> None:
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": [1, 16],
                    "datatype": "INT32",
                    "parameters": {"binary_data_size": 64},
                }
                for name in ("INPUT0", "INPUT1")
            ],
            "outputs": [
                {"name": "OUTPUT0", "parameters": {"binary_data": True}},
                {"name": "OUTPUT1", "parameters": {"binary_data": False}},
            ],
        }
    ).encode()
    blobs = np.arange(16, dtype="<i4").tobytes() + np.ones(16, "<i4").tobytes()
    response = zoo.server.post(
        "/v2/models/simple/versions/1/infer",
        header + blobs,
        headers={
            "Inference-Header-Content-Length": str(len(header)),
            "Content-Type": "application/octet-stream",
        },
    )
    assert response.status_code == 200, response.text
    length = int(response.headers["inference-header-content-length"])
    answer = json.loads(response.content[:length])
    first, second = answer["outputs"]
    assert first["parameters"] == {"binary_data_size": 64}
    assert np.frombuffer(response.content[length:], "<i4").tolist() == list(range(1, 17))
    assert second["data"] == list(range(-1, 15))


def test_triton_binary_extension(documented: Server) -> None:
    header = b"""{
  "model_name" : "mymodel",
  "inputs" : [
    {
      "name" : "input0",
      "shape" : [ 2, 2 ],
      "datatype" : "UINT32",
      "parameters" : {
        "binary_data_size" : 16
      }
    },
    {
      "name" : "input1",
      "shape" : [ 3 ],
      "datatype" : "BOOL",
      "parameters" : {
        "binary_data_size" : 3
      }
    }
  ],
  "outputs" : [
    {
      "name" : "output0",
      "parameters" : {
        "binary_data" : true
      }
    }
  ]
}"""
    body = header + struct.pack("<4I3?", 1, 2, 3, 4, True, False, True)
    response = documented.post(
        "/v2/models/mymodel/infer",
        body,
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        },
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    (output,) = json.loads(response.content[:length])["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("output0", [3, 2], "FP32")
    assert output["parameters"]["binary_data_size"] == 24
    assert np.frombuffer(response.content[length:], "<f4").tolist() == pytest.approx(
        [1.0, 1.1, 2.0, 2.1, 3.0, 3.1]
    )


def test_triton_raw_binary_request(zoo: Zoo) -> None:
    case = zoo.cases["mlp"]
    response = zoo.server.post(
        "/v2/models/mlp/infer",
        case.rows[:1].astype("<f4").tobytes(),
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": "0",
        },
    )
    assert response.status_code == 200, response.text
    length = int(response.headers["inference-header-content-length"])
    scores = np.frombuffer(response.content[length:], "<f4")
    np.testing.assert_allclose(scores, case.expected[0], rtol=1e-5, atol=1e-6)


def test_triton_simple_with_all_outputs_binary(zoo: Zoo) -> None:
    body = simple_body(parameters={"binary_data_output": True})
    response = zoo.server.post("/v2/models/simple/infer", body)
    assert response.status_code == 200
    length = int(response.headers["inference-header-content-length"])
    assert len(response.content) - length == 2 * 64


# TensorFlow Serving


def test_tf_serving_half_plus_two(documented: Server) -> None:
    body = b'{"instances": [1.0, 2.0, 5.0]}'
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = documented.post("/v1/models/half_plus_two:predict", body, headers=headers)
    assert response.json() == {"predictions": [2.5, 3.0, 4.5]}
    response = documented.post("/v1/models/half_plus_two/versions/1:predict", body)
    assert response.json() == {"predictions": [2.5, 3.0, 4.5]}


def test_tf_serving_columnar(documented: Server) -> None:
    body = {"signature_name": "serving_default", "inputs": [1.0, 2.0, 5.0]}
    response = documented.post("/v1/models/half_plus_two:predict", body)
    assert response.json() == {"outputs": [2.5, 3.0, 4.5]}


def test_tf_serving_binary_values(documented: Server) -> None:
    images = [{"b64": base64.b64encode(data).decode()} for data in (b"\x00\xff\x10", b"four")]
    response = documented.post("/v1/models/images:predict", {"instances": images})
    assert response.status_code == 200, response.text
    assert response.json() == {"predictions": [3, 4]}
