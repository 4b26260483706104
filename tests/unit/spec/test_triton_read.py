"""Triton's configuration as it is read: like protobuf's own reader, and never with a crash."""

from __future__ import annotations

import random
from typing import Any

import pytest

from salver.errors import ArtifactError
from salver.spec.triton_config import CHOICES, IGNORED, TritonConfig
from salver.spec.triton_read import read_triton_config, triton_config

WHOLE = r"""
# A comment.
name: "m" platform: 'onnxruntime_onnx'; max_batch_size: 0x10
input [ { name: "X" data_type: TYPE_FP32 dims: [ 4, -1 ] }, { name: "Y", data_type: 13 dims: 1 } ]
output: < name: "Z" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } >
version_policy: { specific { versions: [1, 3] } }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: DELAY max_queue_size: 7 }
  priority_queue_policy { key: 1 value: { max_queue_size: 3 } } }
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters: { key: "a\tb" value: { string_value: "x" 'y\x41\101' } }
model_warmup { name: "w" batch_size: 1 count: 2
  inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] random_data: true } } }
response_cache { enable: True }
"""


def test_reads_what_protobuf_reads() -> None:
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    theirs = text_format.Parse(WHOLE, model_config_pb2.ModelConfig())
    document = json_format.MessageToDict(theirs, preserving_proto_field_name=True)
    ours = triton_config(WHOLE, "config.pbtxt")
    assert ours.max_batch_size == document["max_batch_size"] == 16
    assert [each.name for each in ours.input] == [each["name"] for each in document["input"]]
    assert ours.input[1].data_type == "TYPE_STRING" == document["input"][1]["data_type"]
    assert ours.input[0].dims == (4, -1)
    assert ours.output[0].reshape is not None
    assert ours.parameters["a\tb"].string_value == "xyAA"
    assert document["parameters"]["a\tb"]["string_value"] == "xyAA"
    assert ours.dynamic_batching is not None
    assert ours.dynamic_batching.priority_queue_policy[1].max_queue_size == 3
    assert ours.version_policy is not None and ours.version_policy.specific is not None
    assert ours.version_policy.specific.versions == (1, 3)
    assert ours.model_warmup[0].inputs["X"].random_data
    assert ours.is_cached


def test_has_every_field_of_tritons_message_and_no_other() -> None:
    from tritonclient.grpc import model_config_pb2

    theirs = {field.name for field in model_config_pb2.ModelConfig.DESCRIPTOR.fields}
    ours = {*TritonConfig.__struct_fields__, *IGNORED[TritonConfig]}
    assert ours == theirs
    choices = CHOICES[TritonConfig][0]
    oneof = model_config_pb2.ModelConfig.DESCRIPTOR.oneofs_by_name["scheduling_choice"]
    assert choices == {field.name for field in oneof.fields}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maxbatch: 3", "c:1: maxbatch: is no field of Triton's configuration; did you mean "),
        ('\n\nmax_batch_size: "x"', "c:3: max_batch_size: must be a whole number, found 'x'"),
        ('input {\n name: "a"\n dim: 1 }', "c:3: input[0].dim: is no field"),
        ("a {", "c:1: ends before a message is closed"),
        ('name: "abc', "c:1: a string begins here and does not end on its line"),
        ("version_policy { latest {}\nall {} }", "c:2: version_policy.all: can have one of"),
        ("max_batch_size: 1 max_batch_size: 2", "is given twice"),
        ("input: 3", "c:1: input[0]: is a message: write its fields between braces"),
        ("name { }", "has no fields: write a text in quotes"),
        ("backend: python", "backend: must be a text in quotes, found 'python'"),
        ("instance_group { kind: KIND_CPUS }", "did you mean 'KIND_CPU'?"),
        ("reshape: [ ]", "c:1: reshape: is no field"),
        ("name: [ ]", "c:1: name: is no list: write a text in quotes"),
        ("max_batch_size: 99999999999999999999999", "must be a whole number"),
        ('parameters { name: "a" }', "parameters[0].name: is neither key nor value"),
        ("dynamic_batching { }", "needs a max_batch_size of 1 or more"),
        ('input { name: "X" dims: 1 }', "input[0].data_type: is required"),
        ('platform: "ensemble"', "say its steps under ensemble_scheduling"),
        ('output { name: "Y" data_type: TYPE_FP32 dims: 1 label_filename: "../x" }', "within"),
        ('name: "\\q"', "is no escape"),
        ("{" * 3, "expected the name of a field"),
        ("a {" * 40, "is nested more than 32 deep"),
    ],
)
def test_a_fault_names_line_and_field(text: str, message: str) -> None:
    reading = read_triton_config(text, "c")
    assert reading.config is None
    assert message in "; ".join(map(str, reading.problems))
    with pytest.raises(ArtifactError):
        triton_config(text, "c")


