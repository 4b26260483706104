"""Predictors of a SeldonDeployment: their shares, a shadow, and what components say."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from salver.protocol import inference_pb2
from salver.protocol import seldon_pb2 as pb
from tests.e2e.server import Server, serving, wait_until
from tests.e2e.test_components import Sink
from tests.e2e.test_seldon_deployments import deployment, feed_back, predict, program, state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

COMPONENTS = Path(__file__).parent / "seldon_components.py"
SHARES = {"most": 60, "some": 30, "few": 10}
ROW = [[1.0, 2.0]]


def predictor(name: str, kind: str = "Model", **more: Any) -> dict[str, Any]:
    parameters = [{"name": "label", "value": name, "type": "STRING"}]
    if more.pop("is_ill", False):
        parameters.append({"name": "factor", "value": "-1", "type": "FLOAT"})
    graph = {"name": f"m-{name}", "type": "MODEL", "parameters": parameters}
    if kind == "Slow":
        graph.pop("parameters")
    place = {f"salver.dev/class.m-{name}": f"{COMPONENTS}:{kind}"}
    return {"name": name, "graph": graph, "annotations": place, **more}


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    found = Sink()
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("predictors")
    pod = {"spec": {"containers": [program("m")]}}
    mean = {
        "name": "mean",
        "implementation": "AVERAGE_COMBINER",
        "children": [{"name": "m", "type": "MODEL"}],
    }
    logged = predictor("logged")
    logged["graph"]["logger"] = {"url": sink.url, "mode": "all"}
    objects = [
        deployment("logged", logged),
        deployment(
            "shares", *(predictor(name, traffic=percent) for name, percent in SHARES.items())
        ),
        deployment("shadowed", predictor("main"), predictor("dark", "Slow", shadow=True)),
        deployment("ill", predictor("ill", is_ill=True)),
        deployment("program", {"name": "p", "graph": mean, "componentSpecs": [pod]}),
    ]
    path = folder / "deployments.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    with serving("-f", str(path), "--state-dir", str(folder / "state")) as running:
        names = [each["metadata"]["name"] for each in objects]
        wait_until(lambda: all(state(running, each) == "Available" for each in names), 60)
        yield running


def test_predictors_get_their_shares_and_are_counted_apart(server: Server) -> None:
    asked = 400
    counts: Counter[str] = Counter()
    with httpx.Client(base_url=server.url) as client:
        for _ in range(asked):
            path = "/seldon/default/shares/api/v1.0/predictions"
            answer = client.post(path, json={"data": {"ndarray": ROW}}).json()
            counts[answer["data"]["names"][0].removesuffix("_a")] += 1
    for name, percent in SHARES.items():
        share = percent / 100
        slack = 5 * math.sqrt(asked * share * (1 - share))
        assert abs(counts[name] - asked * share) < slack, counts
        of = {"graph": "default/shares", "variant": name}
        assert server.metric("salver_graph_requests_total", **of) == counts[name]


def test_a_shadow_is_asked_and_neither_delays_nor_fails_the_answer(server: Server) -> None:
    asked = 20
    began_s = time.monotonic()
    for _ in range(asked):
        assert predict(server, "shadowed", ROW)["data"]["names"] == ["main_a", "main_b"]
    assert time.monotonic() - began_s < asked * 0.2 / 2
    of = {"graph": "default/shadowed", "variant": "dark"}
    wait_until(lambda: server.metric("salver_graph_request_errors_total", **of) == asked, 30)
    assert server.metric("salver_graph_requests_total", **of) == asked
    main = {"graph": "default/shadowed", "variant": "main"}
    assert server.metric("salver_graph_request_errors_total", **main) == 0


def test_what_a_component_reports_is_on_metrics(server: Server) -> None:
    of = {
        "namespace": "default",
        "deployment_name": "shadowed",
        "predictor_name": "main",
        "model_name": "m-main",
    }
    before = server.metric("main_time_ms_count", **of)
    answer = predict(server, "shadowed", ROW)
    assert {each["key"] for each in answer["meta"]["metrics"]} == {"main_reward", "main_time_ms"}
    assert server.metric("main_time_ms_count", **of) == before + 1
    assert server.metric("main_time_ms_sum", **of) == pytest.approx((before + 1) * 0.0015)
    reward = server.metric("main_reward", **of)
    feed_back(server, "shadowed", ROW, answer, 2.5)
    assert server.metric("main_reward", **of) == reward + 2.5


def test_a_component_s_own_health_and_metadata_are_told(server: Server) -> None:
    place = "/seldon/default/shadowed/api/v1.0"
    for path in ("/status/m-main", "/health/status"):
        assert server.get(place + path).status_code == 200
    assert server.get(f"{place}/status/m-main").json()["strData"] == "main is well"
    told = server.get(f"{place}/metadata/m-main").json()
    assert (told["name"], told["versions"]) == ("main", ["v7"])
    assert told["inputs"][0]["schema"] == {"names": ["a", "b"], "shape": [2]}
    assert server.get(f"{place}/metadata").json()["models"]["m-main"] == told
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/seldon.protos.Seldon/ModelMetadata")
        request = pb.SeldonModelMetadataRequest(name="m-main").SerializeToString()
        metadata = (("seldon", "shadowed"), ("namespace", "default"))
        message = pb.SeldonModelMetadata.FromString(ask(request, timeout=20, metadata=metadata))
    assert (message.name, dict(message.custom)) == ("main", {"by": "us"})
    names = message.inputs[0].schema.struct_value["names"]
    assert list(names) == ["a", "b"]


def test_a_component_that_is_not_well_says_so(server: Server) -> None:
    answer = server.get("/seldon/default/ill/api/v1.0/status/m-ill")
    assert answer.status_code == 500
    assert "feeling negative" in answer.json()["status"]["info"]


def test_payloads_of_a_deployment_are_logged(server: Server, sink: Sink) -> None:
    answer = predict(server, "logged", ROW)
    wait_until(lambda: len(sink.of("logged")) == 2)
    bodies = {headers["ce-type"].rsplit(".", 1)[1]: body for headers, body in sink.of("logged")}
    assert json.loads(bodies["request"]) == {"data": {"ndarray": ROW}}
    assert json.loads(bodies["response"])["data"] == answer["data"]


def test_a_node_that_is_a_program_says_over_v2_grpc_what_it_speaks(server: Server) -> None:
    request = inference_pb2.ModelInferRequest(model_name="program")
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 1])
    tensor.contents.fp64_contents.append(3)
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            ask(request.SerializeToString(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "step 'm'" in refused.value.details()
    assert "speaks Seldon's protocol in JSON" in refused.value.details()


def test_programs_and_ready_made_nodes_are_well_without_saying_more(server: Server) -> None:
    place = "/seldon/default/program/api/v1.0"
    for node in ("m", "mean"):
        assert server.get(f"{place}/status/{node}").status_code == 200
        told = server.get(f"{place}/metadata/{node}")
        assert told.status_code == 200, told.text
        assert told.json()["name"] == node
