"""Bundles, as a steps worker answers them: every wire format, chains, feedback, failures."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.local import function_chain
from salver.backends.local.answering import Answerer
from salver.backends.local.function_chain import run_steps
from salver.errors import ErrorKind, InvalidInput, ModelFailed, Unavailable
from salver.protocol.bundle import (
    Invocation,
    MessageHead,
    StepCall,
    StepReply,
    pack,
    unpack_reply,
)
from salver.protocol.frame import ContentCoding, Item
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.operations import WITH_HEADERS, Operation, marked, with_headers
from salver.protocol.seldon_pb2 import Feedback, SeldonMessage
from salver.protocol.wire import ModelIdentity
from salver.protocol.wire_codes import Codec
from salver.runtimes.ports import ModelSource
from salver.runtimes.steps import StepsModel, StepsRuntime
from salver.runtimes.transformer import TransformerRuntime

FILE = """
import numpy as np
from salver.errors import InvalidInput

def double(x):
    return x * 2

def plus(x):
    return x + 1

def add(a, b):
    return a + b

def pair(x):
    return {"p": x, "q": x.sum()}

def positive(x):
    return x.sum() > 0

def moody(x):
    what = int(np.asarray(x).ravel()[0])
    if what == 1: raise ValueError("no luck")
    if what == 2: raise InvalidInput("2 is not taken")
    if what == 3: raise MemoryError
    if what == 4: return object()
    if what == 5: return None
    return x

def wants(x, headers):
    return headers.get("who", "nobody")

class Seldon:
    class_names = ["no", "yes"]
    def predict(self, X, names, meta):
        return np.asarray(X) * 2
    def transform_input(self, X, names, meta):
        self.seen = [names, meta]
        return X
    def transform_output(self, X, names, meta):
        return {"seen": [names, meta.get("tags")]}
    def send_feedback(self, X, names, reward, truth, routing=None):
        values = [np.asarray(X).tolist(), list(names), reward, np.asarray(truth).tolist()]
        self.told = [*values, routing]
    def aggregate(self, Xs, names):
        return sum(Xs)
    def route(self, X):
        return 1
    def tags(self):
        return {"size": np.float64(2)}
    def metrics(self):
        return [{"key": "n", "type": "COUNTER", "value": np.int64(3)}]

class Told(Seldon):
    def send_feedback(self, *args, routing=None):
        super().send_feedback(*args, routing=routing)
        Told.last = self.told

def told(x):
    return repr(Told.last)

class Raw:
    def predict_raw(self, msg):
        if "outputs" in msg or "inputs" in msg:
            return {"outputs": [{"name": "r", "shape": [1], "datatype": "INT64", "data": [7]}]}
        return {"data": {"names": ["r"], "ndarray": [[7]]}, "meta": {"tags": {"raw": True}}}
    def send_feedback_raw(self, msg):
        Told.last = msg
    def transform_input_raw(self, msg):
        return {"nonsense": 1}

class Kinds:
    def predict(self, X):
        return X
