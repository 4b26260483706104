"""The meta of Seldon messages: merged without touching the data, read as protobuf reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput, ModelFailed
from salver.protocol.seldon_meta import (
    SeldonFacts,
    branch_message,
    empty_message,
    finish,
    messages_of_list,
    meta_of,
    puid_of,
    read_feedback,
)
from salver.protocol.seldon_pb2 import Feedback, Meta, SeldonMessage, SeldonMessageList
from salver.protocol.wire_codes import Codec

FACTS = SeldonFacts(
    "p",
    {"router": 1, "other": -1},
    {"model": "image:1"},
    {"a": [1.5, "x", None, {"b": True}]},
    [{"key": "k", "type": "GAUGE", "value": 2.5, "tags": {"t": "v"}}],
)
META = {
    "puid": "p",
    "tags": FACTS.tags,
    "routing": FACTS.routing,
    "requestPath": FACTS.request_path,
    "metrics": FACTS.metrics,
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_json_data_stays_the_text_that_it_was() -> None:
    body = b'{"data" : {"ndarray": [1.0000, 2e0]}, "strange": 1}'
    done = finish(Codec.SELDON_JSON, body, FACTS)
    assert b'{"ndarray": [1.0000, 2e0]}' in done
    assert json.loads(done)["strange"] == 1
    assert json.loads(done)["meta"] == META


def test_what_the_answers_own_meta_has_is_kept_and_merged() -> None:
    own = {
        "puid": "old",
        "tags": {"a": 0, "own": 1},
        "metrics": [{"key": "own", "value": 1}],
        "unknown": 1,
    }
    body = json.dumps({"strData": "x", "meta": own}).encode()
    meta = json.loads(finish(Codec.SELDON_JSON, body, FACTS))["meta"]
    assert meta["puid"] == "p"
    assert meta["tags"] == {"a": FACTS.tags["a"], "own": 1}
    assert [each["key"] for each in meta["metrics"]] == ["own", "k"]
    assert meta["unknown"] == 1


def test_protobuf_is_merged_as_json_is() -> None:
    own = {"tags": {"a": 0, "own": 1}, "metrics": [{"key": "own", "value": 1}], "puid": "old"}
    body = ParseDict({"strData": "x", "meta": own}, SeldonMessage()).SerializeToString()
    done = SeldonMessage.FromString(finish(Codec.SELDON_GRPC, body, FACTS))
    assert done.strData == "x"
    found = MessageToDict(done.meta)
    assert found["tags"] == {"a": FACTS.tags["a"], "own": 1}
    assert found["routing"] == FACTS.routing
    assert [each.get("key") for each in found["metrics"]] == ["own", "k"]
    assert found["puid"] == "p"


@pytest.mark.parametrize("codec", [Codec.SELDON_JSON, Codec.SELDON_GRPC])
def test_facts_that_were_written_are_read_again(codec: Codec) -> None:
    body = finish(codec, empty_message(codec), FACTS)
    assert meta_of(codec, body) == FACTS
    assert puid_of(codec, body) == "p"


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=4))
def test_tags_are_written_as_protobuf_reads_them(tags: dict[str, Any]) -> None:
    body = finish(Codec.SELDON_GRPC, b"", SeldonFacts(tags=tags))
    wanted = ParseDict({"tags": tags}, Meta())
    assert SeldonMessage.FromString(body).meta == wanted
    assert meta_of(Codec.SELDON_GRPC, SeldonMessage(meta=wanted).SerializeToString()).tags == tags


@given(st.binary(max_size=60), st.sampled_from([Codec.SELDON_JSON, Codec.SELDON_GRPC]))
def test_any_bytes_are_read_or_refused(body: bytes, codec: Codec) -> None:
    for read in (meta_of, read_feedback, messages_of_list):
        try:
            read(codec, body)
        except InvalidInput as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "meta",
    [
        [],
        {"tags": 1},
        {"routing": {"r": "x"}},
        {"routing": {"r": 1.5}},
        {"metrics": {"a": 1}},
        "text",
    ],
)
def test_a_meta_that_is_none_is_refused(meta: Any) -> None:
    body = json.dumps({"meta": meta or [1]}).encode()
    with pytest.raises(InvalidInput, match="no SeldonMessage: its"):
        meta_of(Codec.SELDON_JSON, body)


def test_branches_may_be_written_as_protobufs_json_does() -> None:
    body = b'{"meta":{"routing":{"a":"1","b":0.0}}}'
    assert meta_of(Codec.SELDON_JSON, body).routing == {"a": 1, "b": 0}


def test_an_answer_that_is_no_message_cannot_be_finished() -> None:
    for body in (b"[1]", b"{", b'{"meta":[1]}'):
        with pytest.raises(ModelFailed, match="no SeldonMessage"):
            finish(Codec.SELDON_JSON, body, FACTS)


def test_the_parts_of_feedback_are_messages_of_their_own() -> None:
    document = {
        "request": {"data": {"ndarray": [[1]]}},
        "response": {"meta": {"routing": {"r": 2}, "puid": "p"}},
        "reward": 0.5,
        "truth": {"data": {"ndarray": [0]}},
    }
    read = read_feedback(Codec.SELDON_JSON, json.dumps(document).encode())
    assert json.loads(read.request) == document["request"]
    assert (read.reward, read.facts.routing, read.facts.puid) == (0.5, {"r": 2}, "p")
    assert json.loads(read.truth or b"") == document["truth"]
    message = ParseDict(document, Feedback())
    read = read_feedback(Codec.SELDON_GRPC, message.SerializeToString())
    assert SeldonMessage.FromString(read.request) == message.request
    assert SeldonMessage.FromString(read.truth or b"") == message.truth
    assert (read.reward, read.facts.routing, read.facts.puid) == (0.5, {"r": 2}, "p")


def test_feedback_may_leave_out_all_but_its_braces() -> None:
    read = read_feedback(Codec.SELDON_JSON, b'{"truth": null}')
    assert (read.request, read.response, read.reward, read.truth) == (b"{}", b"{}", 0.0, None)
    read = read_feedback(Codec.SELDON_GRPC, b"")
    assert (read.request, read.response, read.reward, read.truth) == (b"", b"", 0.0, None)


@pytest.mark.parametrize("body", [b'{"reward":"1"}', b'{"truth":[]}', b"[]", b'{"request":1}'])
def test_what_is_no_feedback_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"no Feedback: .* send request, response, reward"):
        read_feedback(Codec.SELDON_JSON, body)


def test_lists_of_messages_come_apart_in_both_codecs() -> None:
    listed = SeldonMessageList(seldonMessages=[SeldonMessage(strData="a"), SeldonMessage()])
    assert messages_of_list(Codec.SELDON_GRPC, listed.SerializeToString()) == [b"\x2a\x01a", b""]
    for body in (b'{"seldonMessages":[{"strData":"a"},{}]}', b'[{"strData":"a"},{}]'):
        assert messages_of_list(Codec.SELDON_JSON, body) == [b'{"strData":"a"}', b"{}"]


def test_a_routers_answer_is_an_array_of_one_number() -> None:
    assert json.loads(branch_message(Codec.SELDON_JSON, -1))["data"]["ndarray"] == [[-1]]
    message = SeldonMessage.FromString(branch_message(Codec.SELDON_GRPC, 2))
    assert [list(row) for row in message.data.ndarray] == [[2.0]]
