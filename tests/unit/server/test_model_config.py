"""Configurations as Triton's extension tells them, in JSON and in gRPC's message."""

from __future__ import annotations

import json

from tritonclient.grpc import model_config_pb2, service_pb2

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.grpc.statistics import config_response
from salver.server.model_config import config_of

PLAIN = ModelMetadata(
    "sklearn",
    (TensorMetadata("x", "FP64", (-1, 4)),),
    (TensorMetadata("y", "INT64", (-1,)),),
)
DECLARED = ModelMetadata(
    "python",
    (),
    (),
    configuration=json.dumps(
        {
            "name": "",
            "platform": "",
            "max_batch_size": 8,
            "default_model_filename": "model.py",
            "version_policy": {"specific": {"versions": [1, 3]}},
            "input": [
                {
                    "name": "X",
                    "data_type": "TYPE_FP32",
                    "dims": [2, 2],
                    "reshape": {"shape": [4]},
                    "optional": True,
                }
            ],
            "output": [
                {"name": "Y", "data_type": "TYPE_INT8", "dims": [3], "label_filename": "l.txt"}
            ],
            "model_transaction_policy": {"decoupled": True},
        }
    ),
)


def message_of(metadata: ModelMetadata) -> model_config_pb2.ModelConfig:
    encoded = config_response(config_of("m", metadata, None))
    return service_pb2.ModelConfigResponse.FromString(encoded).config


def test_a_configuration_that_was_declared_is_told_as_it_was() -> None:
    config = config_of("m", DECLARED, None)
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("m", "python", 8)
    assert config["input"][0]["dims"] == [2, 2]
    assert config["output"][0]["label_filename"] == "l.txt"


def test_grpc_s_message_is_the_one_that_triton_s_client_reads() -> None:
    config = message_of(DECLARED)
    assert (config.name, config.backend, config.max_batch_size) == ("m", "python", 8)
    assert config.default_model_filename == "model.py"
    assert list(config.version_policy.specific.versions) == [1, 3]
    (given,), (made,) = config.input, config.output
    assert (given.name, list(given.dims), list(given.reshape.shape)) == ("X", [2, 2], [4])
    assert given.optional and given.data_type == model_config_pb2.TYPE_FP32
    assert (made.name, list(made.dims), made.label_filename) == ("Y", [3], "l.txt")
    assert config.model_transaction_policy.decoupled


def test_all_versions_are_a_policy_too() -> None:
    metadata = ModelMetadata(
        "python",
        (),
        (),
        configuration=json.dumps(
            json.loads(DECLARED.configuration) | {"version_policy": {"all": {}}}
        ),
    )
    assert message_of(metadata).version_policy.WhichOneof("policy_choice") == "all"


def test_a_model_without_a_configuration_has_one_made_of_its_metadata() -> None:
    config = message_of(PLAIN)
    assert config.version_policy.latest.num_versions == 1
    assert (config.max_batch_size, list(config.input[0].dims)) == (128, [4])
