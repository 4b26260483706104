import json
import shlex

import msgspec
import pytest

from salver.cli.banner import (
    ModelFacts,
    PoolFacts,
    ServerFacts,
    ServiceFacts,
    as_text,
    curl_line,
    http_url,
    log_fields,
    service_fields,
)
from salver.inference.metadata import ModelMetadata, TensorMetadata

IRIS = ModelMetadata(
    platform="sklearn",
    inputs=(TensorMetadata("input-0", "FP64", (-1, 4)),),
    outputs=(TensorMetadata("predict", "INT64", (-1,)),),
    framework_version="1.9.1",
)
SERVED = ModelFacts("iris", "1", "sklearn", IRIS, load_s=0.061)
FAILED = ModelFacts("churn", "1", "onnx", None, failure="churn.onnx is truncated")
UP = ServerFacts((SERVED,), "127.0.0.1", 8080, 8081)


def test_the_banner_says_what_is_served_and_where() -> None:
    assert as_text(UP).splitlines()[:10] == [
        "",
        "  model  version  runtime        inputs",
        "  iris   1        sklearn 1.9.1  input-0 FP64[*, 4]  loaded in 0.06 s",
        "",
        "  http     http://127.0.0.1:8080",
        "  grpc     127.0.0.1:8081",
        "  docs     http://127.0.0.1:8080/docs",
        "  metrics  http://127.0.0.1:8080/metrics",
        "",
        "Try it:",
    ]


def test_a_model_that_failed_shows_why() -> None:
    facts = msgspec.structs.replace(UP, models=(FAILED, SERVED))
    assert "  churn  1        onnx" in as_text(facts)
    assert "FAILED: churn.onnx is truncated" in as_text(facts)
    assert "/v2/models/iris/infer" in curl_line(facts)


def test_without_grpc_no_grpc_address_is_shown() -> None:
    assert "grpc" not in as_text(msgspec.structs.replace(UP, grpc_port=-1))


def test_many_inputs_are_cut_short() -> None:
    inputs = tuple(TensorMetadata(f"x{i}", "FP32", (-1, 1)) for i in range(9))
    wide = msgspec.structs.replace(IRIS, inputs=inputs)
    facts = msgspec.structs.replace(UP, models=(ModelFacts("m", "1", "onnx", wide),))
    assert "x2 FP32[*, 1] and 6 more" in as_text(facts)


def test_an_input_of_unknown_shape_shows_its_datatype_alone() -> None:
    loose = msgspec.structs.replace(IRIS, inputs=(TensorMetadata("x", "FP64", (), any_shape=True),))
    facts = msgspec.structs.replace(UP, models=(ModelFacts("m", "1", "python", loose),))
    assert "x FP64  loaded" in as_text(facts)


def test_the_curl_line_is_one_shell_command_with_a_fitting_body() -> None:
    words = shlex.split(curl_line(UP))
    assert words[0] == "curl"
    body = json.loads(words[words.index("-d") + 1])
    assert body["inputs"][0]["shape"] == [1, 4]
    assert len(body["inputs"][0]["data"]) == 4


def test_the_curl_line_trusts_the_certificate_in_use() -> None:
    facts = msgspec.structs.replace(UP, tls_cert="my cert.pem")
    assert curl_line(facts).startswith("curl --cacert 'my cert.pem' https://127.0.0.1:8080/")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("localhost", "http://localhost:8080"),
    ],
)
def test_the_url_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert http_url(msgspec.structs.replace(UP, host=host)) == url


def test_the_log_line_carries_the_same_facts() -> None:
    fields = json.loads(
        json.dumps(log_fields(msgspec.structs.replace(UP, models=(SERVED, FAILED))))
    )
    assert fields["http"] == "http://127.0.0.1:8080"
    assert fields["grpc"] == "127.0.0.1:8081"
    assert fields["models"] == [
        {"name": "iris", "version": "1", "runtime": "sklearn 1.9.1", "load_s": 0.061},
        {"name": "churn", "version": "1", "runtime": "onnx", "failure": "churn.onnx is truncated"},
    ]
    assert fields["try"] == curl_line(UP)


URL = "http://127.0.0.1:8080/serving/default/iris"
SERVICE = ServiceFacts("iris", "default", True, URL, metadata=IRIS)
WAITING = ServiceFacts("fraud", "shop", False, why="ModelLoadFailed: no weights")


def test_services_are_listed_with_their_address_or_why_they_have_none() -> None:
    facts = msgspec.structs.replace(UP, models=(), services=(WAITING, SERVICE))
    assert as_text(facts).splitlines()[1:4] == [
        "  service     ready  url",
        "  shop/fraud  no     ModelLoadFailed: no weights",
        f"  iris        yes    {URL}",
    ]
    assert curl_line(facts).startswith(f"curl {URL}/v2/models/iris/infer -d ")
    assert service_fields(facts)["services"][0]["why"] == "ModelLoadFailed: no weights"


def test_many_services_are_cut_short() -> None:
    facts = msgspec.structs.replace(UP, services=(SERVICE,) * 25)
    assert "  and 5 more: salver get inferenceservices -A" in as_text(facts)


def test_pooled_models_are_counted_and_one_can_be_tried() -> None:
    pool = PoolFacts(2000, "m-0001", 1 << 30)
    facts = msgspec.structs.replace(UP, models=(), pool=pool)
    assert as_text(facts).splitlines()[1] == (
        "  2,000 models, loaded on the first request, within 1,024 MiB; one of them is m-0001"
    )
    assert curl_line(facts) == "curl http://127.0.0.1:8080/v2/models/m-0001"


def test_a_server_without_models_says_how_to_declare_some() -> None:
    text = as_text(msgspec.structs.replace(UP, models=()))
    assert "    salver apply -f service.yaml" in text
    assert "Try it" not in text
    elsewhere = as_text(msgspec.structs.replace(UP, models=(), http_port=9000))
    assert "salver apply --server http://127.0.0.1:9000 -f service.yaml" in elsewhere
