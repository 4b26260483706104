"""Graphs that are wrong, or go wrong: what each dialect and protocol tells; all else goes on.

What is refused names the path in the graph; what fails at run time names the step, what it was
given and why, in the protocol's own form. Then the same graph answers as before.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
import yaml

from salver.protocol import inference_pb2 as pb
from salver.protocol import seldon_pb2
from tests.e2e.faulty_graphs import (
    MINE,
    MODEL,
    MODELS,
    REFUSED,
    SIMPLE,
    STEPS,
    TO_B,
    Json,
    graphs,
    knots,
    model,
    native,
    pipeline,
    place,
    predictors,
    renamed,
)
from tests.e2e.server import Server, command, environment, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph-errors")
    (folder / "steps.py").write_text(STEPS)
    for name, (shape, datatype, dtype) in MODELS.items():
        (folder / name).mkdir()
        text = MODEL.format(shape=shape, datatype=datatype, dtype=dtype)
        (folder / name / "model.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    objects = [*(model(each, folder) for each in MODELS), *graphs(folder)]
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    state = ("--state-dir", str(folder / "state"), "--max-body-size", "64KiB")
    with serving("-f", str(folder / "all.yaml"), *state) as running:
        for each in objects:
            wait_ready(running, each["kind"], each["metadata"]["name"])
        yield running


def conditions(server: Server, kind: str, name: str) -> dict[str, Json]:
    status = server.get(place(kind, name)).json().get("status") or {}
    return {each["type"]: each for each in status.get("conditions", [])}


def wait_ready(server: Server, kind: str, name: str) -> None:
    def is_ready() -> bool:
        return conditions(server, kind, name).get("Ready", {}).get("status") == "True"

    wait_until(is_ready, 60)


# At apply.


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_cannot_work_is_refused_with_the_path_in_it(server: Server, name: str) -> None:
    obj, field, says = REFUSED[name]
    answer = server.post(place(obj["kind"]), obj)
    assert answer.status_code == 422, answer.text
    status = answer.json()
    assert (status["kind"], status["reason"]) == ("Status", "Invalid")
    causes = {each["field"]: each["message"] for each in status["details"]["causes"]}
    assert says in causes[field], causes
    assert f"{field}: {causes[field]}" in status["message"]
    assert server.get(place(obj["kind"], name)).status_code == 404
    assert server.get(f"/v2/models/{name}/ready").status_code == 404


def test_apply_says_of_all_of_them_where_they_are_wrong_and_applies_none(
    server: Server, folder: Path
) -> None:
    path = folder / "refused.yaml"
    path.write_text(
        yaml.safe_dump_all([native("fine", MINE), *(each[0] for each in REFUSED.values())])
    )
    done = subprocess.run(
        command("apply", "-f", str(path), "--server", server.url),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for obj, field, says in REFUSED.values():
        assert any(f"{field}: " in each and says in each for each in lines), (obj, done.stderr)
    assert all(each.startswith(("salver: ", str(path))) for each in lines), done.stderr
    assert "Traceback" not in done.stderr
    assert server.get(place("Graph", "fine")).status_code == 404


BROKEN = {
    "ways": {"steps": [{**MINE, "inputs": ["mien"]}]},
    "knots-gone": knots("x", root=("Sequence", [TO_B]))["spec"],
    "deployed": predictors("x", SIMPLE, SIMPLE, traffic=(50, 40))["spec"],
    "line-gone": pipeline("x", renamed("dobule", "double"), output=["double"])["spec"],
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Graph", "ways"),
        ("InferenceGraph", "knots-gone"),
        ("SeldonDeployment", "deployed"),
        ("Pipeline", "line-gone"),
    ],
)
def test_a_change_that_is_refused_leaves_the_former_graph(
    server: Server, kind: str, name: str
) -> None:
    before = server.get(place(kind, name)).json()
    answer = server.put(place(kind, name), {**before, "spec": BROKEN[name]})
    assert answer.status_code == 422, answer.text
    assert server.get(place(kind, name)).json() == before
    assert infer(server, name, 1).status_code == 200


MISFITS = {
    "datatype": ("narrow", "double", "narrow.outputs.y -> double: the tensor is FP32, the step"),
    "shape": ("wide", "double", "the tensor has shape [-1, 3], the step takes [-1, 2] as 'x'"),
}


@pytest.mark.parametrize("kind", ["Graph", "Pipeline"])
@pytest.mark.parametrize("what", MISFITS)
def test_edges_that_do_not_fit_by_metadata_are_told_and_the_former_graph_goes_on(
    server: Server, kind: str, what: str
) -> None:
    source, target, says = MISFITS[what]
    name = f"{kind.lower()}-{what}"

    def chain(source: str, target: str) -> Json:
        if kind == "Pipeline":
            return pipeline(name, {"name": source}, renamed(source, target), output=[target])
        second = {"name": target, "model": target, "inputs": [f"{source}.y as x"]}
        return native(name, {"name": source, "model": source}, second)

    fits = chain("double", "gone")
    assert server.post(place(kind), fits).status_code == 201
    wait_ready(server, kind, name)
    found = server.get(place(kind, name)).json()
    changed = {**found, "spec": chain(source, target)["spec"]}
    assert server.put(place(kind, name), changed).status_code == 200

    def told() -> str:
        return str(conditions(server, kind, name))

    wait_until(lambda: says in told(), 20)
    assert "spec.steps[1]" in told()
    answer = infer(server, name, 1)
    assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [4.0, 8.0])
    server.delete(place(kind, name))


# At run time.


def v2(number: float) -> Json:
    data = [number, 2.0]
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": data}]}


def infer(server: Server, name: str, number: float) -> httpx.Response:
    return server.post(f"/v2/models/{name}/infer", v2(number))


class Told(NamedTuple):
    """An error as a protocol tells it: its code, and its text."""

    code: Any
    text: str


def over_v1(server: Server, name: str, number: float) -> Told:
    answer = server.post(f"/v1/models/{name}:predict", {"instances": [[number, 2.0]]})
    assert list(answer.json()) == ["error"], answer.text
    return Told(answer.status_code, answer.json()["error"])


def over_v2(server: Server, name: str, number: float) -> Told:
    answer = infer(server, name, number)
    assert list(answer.json()) == ["error"], answer.text
    return Told(answer.status_code, answer.json()["error"])


def over_grpc(server: Server, name: str, number: float) -> Told:
    request = pb.ModelInferRequest(model_name=name)
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 2])
    tensor.contents.fp64_contents.extend([number, 2.0])
    return refused(server, "/inference.GRPCInferenceService/ModelInfer", request)


def over_seldon(server: Server, name: str, number: float) -> Told:
    path = f"/seldon/default/{name}/api/v1.0/predictions"
    answer = server.post(path, {"data": {"ndarray": [[number, 2.0]]}})
    status = answer.json()["status"]
    assert status["status"] == "FAILURE"
    assert status["code"] in (-1, answer.status_code)
    return Told(answer.status_code, status["info"])


def over_seldon_grpc(server: Server, name: str, number: float) -> Told:
    tensor = seldon_pb2.Tensor(shape=[1, 2], values=[number, 2.0])
    message = seldon_pb2.SeldonMessage(data=seldon_pb2.DefaultData(tensor=tensor))
    return refused(server, "/seldon.protos.Seldon/Predict", message, ("seldon", name))


def refused(server: Server, method: str, message: Any, *metadata: tuple[str, str]) -> Told:
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as error:
            ask(message.SerializeToString(), timeout=20, metadata=metadata)
    return Told(error.value.code().name, error.value.details())


PROTOCOLS = {
    "V1": over_v1,
    "V2": over_v2,
    "V2 gRPC": over_grpc,
    "Seldon": over_seldon,
    "Seldon gRPC": over_seldon_grpc,
}
CODES = {
    "invalid": (400, "INVALID_ARGUMENT"),
    "failed": (500, "INTERNAL"),
    "late": (504, "DEADLINE_EXCEEDED"),
}
NO_BRANCH = "which is no branch: return a truth value or a whole number"
FAILURES = [
    (2, "failed", "pick", "branch 7"),
    (3, "failed", "pick", "branch -3"),
    (4, "failed", "pick", f"it returned nan, {NO_BRANCH}"),
    (5, "failed", "pick", f"it returned 'left', {NO_BRANCH}"),
    (6, "failed", "pick", "it returned nothing; return a truth value or the number of a branch"),
    (7, "failed", "pick", "its 2 rows disagree about the branch ([0, 1])"),
    (8, "failed", "pick", f"it returned 2.5, {NO_BRANCH}"),
    (9, "failed", "left", "ValueError: unlucky"),
    (10, "late", "left", "time limit"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["ways", "deployed"])
@pytest.mark.parametrize(("number", "kind", "step", "says"), FAILURES)
def test_a_step_that_fails_is_named_with_what_it_was_given_and_why(
    server: Server, protocol: str, name: str, number: int, kind: str, step: str, says: str
) -> None:
    told = PROTOCOLS[protocol](server, name, number)
    assert told.code == CODES[kind]["gRPC" in protocol], told
    assert f"step '{step}'" in told.text
    assert says in told.text
    assert "[1, 2]" in told.text
    assert "\n" not in told.text
    assert infer(server, name, 1).json()["outputs"][0]["data"] == [2.0, 4.0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_tensor_that_is_missing_is_named_with_its_step(server: Server, protocol: str) -> None:
    told = PROTOCOLS[protocol](server, "tensors", 11)
    assert told.code == CODES["invalid"]["gRPC" in protocol], told
    assert "step 'parts' has no tensor 'high' (it has " in told.text
    assert infer(server, "tensors", 1).status_code == 200


UNMATCHED = "step 'choice': none of the conditions holds for the message"


@pytest.mark.parametrize("path", ["/v1/models/choices:predict", "/v2/models/choices/infer"])
def test_a_request_that_no_branch_takes_is_told_so(server: Server, path: str) -> None:
    told = server.post(path, {"instances": [3.0], **v2(3)})
    assert told.status_code == 404
    assert told.json() == {"error": UNMATCHED}
    assert over_grpc(server, "choices", 3) == ("NOT_FOUND", UNMATCHED)


@pytest.fixture
def deleted(server: Server, folder: Path) -> Iterator[None]:
    """The model `gone` is not there meanwhile."""
    assert server.delete(place("Model", "gone")).status_code == 200
    wait_until(lambda: all(infer(server, each, 1).status_code != 200 for each in ASK_GONE), 20)
    yield
    assert server.post(place("Model"), model("gone", folder)).status_code == 201
    wait_until(lambda: all(infer(server, each, 1).status_code == 200 for each in ASK_GONE), 20)


ASK_GONE = {"native-gone": "asks", "knots-gone": "root.gone", "line-gone": "gone"}


@pytest.mark.usefixtures("deleted")
def test_a_model_that_is_deleted_meanwhile_is_missed_by_name(server: Server) -> None:
    for name, step in ASK_GONE.items():
        for protocol in ("V1", "V2", "V2 gRPC"):
            if (name, protocol) == ("line-gone", "V1"):
                continue  # V1 does not name tensors, and its edges do.
            told = PROTOCOLS[protocol](server, name, 1)
            assert told.code in (404, 503, "NOT_FOUND", "UNAVAILABLE"), told
            assert f"step '{step}'" in told.text, told
            assert "'gone'" in told.text
    assert infer(server, "ways", 1).status_code == 200


PATHS = {
    "ways": ("/v1/models/ways:predict", "/v2/models/ways/infer"),
    "deployed": ("/seldon/default/deployed/api/v1.0/predictions", "/v2/models/deployed/infer"),
    "knots-gone": ("/serving/default/knots-gone", "/v1/models/knots-gone:predict"),
    "line-gone": ("/v2/models/line-gone/infer",),
}


@pytest.mark.parametrize("path", [each for paths in PATHS.values() for each in paths])
def test_what_is_no_request_or_too_large_is_refused_and_no_step_asked(
    server: Server, path: str
) -> None:
    for body, code in (
        (b'{"instances": [[1, 2', 400),
        (b"", 400),
        (b"[1, 2]", 400),
        (b'{"instances": [' + b"1," * 40_000 + b"1]}", 413),
    ):
        answer = server.post(path, body)
        assert answer.status_code == code, (body[:20], answer.text)
        found = answer.json()
        text = found["status"]["info"] if "status" in found else found["error"]
        assert text and "\n" not in text
    name = next(each for each, paths in PATHS.items() if path in paths)
    assert infer(server, name, 1).status_code == 200


def test_the_server_has_logged_no_exception_but_the_steps_own(server: Server) -> None:
    lines = [json.loads(each) for each in server.log.read_text().splitlines() if each[:1] == "{"]
    raised = [each for each in lines if "Traceback" in json.dumps(each)]
    assert [each for each in raised if "ValueError: unlucky" not in each["event"]] == []
