"""`salver pipeline inspect`: messages on edges, decoded."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from tests.admin_api import AdminApi
from tests.unit.cli.conftest import NOW_S, Run

from salver.protocol.wire_codes import Codec

JSON_BODY = (
    b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"INT32","data":[[1,2,3]]},'
    b'{"name":"y","shape":[1],"datatype":"BYTES","data":["a"]}]}'
)
BINARY_HEAD = (
    b'{"outputs":[{"name":"OUTPUT0","shape":[2],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":8}}]}'
)


def message(
    body: bytes, *, codec: Codec = Codec.V2_JSON, aux: int = 0, is_request: bool = True, **more: Any
) -> dict[str, Any]:
    part = {
        "codec": int(codec),
        "aux": aux,
        "coding": 0,
        "isRequest": is_request,
        "status": 200,
        "body": base64.b64encode(body).decode(),
    }
    return {"time": NOW_S - 3, "runId": "run", "size": len(body), "parts": [part], **more}


def topic(place: str, step: str, end: str, *messages: dict[str, Any]) -> dict[str, Any]:
    name = f"seldon.default.{place}.{end}"
    return {"name": name, "step": step, "end": end, "seen": 1, "messages": list(messages)}


@pytest.fixture
def edges(api: AdminApi) -> None:
    binary = message(
        BINARY_HEAD + struct.pack("<2f", 1.5, 2), aux=len(BINARY_HEAD), is_request=False
    )
    failed = {"time": NOW_S, "runId": "run", "size": 0, "parts": [], "step": "a", "error": "no"}
    body = {
        "graph": "chain",
        "steps": ["a"],
        "topics": [
            topic("pipeline.chain", "", "inputs", message(JSON_BODY), message(JSON_BODY)),
            topic("model.a", "a", "inputs", message(b'{"instances":[1]}', codec=Codec.V1_JSON)),
            topic("model.a", "a", "outputs", binary),
            topic("errors", "", "errors", failed),
        ],
    }
    page = ("application/json", json.dumps(body).encode())
    api.pages["/salver/v1/graphs/default/chain/edges"] = page


@pytest.mark.usefixtures("edges")
def test_the_last_message_of_each_edge_is_shown_as_tensors(run: Run) -> None:
    done = run("pipeline", "inspect", "chain")
    assert done.code == 0
    assert done.out.splitlines() == [
        "seldon.default.pipeline.chain.inputs  run  3s ago",
        "  x INT32 [1, 3]  1 2 3",
        '  y BYTES [1]  "a"',
        "seldon.default.model.a.inputs  run  3s ago",
        '  {"instances": [1]}',
        "seldon.default.model.a.outputs  run  3s ago",
        "  OUTPUT0 FP32 [2]  1.5 2",
        "seldon.default.errors.errors  run  0s ago",
        "  a: no",
    ]


@pytest.mark.usefixtures("edges")
def test_more_of_them_and_one_tensor_alone(run: Run) -> None:
    done = run("pipeline", "inspect", "chain.inputs.x", "--last", "5", "-o", "raw")
    value = '{"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 3], "data": [[1, 2, 3]]}]}'
    assert done.out == f"seldon.default.pipeline.chain.inputs\trun\t{value}\n" * 2


@pytest.mark.usefixtures("edges")
def test_json_is_laid_out_as_seldon_lays_it_out(run: Run) -> None:
    done = run("pipeline", "inspect", "chain.a.outputs", "-o", "json")
    (found,) = json.loads(done.out)["topics"]
    assert found["name"] == "seldon.default.model.a.outputs"
    assert found["msgs"][0]["key"] == "run"
    assert found["msgs"][0]["value"]["outputs"][0]["data"] == [1.5, 2.0]


@pytest.mark.usefixtures("edges")
def test_a_request_may_be_asked_for(run: Run) -> None:
    done = run("pipeline", "inspect", "chain", "--request-id", "other")
    assert (done.out, done.err) == ("", "No messages yet: send the pipeline a request.\n")


@pytest.mark.usefixtures("edges")
def test_an_unknown_step_and_an_unknown_pipeline_are_named(run: Run) -> None:
    done = run("pipeline", "inspect", "chain.b.outputs")
    assert (done.code, done.err) == (1, "salver: 'chain' has no step 'b': it has a\n")
    assert run("pipeline", "inspect", "other").code == 1
