"""The ONNX runtime's arguments, and models that it must refuse or can only name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.runtimes.requests import load, matrix, only

from salver.errors import LoadFailed
from salver.runtimes.onnx_files import Opset, external_locations, opsets_of
from salver.runtimes.onnx_settings import onnx_settings

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


def graph_of(*nodes: Any, weights: Any = ()) -> Any:
    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])

    return helper.make_graph(list(nodes), "g", [info("x")], [info("y")], list(weights))


def model_of(op: str = "Neg", *, opset: int = 17, ir: int = 9, domain: str = "") -> Any:
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    graph = graph_of(helper.make_node(op, ["x"], ["y"], domain=domain))
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def saved(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"providers": ["CPUExecutionProvider"]},
        {"providers": "CPU"},
        {"providers": [{"CPU": {"use_arena": True}}]},
        {"graph_optimization_level": "disable"},
        {"graph_optimization_level": "layout", "intra_op_threads": 2},
        {"inter_op_threads": "2"},
        {"compile": "off", "anything": 1},
    ],
)
def test_a_model_answers_with_these_arguments(tmp_path: Path, parameters: dict[str, Any]) -> None:
    model = load(saved(tmp_path / "m.onnx", model_of()), "onnx", parameters=parameters)
    np.testing.assert_array_equal(only(model.predict(matrix(ROWS))), -ROWS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"providers": ["Nope"]}, "no provider 'NopeExecutionProvider' .it has .*CPUExec"),
        ({"providers": ["CUDA", "CPU"]}, "no provider 'CUDAExecutionProvider'"),
        ({"providers": []}, "no provider ''"),
        ({"providers": [{"CPU": 3}]}, "give a name"),
        ({"providers": [7]}, "provider 7 is none"),
        ({"graph_optimization_level": "most"}, "is 'most'; use disable, basic"),
        ({"intra_op_threads": "many"}, "an argument of the onnx runtime"),
        ({"inter_op_threads": 0}, "0 threads are none"),
    ],
)
def test_a_wrong_argument_is_named(
    tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadFailed, match=message):
        load(saved(tmp_path / "m.onnx", model_of()), "onnx", parameters=parameters)


def test_options_of_a_provider_are_written_as_it_wants_them() -> None:
    given = {"providers": [["CUDA", {"device_id": 1, "tunable": True}], "CPU"]}
    settings = onnx_settings("m", given)
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert settings.chosen("m", available) == [
        ("CUDAExecutionProvider", {"device_id": "1", "tunable": "1"}),
        ("CPUExecutionProvider", {}),
    ]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(opset=99), r"needs opset 99 of ai\.onnx, ONNX Runtime .* knows up to \d+;"),
        (model_of(ir=99), r"ONNX's format 99, ONNX Runtime .* knows up to \d+;"),
        (model_of("NoSuch"), "the operator NoSuch of opset 17"),
        (model_of("Thing", domain="com.acme"), r"the operator Thing of com\.acme"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, model: Any, message: str) -> None:
    with pytest.raises(LoadFailed, match=message):
        load(saved(tmp_path / "m.onnx", model), "onnx")


def with_weights(location: str) -> Any:
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    graph = graph_of(helper.make_node("MatMul", ["x", "w"], ["y"]), weights=[tensor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for location in ("w.bin", "sub/w.bin"):
        (tmp_path / location).write_bytes(np.ones(4, np.float32).tobytes())
        path = saved(tmp_path / "m.onnx", with_weights(location))
        assert external_locations(path) == (location,)
        answer = only(load(path, "onnx").predict(matrix(ROWS)))
        np.testing.assert_array_equal(answer, ROWS @ np.ones((2, 2)))


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "sub/../../w.bin", "link.bin"])
def test_weights_elsewhere_are_refused_before_anything_is_read(
    tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    path = saved(folder / "m.onnx", with_weights(location))
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    with pytest.raises(LoadFailed, match="outside of the model's folder"):
        load(path, "onnx")


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"from 'gone\.bin', which is not there"):
        load(saved(tmp_path / "m.onnx", with_weights("gone.bin")), "onnx")


def test_weights_within_attributes_branches_and_functions_are_found(tmp_path: Path) -> None:
    def constant(location: str) -> Any:
        tensor = with_weights(location).graph.initializer[0]
        return helper.make_node("Constant", [], ["y"], value=tensor)

    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])]
    branches = {
        name: helper.make_graph([constant(f"../{name}")], name, [], out)
        for name in ("then_branch", "else_branch")
    }
    function = helper.make_function(
        "f", "F", [], ["y"], [constant("../f")], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], **branches)], "g", [], out)
    path = saved(tmp_path / "m.onnx", helper.make_model(graph, functions=[function]))
    assert sorted(external_locations(path)) == ["../else_branch", "../f", "../then_branch"]


def test_the_opsets_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", model_of("Thing", opset=13, domain="com.acme"))
    assert opsets_of(path) == (Opset("", 13), Opset("com.acme", 1))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = model_of().SerializeToString()
    for at in range(len(content) - 1):
        (tmp_path / "m.onnx").write_bytes(content[:at])
        with pytest.raises(LoadFailed):
            load(tmp_path / "m.onnx", "onnx")


def test_the_walk_finds_what_onnxs_own_library_does(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = onnx.load_from_string(with_weights("a/b.bin").SerializeToString())
    onnx.save(model, path)
    wanted = {
        e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"
    }
    assert set(external_locations(path)) == wanted