def test_what_has_no_effect_is_told() -> None:
    reading = read_triton_config("max_batch_size: 0\noptimization { graph { level: 1 } }", "c")
    assert reading.config is not None
    assert [str(note) for note in reading.notes] == ["c:2: optimization: has no effect here"]


def ensemble(*steps: str) -> str:
    tensors = 'input {name: "I" data_type: TYPE_FP32 dims: 1} '
    tensors += 'output {name: "O" data_type: TYPE_FP32 dims: 1} '
    return f'platform: "ensemble" {tensors} ensemble_scheduling {{ {" ".join(steps)} }}'


def step(model: str, given: str, made: str) -> str:
    maps = f'input_map {{key: "a" value: "{given}"}} output_map {{key: "b" value: "{made}"}}'
    return f'step {{ model_name: "{model}" {maps} }}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ensemble(step("m", "I", "O"), step("n", "I", "O")), "has a producer already"),
        (ensemble(step("m", "II", "O")), "nothing makes 'II'; did you mean 'I'?"),
        (ensemble(step("m", "I", "P")), "output[0].name: nothing makes 'O'"),
        (ensemble(step("m", "Q", "O"), step("n", "O", "Q")), "wait for each other in a circle"),
        (ensemble(step("", "I", "O")), "ensemble_scheduling.step[0].model_name"),
    ],
)
def test_an_ensemble_that_cannot_run_is_refused(text: str, message: str) -> None:
    reading = read_triton_config(text, "c")
    assert message in "; ".join(map(str, reading.problems))


def mutated(text: str, chance: random.Random) -> str:
    characters = list(text)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(characters))
        what = chance.randrange(4)
        if what == 0:
            del characters[at : at + chance.randint(1, 9)]
        elif what == 1:
            characters.insert(at, chance.choice("{}[]<>:,\"'\\#0-9.xyz\0\n\u2028"))
        elif what == 2:
            characters[at] = chr(chance.randrange(0x300))
        else:
            part = characters[at : at + chance.randint(1, 30)]
            characters[at:at] = part * chance.randint(1, 3)
        if not characters:
            return ""
    return "".join(characters)


def test_garbage_is_refused_and_never_crashes() -> None:
    chance = random.Random(5)
    refused = 0
    for _ in range(1500):
        text = mutated(WHOLE, chance)
        reading = read_triton_config(text, "c")
        assert (reading.config is None) == bool(reading.problems)
        for problem in reading.problems:
            assert problem.line >= 1 and "\n" not in str(problem)
        refused += reading.config is None
    assert 500 < refused < 1500


def accepts(text: str) -> tuple[bool, Any]:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return True, text_format.Parse(text, model_config_pb2.ModelConfig())
    except (text_format.ParseError, ValueError, DeprecationWarning):
        return False, None


def test_what_is_read_has_the_values_that_protobuf_reads() -> None:
    chance = random.Random(11)
    compared = 0
    for _ in range(600):
        at = chance.randrange(len(WHOLE))
        text = WHOLE[:at] + chance.choice(" ,;#0-\n") + WHOLE[at + chance.randrange(2) :]
        config = read_triton_config(text, "c").config
        is_theirs, theirs = accepts(text)
        if config is None or not is_theirs:
            continue
        compared += 1
        assert (config.name, config.platform) == (theirs.name, theirs.platform)
        assert config.max_batch_size == theirs.max_batch_size
        assert [each.name for each in config.input] == [each.name for each in theirs.input]
        assert [list(each.dims) for each in config.output] == [
            list(each.dims) for each in theirs.output
        ]
    assert compared > 20
