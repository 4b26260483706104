"""Models of a Triton repository as they are found: versions, workers, batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from salver.artifacts.layout import discover
from salver.errors import ArtifactError

PYTHON = 'backend: "python"\n'


def put(folder: Path, config: str | None, *versions: str, file: str = "model.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    for version in versions:
        (folder / version).mkdir()
        (folder / version / file).write_text("class TritonPythonModel:\n    pass\n")
    return folder


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["9", "10"]),
        ("version_policy { all { } }", ["1", "9", "10"]),
        ("version_policy { specific { versions: [9, 1] } }", ["1", "9"]),
    ],
)
def test_the_policy_chooses_versions(tmp_path: Path, policy: str, versions: list[str]) -> None:
    folder = put(tmp_path / "m", PYTHON + policy, "1", "9", "10")
    found = discover(str(folder))
    assert [(each.name, each.version) for each in found] == [("m", each) for each in versions]
    assert {each.runtime for each in found} == {"triton"}
    assert {each.path for each in found} == {folder}
    assert [each.overrides.parameters["version"] for each in found] == versions


def test_a_repository_has_models_and_its_ensembles_are_none(tmp_path: Path) -> None:
    put(tmp_path / "a", PYTHON, "1")
    put(tmp_path / "b", None, "1")
    ensemble = (
        'platform: "ensemble" ensemble_scheduling { step { model_name: "a" '
        'input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } } '
        'input { name: "x" data_type: TYPE_FP32 dims: 1 }'
    )
    put(tmp_path / "c", ensemble)
    found = discover(str(tmp_path))
    assert [(each.name, each.runtime) for each in found] == [("a", "triton"), ("b", "triton")]


def test_batches_and_instances_are_the_configurations(tmp_path: Path) -> None:
    config = """max_batch_size: 16
    dynamic_batching { max_queue_delay_microseconds: 1500
      default_queue_policy { max_queue_size: 9 } }
    instance_group [{ count: 2 }, { kind: KIND_CPU }, { count: 5 passive: true }]"""
    (found,) = discover(str(put(tmp_path / "m", PYTHON + config, "1")))
    overrides = found.overrides
    assert (overrides.max_batch_rows, overrides.max_batch_delay_s) == (16, 0.0015)
    assert (overrides.workers, overrides.scheduling.policy.max_queued) == (3, 9)
    assert not found.notes


def test_several_instances_without_batches_get_one_request_each(tmp_path: Path) -> None:
    config = "max_batch_size: 16 instance_group { count: 2 }"
    (found,) = discover(str(put(tmp_path / "m", PYTHON + config, "1")))
    assert found.overrides.max_batch_rows == 1


def test_sequences_stay_in_one_worker_and_gpus_are_told_of(tmp_path: Path) -> None:
    config = "sequence_batching { } instance_group { count: 3 kind: KIND_GPU }"
    (found,) = discover(str(put(tmp_path / "m", PYTHON + config, "1")))
    assert found.overrides.workers == 1
    assert "KIND_GPU has no effect" in found.notes[0]
    assert "3 instances become 1" in found.notes[1]


FORCED = 'parameters {{ key: "SALVER_RUNTIME" value {{ string_value: "{}" }} }}'


@pytest.mark.parametrize(
    ("config", "backend"),
    [
        ('platform: "tensorrt_plan"', "tensorrt_plan"),
        ('backend: "tensorrt" instance_group { kind: KIND_GPU }', "tensorrt"),
        ('backend: "dali"', "dali"),
        ('backend: "our_own_engine"', "our_own_engine"),
        (PYTHON + FORCED.format("tritonserver"), "python"),
        ('backend: "tensort"' + FORCED.format("tritonserver"), "tensort"),
    ],
)
def test_what_salver_does_not_run_is_tritons(tmp_path: Path, config: str, backend: str) -> None:
    (found,) = discover(str(put(tmp_path / "m", config, "1")), "ours")
    assert (found.name, found.runtime, found.notes) == ("ours", "tritonserver", ())
    assert found.overrides.parameters == {"version": "1", "name": "m", "backend": backend}


def test_a_plan_without_a_configuration_is_tritons(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", "max_batch_size: 8", "1")
    (folder / "1" / "model.py").unlink(missing_ok=True)
    (folder / "1" / "model.plan").write_text("")
    (found,) = discover(str(folder))
    assert found.runtime == "tritonserver"


def test_all_models_of_a_target_can_be_given_to_triton(tmp_path: Path) -> None:
    batching = "dynamic_batching { max_queue_delay_microseconds: 9000 } max_batch_size: 8"
    put(tmp_path / "one", PYTHON + batching, "1")
    put(tmp_path / "two", PYTHON, "1", "2")
    found = discover(str(tmp_path), runtime="tritonserver")
    assert [(each.name, each.version, each.runtime) for each in found] == [
        ("one", "1", "tritonserver"),
        ("two", "2", "tritonserver"),
    ]
    assert found[0].overrides.max_batch_rows == 8
    assert found[0].overrides.max_batch_delay_s == 0.0, "Triton waits by itself"


@pytest.mark.parametrize(
    ("config", "versions", "message"),
    [
        (PYTHON, (), "has no version: put the model into a folder with a number"),
        (PYTHON + "version_policy { specific { versions: 7 } }", ("1",), "names version 7"),
        ('backend: "tensort"', ("1",), "did you mean 'tensorrt'?"),
        (PYTHON + FORCED.format("tritonservr"), ("1",), "may be 'tritonserver' or absent"),
        ('backend: "pyton"', ("1",), "did you mean 'python'?"),
        ('backend: "onnxruntime"', ("1",), "holds no model.onnx"),
        ("max_batch_size: -1", ("1",), "config.pbtxt:1: max_batch_size: must be 0"),
        ('default_model_filename: "../x.py"', ("1",), "must be a name within"),
    ],
)
def test_what_cannot_be_served_says_why(
    tmp_path: Path, config: str, versions: tuple[str, ...], message: str
) -> None:
    folder = put(tmp_path / "m", config, *versions)
    with pytest.raises(ArtifactError) as refused:
        discover(str(folder))
    assert message in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 100, b"{" * 100_000])
def test_a_file_of_bytes_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = put(tmp_path / "m", "", "1")
    (folder / "config.pbtxt").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"config\.pbtxt"):
        discover(str(folder))