"""
FUNCTIONS: dict[str, Any] = {
    **{
        name: {"python": f"f.py:{name}"}
        for name in ("double", "plus", "add", "pair", "positive", "moody", "wants", "told")
    },
    **{name.lower(): {"component": f"f.py:{name}"} for name in ("Seldon", "Told", "Raw", "Kinds")},
    **{name: {"builtin": name} for name in ("average", "identity", "simple_model")},
}
FUNCTIONS["hears"] = FUNCTIONS.pop("told")
FUNCTIONS["last"] = {"python": "f.py:told"}
V1 = {"instances": [[1.0, 2.0]]}
V2 = {
    "id": "a",
    "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}],
}
V2_ANSWER = {
    "model_name": "m",
    "id": "a",
    "outputs": [{"name": "y", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}],
}
SELDON = {"data": {"names": ["a", "b"], "ndarray": [[1.0, 2.0]]}, "meta": {"puid": "p"}}


@pytest.fixture
def model(tmp_path: Path) -> Iterator[StepsModel]:
    (tmp_path / "f.py").write_text(FILE)
    source = ModelSource("unit", tmp_path, "steps", parameters={"functions": FUNCTIONS})
    loaded = StepsRuntime().load(source)
    yield loaded
    loaded.unload()


@pytest.fixture
def worker(model: StepsModel) -> Answerer:
    identity = ModelIdentity("unit", "1", model.metadata)
    return Answerer(model, identity, max_rows=0, max_body_bytes=10_000)


class Sent:
    """A message to send: a JSON value or bytes."""

    def __init__(
        self,
        body: Any,
        codec: Codec = Codec.V2_JSON,
        name: str = "request",
        *,
        aux: int = 0,
        coding: int = 0,
        is_request: bool = True,
    ) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        size = len(self.body)
        self.head = MessageHead(name, int(codec), aux, coding, size, is_request)


def run(
    model: StepsModel, calls: str | list[str], *sent: Sent, method: str = "call", **more: Any
) -> tuple[StepReply, list[bytes]]:
    """Calls functions that are named `function` or `function/method`."""
    call = asked(calls, *sent, method=method, **more)
    return run_steps(model, call, [each.body for each in sent], lambda: False)


def asked(calls: str | list[str], *sent: Sent, method: str = "call", **more: Any) -> StepCall:
    names = [calls] if isinstance(calls, str) else calls
    invocations = []
    for at, each in enumerate(names):
        function, _, own = each.partition("/")
        invocations.append(Invocation(f"s{at}", function, own or method))
    return StepCall(invocations, [each.head for each in sent], **more)


def answer_json(model: StepsModel, calls: str | list[str], *sent: Sent, **more: Any) -> Any:
    reply, bodies = run(model, calls, *sent, **more)
    (head,) = reply.messages
    assert head.size == len(bodies[0])
    return json.loads(bodies[0][: head.aux or None])


# Wire formats.


def test_a_v1_request_gets_a_v1_answer(model: StepsModel) -> None:
    sent = Sent(V1, Codec.V1_JSON)
    assert answer_json(model, "double", sent) == {"predictions": [[2.0, 4.0]]}
    assert answer_json(model, "double", sent, wants="request") == {"instances": [[2.0, 4.0]]}


def test_a_v2_request_gets_an_answer_with_its_id(model: StepsModel) -> None:
    answer = answer_json(model, "double", Sent(V2))
    assert (answer["id"], answer["outputs"][0]["name"]) == ("a", "double")
    assert answer["outputs"][0]["data"] == [2.0, 4.0]
    request = answer_json(model, "double", Sent(V2), wants="request", names=["in"])
    assert (request["id"], request["inputs"][0]["name"]) == ("a", "in")


def test_a_v2_answer_can_be_given_too(model: StepsModel) -> None:
    sent = Sent(V2_ANSWER, is_request=False)
    assert answer_json(model, "double", sent)["outputs"][0]["data"] == [2.0, 4.0]
    request = answer_json(model, "double", sent, wants="request", names=["in"])
    assert request["inputs"][0] == {
        "name": "in",
        "shape": [1, 2],
        "datatype": "FP64",
        "data": [2.0, 4.0],
    }


def test_tensors_without_rows_or_with_different_ones_can_be_given(model: StepsModel) -> None:
    tensors = [
        {"name": "p", "shape": [], "datatype": "FP64", "data": [5.0]},
        {"name": "q", "shape": [3], "datatype": "FP64", "data": [1, 2, 3]},
    ]
    answer = answer_json(model, "identity", Sent({"inputs": tensors}))
    assert [each["shape"] for each in answer["outputs"]] == [[], [3]]


def test_grpc_stays_grpc(model: StepsModel) -> None:
    request = ModelInferRequest(model_name="m", id="g")
    request.inputs.add(name="x", datatype="FP32", shape=[2])
    request.raw_input_contents.append(np.array([1, 2], "<f4").tobytes())
    _, (body,) = run(model, "double", Sent(request.SerializeToString(), Codec.V2_GRPC))
    answer = ModelInferResponse.FromString(body)
    assert (answer.id, answer.outputs[0].datatype) == ("g", "FP32")
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 4]


def test_binary_answers_come_if_they_are_asked_for(model: StepsModel) -> None:
    wanted = V2 | {"parameters": {"binary_data_output": True}}
    reply, (body,) = run(model, "double", Sent(wanted))
    assert np.frombuffer(body[reply.messages[0].aux :], "<f8").tolist() == [2, 4]


@pytest.mark.parametrize("codec", [Codec.V1_JSON, Codec.V2_GRPC, Codec.SELDON_JSON])
def test_the_answer_can_be_wanted_in_another_format(model: StepsModel, codec: Codec) -> None:
    reply, (body,) = run(model, "double", Sent(V2), codec=int(codec))
    assert reply.messages[0].codec == codec
    if codec is Codec.V2_GRPC:
        assert ModelInferResponse.FromString(body).outputs[0].name == "double"
    elif codec is Codec.V1_JSON:
        assert json.loads(body) == {"predictions": [[2.0, 4.0]]}
    else:
        assert json.loads(body)["data"]["ndarray"] == [[2.0, 4.0]]


# Callers that leave.


def test_a_chain_ends_between_two_functions_once_nobody_waits(
    model: StepsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_chain, "_LOOK_S", 0.0)
    call = asked(["double", "double", "double"], Sent(V1, Codec.V1_JSON))
    looks = iter([False, True])
    with pytest.raises(Unavailable, match="step 's2': nobody waits for it any more"):
        run_steps(model, call, [json.dumps(V1).encode()], lambda: next(looks))


def test_a_chain_that_is_quick_does_not_look(
    model: StepsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_chain, "_LOOK_S", 1000.0)
    call = asked(["double", "double"], Sent(V1, Codec.V1_JSON))

    def look() -> bool:
        raise AssertionError("it looked")

    run_steps(model, call, [json.dumps(V1).encode()], look)


# Chains.


def test_a_chain_hands_arrays_on_and_says_how_long_each_took(model: StepsModel) -> None:
    reply, (body,) = run(model, ["double", "plus", "pair"], Sent(V1, Codec.V1_JSON))
    assert json.loads(body) == {"predictions": [{"p": [3.0, 5.0], "q": 8.0}]}
    assert len(reply.seconds) == 3
    assert reply.messages[0].name == "s2"


def test_several_messages_come_by_name_to_the_first(model: StepsModel) -> None:
    one, other = Sent(V1, Codec.V1_JSON, "b"), Sent(V1, Codec.V1_JSON, "a")
    assert answer_json(model, ["add", "double"], one, other) == {"predictions": [[4.0, 8.0]]}
    assert answer_json(model, "average", one, other) == {"predictions": [[1.0, 2.0]]}


def test_what_is_handed_on_whole_is_the_message_as_it_came(model: StepsModel) -> None:
    body = b' {"model_name": "m", "outputs": [], "extra": 1} '
    reply, bodies = run(model, "identity", Sent(body, is_request=False))
    assert bodies == [body]
    assert not reply.messages[0].is_request
    again = answer_json(model, "identity", Sent(V2_ANSWER, is_request=False), names=["z"])
    assert again["outputs"][0]["name"] == "z"


def test_a_chain_may_end_in_a_branch(model: StepsModel) -> None:
    reply, bodies = run(model, ["double", "positive/branch"], Sent(V1, Codec.V1_JSON))
    assert (reply.branch, reply.messages, bodies) == (1, [], [])
    with pytest.raises(ModelFailed, match="step 's0': it answers with no message"):
        run(model, ["positive/branch", "double"], Sent(V1, Codec.V1_JSON))


# Seldon's messages and components.


def test_a_seldon_message_keeps_its_kind_and_its_puid(model: StepsModel) -> None:
    tensor = {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}, "meta": {"puid": "p"}}
    answer = answer_json(model, "seldon/predict", Sent(tensor, Codec.SELDON_JSON))
    assert answer["data"]["names"] == ["no", "yes"]
    assert answer["data"]["tensor"] == {"shape": [1, 2], "values": [2.0, 4.0]}
    assert answer["meta"] == {"puid": "p", "tags": {"size": 2.0}}


def test_tags_and_metrics_are_told_by_step_as_json(model: StepsModel) -> None:
    reply, _ = run(model, "seldon/predict", Sent(SELDON, Codec.SELDON_JSON))
    metric = {"key": "n", "type": "COUNTER", "value": 3}
    assert reply.meta == {"s0": {"tags": {"size": 2.0}, "metrics": [metric]}}
    pack(reply, [b""])


def test_tags_reach_the_components_after(model: StepsModel) -> None:
    calls = ["seldon/transform_input", "seldon/transform_output"]
    answer = answer_json(model, calls, Sent(SELDON, Codec.SELDON_JSON))
    assert answer["jsonData"] == {"seen": [["no", "yes"], {"size": 2.0}]}


def test_seldon_over_grpc_is_the_same(model: StepsModel) -> None:
    request = SeldonMessage()
    request.data.names.extend(["a", "b"])
    request.data.tensor.shape.extend([1, 2])
    request.data.tensor.values.extend([1, 2])
    request.meta.puid = "p"
    _, (body,) = run(model, "seldon/predict", Sent(request.SerializeToString(), Codec.SELDON_GRPC))
    answer = SeldonMessage.FromString(body)
    assert list(answer.data.tensor.values) == [2, 4]
    assert (answer.meta.puid, answer.meta.tags["size"].number_value) == ("p", 2)


@pytest.mark.parametrize(
    "message",
    [
        {"strData": "text"},
        {"jsonData": {"a": [1, {"b": None}]}},
        {"binData": base64.b64encode(b"\x00\xff").decode()},
    ],
)
def test_text_bytes_and_json_come_and_go_as_such(
    model: StepsModel, message: dict[str, Any]
) -> None:
    answer = answer_json(model, "kinds/predict", Sent(message, Codec.SELDON_JSON))
    assert answer == {**message, "meta": {}}


def test_json_has_a_tensor_where_there_is_no_other_place(model: StepsModel) -> None:
    sent = Sent({"jsonData": {"a": 1}}, Codec.SELDON_JSON)
    answer = answer_json(model, "kinds/predict", sent, codec=int(Codec.V2_JSON))
    (tensor,) = answer["outputs"]
    assert (tensor["name"], tensor["data"]) == ("content", ['{"a":1}'])
    answer = answer_json(model, "kinds/predict", sent, codec=int(Codec.V1_JSON))
    assert answer == {"predictions": [{"a": 1}]}


def test_components_take_and_give_v1_and_v2_too(model: StepsModel) -> None:
    sent = Sent(V1, Codec.V1_JSON)
    assert answer_json(model, "seldon/predict", sent) == {"predictions": [[2.0, 4.0]]}
    both = [Sent(V2_ANSWER, name=name, is_request=False) for name in "ab"]
    answer = answer_json(model, "seldon/aggregate", *both)
    assert answer["outputs"][0]["data"] == [2.0, 4.0]


def test_a_raw_method_writes_the_whole_message(model: StepsModel) -> None:
    reply, (body,) = run(model, "raw/predict", Sent(SELDON, Codec.SELDON_JSON))
    assert json.loads(body)["data"] == {"names": ["r"], "ndarray": [[7]]}
    assert reply.meta == {"s0": {"tags": {"raw": True}}}
    assert answer_json(model, "raw/predict", Sent(V2))["outputs"][0]["data"] == [7]
    chained = answer_json(model, ["raw/predict", "double"], Sent(SELDON, Codec.SELDON_JSON))
    assert chained["data"]["ndarray"] == [[14]]
    elsewhere = answer_json(
        model, "raw/predict", Sent(SELDON, Codec.SELDON_JSON), codec=int(Codec.V1_JSON)
    )
    assert elsewhere == {"predictions": [[7]]}
    after = answer_json(model, ["double", "raw/predict"], Sent(SELDON, Codec.SELDON_JSON))
    assert after["data"]["ndarray"] == [[7]]


def test_a_raw_methods_nonsense_names_the_step(model: StepsModel) -> None:
    with pytest.raises(ModelFailed, match=r"step 's0': its answer cannot be written: .*'nonsense'"):
        run(model, "raw/transform_input", Sent(V2), wants="request")


def test_a_route_comes_as_a_branch_with_its_tags(model: StepsModel) -> None:
    reply, bodies = run(model, "seldon/route", Sent(SELDON, Codec.SELDON_JSON))
    assert (reply.branch, bodies, reply.meta["s0"]["tags"]) == (1, [], {"size": 2.0})


# Feedback.


def feedback(**fields: Any) -> dict[str, Any]:
    return {"request": SELDON, "reward": 0.5, "truth": {"data": {"ndarray": [1]}}, **fields}


@pytest.mark.parametrize("codec", [Codec.SELDON_JSON, Codec.SELDON_GRPC])
def test_feedback_reaches_the_component_and_is_answered_with_nothing(
    model: StepsModel, codec: Codec
) -> None:
    body: Any = feedback()
    if codec is Codec.SELDON_GRPC:
        message = Feedback(reward=0.5)
        message.request.data.names.extend(["a", "b"])
        message.request.data.tensor.shape.extend([1, 2])
        message.request.data.tensor.values.extend([1, 2])
        message.truth.data.tensor.shape.append(1)
        message.truth.data.tensor.values.append(1)
        body = message.SerializeToString()
    reply, bodies = run(model, "hears/send_feedback", Sent(body, codec), routing=1)
    assert (reply.messages, bodies) == ([], [])
    assert heard(model) == "[[[1.0, 2.0]], ['a', 'b'], 0.5, [1], 1]"


def heard(model: StepsModel) -> str:
    """What the last feedback was, with whole floats as integers."""
    text = str(answer_json(model, "last", Sent(V1, Codec.V1_JSON))["predictions"][0])
    return text.replace("[1.0], 1]", "[1], 1]")


def test_feedback_may_leave_out_request_and_truth(model: StepsModel) -> None:
    body = {"reward": 1, "response": {"meta": {"routing": {"r": 0}}}, "request": {"meta": {}}}
    run(model, "hears/send_feedback", Sent(body, Codec.SELDON_JSON))
    assert heard(model) == "[[], [], 1.0, [], None]"


def test_raw_feedback_is_the_whole_message(model: StepsModel) -> None:
    run(model, "raw/send_feedback", Sent({"reward": 2.0}, Codec.SELDON_JSON))
    assert heard(model) == "{'reward': 2.0}"
    body = Feedback(reward=2.0).SerializeToString()
    run(model, "raw/send_feedback", Sent(body, Codec.SELDON_GRPC))
    assert heard(model) == "{'reward': 2.0}"


def test_feedback_in_another_format_is_refused(model: StepsModel) -> None:
    with pytest.raises(InvalidInput, match="feedback is taken in Seldon's formats only"):
        run(model, "hears/send_feedback", Sent(V1, Codec.V1_JSON))


def test_health_is_asked_without_a_message(model: StepsModel) -> None:
    codec = int(Codec.SELDON_JSON)
    answer = answer_json(model, "seldon/health_status", codec=codec)
    assert answer["strData"] == "healthy"


# What cannot be read, called or written.


@pytest.mark.parametrize(
    ("sent", "kind", "text"),
    [
        (Sent(b"{"), InvalidInput, r"step 's0' \(function double\): .*not"),
        (Sent(b"{", is_request=False), ModelFailed, r"step 's0' \(function double, input that can"),
        (Sent(V1, Codec.V1_JSON, is_request=False), ModelFailed, "neither 'predictions' nor"),
    ],
)
def test_a_message_that_cannot_be_read_names_the_step(
    model: StepsModel, sent: Sent, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        run(model, "double", sent)


def test_odd_bundles_are_refused(model: StepsModel) -> None:
    with pytest.raises(InvalidInput, match="calls no function"):
        run(model, [], Sent(V1, Codec.V1_JSON))
    odd = Sent(V1)
    odd.head.codec = 77
    with pytest.raises(InvalidInput, match="unknown codec 77"):
        run(model, "double", odd)
    with pytest.raises(InvalidInput, match="unknown codec 77"):
        run(model, "double", Sent(V1, Codec.V1_JSON), codec=77)


# As items of a batch.


def item(call: StepCall, *sent: Sent, bits: int = 0) -> Item:
    tag = marked(int(Codec.V1_JSON), Operation.STEP) | bits
    return Item(tag, 0, pack(call, [each.body for each in sent]))


def moody(value: int) -> Item:
    sent = Sent({"instances": [[value]]}, Codec.V1_JSON)
    return item(asked("moody", sent), sent)


def text_of(answer: Item) -> str:
    return bytes(answer.body).decode()


def test_items_of_a_batch_fail_by_themselves(
    worker: Answerer, caplog: pytest.LogCaptureFixture
) -> None:
    answers = worker.answer([moody(9), moody(1), moody(2), moody(4), moody(5), moody(9)])
    assert [each.tag for each in answers.items] == [
        ErrorKind.OK,
        ErrorKind.MODEL_FAILED,
        ErrorKind.INVALID_INPUT,
        ErrorKind.MODEL_FAILED,
        ErrorKind.MODEL_FAILED,
        ErrorKind.OK,
    ]
    _, bodies = unpack_reply(answers.items[5].body)
    assert json.loads(bytes(bodies[0])) == {"predictions": [[9]]}
    assert text_of(answers.items[1]) == (
        "step 's0' (function moody, input [1, 1] INT64): ValueError: no luck"
    )
    assert text_of(answers.items[2]) == "step 's0' (function moody): 2 is not taken"
    assert "holds object values" in text_of(answers.items[3])
    assert not answers.must_recycle
    assert answers.runs == 6
    (record,) = [each for each in caplog.records if each.exc_info]
    assert "no luck" in record.getMessage()


def test_a_worker_without_memory_is_recycled(worker: Answerer) -> None:
    answers = worker.answer([moody(3), moody(9)])
    assert answers.must_recycle
    assert "ran out of memory" in text_of(answers.items[0])
    assert answers.items[1].tag == ErrorKind.OK


def test_messages_may_be_compressed_and_headers_go_in_front(worker: Answerer) -> None:
    body = gzip.compress(json.dumps(V1).encode())
    sent = Sent(body, Codec.V1_JSON, coding=int(ContentCoding.GZIP))
    answer = worker.answer([item(asked("double", sent), sent)]).items[0]
    _, bodies = unpack_reply(answer.body)
    assert json.loads(bytes(bodies[0])) == {"predictions": [[2.0, 4.0]]}
    plain = Sent(V1, Codec.V1_JSON)
    bundle = pack(asked("wants", plain), [plain.body])
    tag = marked(int(Codec.V1_JSON), Operation.STEP) | WITH_HEADERS
    answer = worker.answer([Item(tag, 0, with_headers([(b"who", b"me")], bundle))]).items[0]
    _, bodies = unpack_reply(answer.body)
    assert json.loads(bytes(bodies[0])) == {"predictions": ["me"]}


def test_a_bundle_that_is_none_is_the_callers_fault(worker: Answerer) -> None:
    tag = marked(int(Codec.V1_JSON), Operation.STEP)
    answer = worker.answer([Item(tag, 0, b"\x01")]).items[0]
    assert answer.tag == ErrorKind.INVALID_INPUT
    assert text_of(answer).startswith("model 'unit': the step's body is too short")


@pytest.mark.parametrize("operation", [Operation.PREPROCESS, Operation.FEEDBACK])
def test_a_steps_worker_is_asked_for_nothing_else(worker: Answerer, operation: Operation) -> None:
    answers = worker.answer([Item(marked(int(Codec.V1_JSON), operation), 0, b"{}")])
    assert answers.items[0].tag == ErrorKind.UNSUPPORTED
    body = json.dumps(V1).encode()
    answer = worker.answer([Item(int(Codec.V1_JSON), 0, body)]).items[0]
    assert answer.tag == ErrorKind.UNSUPPORTED


def test_a_transformer_is_not_asked_for_steps(tmp_path: Path) -> None:
    path = tmp_path / "t.py"
    path.write_text("class T:\n    def preprocess(self, payload):\n        return payload\n")
    model = TransformerRuntime().load(ModelSource("iris", path, "transformer", "T"))
    identity = ModelIdentity("iris", "1", model.metadata)
    other = Answerer(model, identity, max_rows=0, max_body_bytes=1 << 20)
    sent = Sent(V1, Codec.V1_JSON)
    answer = other.answer([item(asked("double", sent), sent)]).items[0]
    assert answer.tag == ErrorKind.UNSUPPORTED
