"""The torch runtime against PyTorch itself: every format, kind of model and of answer."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.frameworks.torch import networks
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only

from salver.errors import InvalidInput, LoadFailed
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import InferRequest, Tensor
from salver.inference.torch_archives import torch_format

NAMES = ("mlp", "cnn", "lstm", "words", "pair")
CLASSES = {"mlp": "Mlp", "cnn": "Cnn", "lstm": "Lstm", "words": "Words", "pair": "Pair"}
ARGUMENTS = {
    "mlp": ("flowers",),
    "cnn": ("image",),
    "lstm": ("series",),
    "words": ("words",),
    "pair": ("user", "item"),
}


def expected(model: Any, rows: Any) -> list[Any]:
    with torch.inference_mode():
        answer = model(*rows)
    if isinstance(answer, dict):
        return [each.numpy() for each in answer.values()]
    return [each.numpy() for each in (answer if isinstance(answer, tuple) else (answer,))]


def loaded(zoo: Any, name: str, suffix: str, **fields: Any) -> Any:
    attribute = CLASSES[name] if suffix == "pth" else ""
    return load(zoo.folder / f"{name}.{suffix}", "torch", attribute=attribute, **fields)


@pytest.mark.parametrize("suffix", ["pt", "pt2", "pth"])
@pytest.mark.parametrize("name", NAMES)
def test_each_format_answers_as_pytorch_does(zoo: Any, name: str, suffix: str) -> None:
    model = loaded(zoo, name, suffix)
    rows = zoo.rows[name]
    inputs = {each: row.numpy() for each, row in zip(ARGUMENTS[name], rows, strict=True)}
    assert [each.name for each in model.metadata.inputs] == list(inputs)
    for count in (1, 3, 32):
        answer = model.predict(ask(**{each: data[:count] for each, data in inputs.items()}))
        wanted = expected(zoo.models[name], [row[:count] for row in rows])
        assert len(answer.outputs) == len(wanted)
        for tensor, value in zip(answer.outputs, wanted, strict=True):
            np.testing.assert_allclose(tensor.data, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "suffix"), [(n, s) for n in NAMES for s in ("pt", "pt2", "pth")])
def test_formats_are_told_apart_by_their_directory(zoo: Any, name: str, suffix: str) -> None:
    wanted = {"pt": "torchscript", "pt2": "export", "pth": "state_dict"}[suffix]
    assert torch_format(zoo.folder / f"{name}.{suffix}") == wanted


def test_an_exported_program_knows_its_shapes_and_outputs(zoo: Any) -> None:
    metadata = loaded(zoo, "pair", "pt2").metadata
    assert [(i.name, i.datatype, i.shape) for i in metadata.inputs] == [
        ("user", "FP32", (-1, 2)),
        ("item", "FP32", (-1, 4)),
    ]
    assert [(o.name, o.datatype, o.shape) for o in metadata.outputs] == [
        ("score", "FP32", (-1,)),
        ("user", "FP32", (-1, 3)),
    ]
    assert metadata.batchable
    words = loaded(zoo, "words", "pt2").metadata.inputs[0]
    assert (words.datatype, words.shape) == ("INT64", (-1, 7))
    assert "FP32" not in words.accepts


def test_a_class_declares_its_inputs_and_its_outputs_are_learnt(zoo: Any) -> None:
    metadata = loaded(zoo, "lstm", "pth").metadata
    assert metadata.inputs[0].shape == (-1, -1, 1)
    assert [(o.name, o.shape) for o in metadata.outputs] == [
        ("output-0", (-1, 1)),
        ("output-1", (-1, 8, 6)),
    ]
    assert metadata.batchable


def test_torchscript_learns_from_declared_inputs(zoo: Any) -> None:
    declared = (TensorMetadata("INPUT__0", "FP32", (-1, 4)),)
    outputs = (TensorMetadata("OUTPUT__0", "FP32", (-1, 3)),)
    model = loaded(zoo, "mlp", "pt", inputs=declared, outputs=outputs)
    assert model.metadata.inputs[0].name == "INPUT__0"
    assert model.metadata.batchable
    rows = zoo.rows["mlp"][0]
    answer = arrays(model.predict(ask(INPUT__0=rows.numpy())))
    np.testing.assert_allclose(answer["OUTPUT__0"], expected(zoo.models["mlp"], (rows,))[0], 1e-5)


def test_torchscript_without_declarations_takes_any_shape_and_finds_embeddings(zoo: Any) -> None:
    metadata = loaded(zoo, "words", "pt").metadata
    assert metadata.inputs[0].any_shape
    assert metadata.inputs[0].datatype == "INT64"
    assert not metadata.batchable
    assert loaded(zoo, "mlp", "pt", batch_requested=True).metadata.batchable


def test_whole_numbers_reach_a_model_of_floats_as_floats(zoo: Any) -> None:
    model = loaded(zoo, "mlp", "pt")
    rows = torch.tensor([[1, 2, 3, 4]])
    wanted = expected(zoo.models["mlp"], (rows.float(),))[0]
    for _ in range(2):
        np.testing.assert_allclose(only(model.predict(matrix(rows.numpy()))), wanted, rtol=1e-5)


def test_whole_numbers_reach_an_undeclared_embedding_as_they_are(zoo: Any) -> None:
    model = loaded(zoo, "words", "pth")
    rows = zoo.rows["words"][0]
    np.testing.assert_allclose(
        only(model.predict(matrix(rows.numpy()))), expected(zoo.models["words"], (rows,))[0], 1e-5
    )
    with pytest.raises(InvalidInput, match="index out of range"):
        model.predict(matrix(np.full((1, 7), 99)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(tmp_path: Path, dtype: Any) -> None:
    judge = networks.Judge().eval()
    torch.save(judge.to(dtype).state_dict(), tmp_path / "judge.pth")
    (tmp_path / "model.py").write_text(Path(networks.__file__).read_text())
    model = load(tmp_path / "judge.pth", "torch", attribute="Judge")
    rows = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    chances, best = model.predict(matrix(rows)).outputs
    with torch.inference_mode():
        wanted = judge(torch.from_numpy(rows))
    assert chances.datatype == {torch.float16: "FP16", torch.bfloat16: "BF16"}[dtype]
    assert [o.datatype for o in model.metadata.outputs] == [chances.datatype, "INT64"]
    np.testing.assert_array_equal(chances.data.astype(np.float32), wanted.chances.float().numpy())
    np.testing.assert_array_equal(best.data, wanted.best.numpy())


def test_rows_that_depend_on_each_other_are_never_batched(tmp_path: Path) -> None:
    torch.save(networks.Centred().state_dict(), tmp_path / "centred.pth")
    (tmp_path / "model.py").write_text(Path(networks.__file__).read_text())
    model = load(tmp_path / "centred.pth", "torch", attribute="Centred")
    assert not model.metadata.batchable
    raw = np.array([[1, 2], [3, 4]], np.float32).tobytes()
    rows = np.frombuffer(raw, np.float32).reshape(2, 2)
    for _ in range(2):
        answer = model.predict(matrix(rows))
        np.testing.assert_array_equal(only(answer), [[-1, -1], [1, 1]])
    assert np.frombuffer(raw, np.float32).tolist() == [1, 2, 3, 4], "the request was written to"


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::2], np.s_[:, 1:5]])
def test_views_of_arrays_are_read_as_they_look(zoo: Any, view: Any) -> None:
    model = loaded(zoo, "mlp", "pt")
    rows = np.random.default_rng(0).standard_normal((6, 4 if view != np.s_[:, 1:5] else 6))
    rows = rows.astype(np.float32)[view]
    wanted = expected(zoo.models["mlp"], (torch.from_numpy(rows.copy()),))[0]
    np.testing.assert_allclose(only(model.predict(matrix(rows))), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["pt", "pt2", "pth"])
def test_a_wrong_shape_is_the_callers_fault(zoo: Any, suffix: str) -> None:
    model = loaded(zoo, "mlp", suffix)
    with pytest.raises(InvalidInput, match=r"PyTorch refused the input: (mat1|Expected)") as e:
        model.predict(matrix(np.ones((2, 9), np.float32)))
    assert "Traceback" not in str(e.value)


def test_an_unknown_output_and_input_are_named(zoo: Any) -> None:
    model = loaded(zoo, "pair", "pt")
    user, item = np.ones((1, 2), np.float32), np.ones((1, 4), np.float32)
    with pytest.raises(InvalidInput, match="'rating' is unknown; the model has 'score', 'user'"):
        model.predict(ask("rating", user=user, item=item))
    with pytest.raises(InvalidInput, match="'item' is missing; the model takes user, item"):
        model.predict(ask(user=user))
    (score,) = model.predict(ask("score", item=item, user=user)).outputs
    assert score.name == "score"


def test_optional_inputs_numbers_and_dicts_of_tensors(tmp_path: Path) -> None:
    class Options(torch.nn.Module):
        def forward(
            self, x: torch.Tensor, power: int = 2, shift: torch.Tensor | None = None
        ) -> torch.Tensor:
            y = x**power
            return y if shift is None else y + shift

    class Bag(torch.nn.Module):
        def forward(self, given: dict[str, torch.Tensor]) -> torch.Tensor:
            return given["a"] + given["b"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Options()).save(str(tmp_path / "options.pt"))
        torch.jit.script(Bag()).save(str(tmp_path / "bag.pt"))
    x = np.array([1, 2, 3], np.float32)
    model = load(tmp_path / "options.pt", "torch")
    assert [i.optional for i in model.metadata.inputs] == [False, True, True]
    assert only(model.predict(ask(x=x))).tolist() == [1, 4, 9]
    assert only(model.predict(ask(x=x, power=np.array([3]), shift=x))).tolist() == [2, 10, 30]
    with pytest.raises(InvalidInput, match="takes one number"):
        model.predict(ask(x=x, power=np.array([3, 4])))
    bag = load(tmp_path / "bag.pt", "torch")
    assert only(bag.predict(ask(a=x, b=x))).tolist() == [2, 4, 6]


def test_an_export_with_fixed_rows_is_not_batchable(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(networks.Mlp().eval(), (torch.zeros(2, 4),))
        torch.export.save(program, tmp_path / "fixed.pt2")
    metadata = load(tmp_path / "fixed.pt2", "torch").metadata
    assert metadata.inputs[0].shape == (2, 4)
    assert metadata.outputs[0].shape == (2, 3)
    assert not metadata.batchable


def test_the_bounds_of_an_exported_dimension_hold(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = torch.export.Dim("rows", min=1, max=8)
        program = torch.export.export(
            networks.Mlp().eval(), (torch.zeros(3, 4),), dynamic_shapes=({0: rows},)
        )
        torch.export.save(program, tmp_path / "few.pt2")
    model = load(tmp_path / "few.pt2", "torch")
    for _ in range(3):
        assert only(model.predict(matrix(np.ones((8, 4), np.float32)))).shape == (8, 3)
        with pytest.raises(InvalidInput, match="<= 8"):
            model.predict(matrix(np.ones((9, 4), np.float32)))


def test_exported_programs_take_nested_inputs_and_constants(tmp_path: Path) -> None:
    class Nested(torch.nn.Module):
        def forward(self, pair: Any, scale: float, *, shift: torch.Tensor) -> Any:
            return {"sum": pair[0] + pair[1] * scale, "more": (shift, None)}

    x = torch.ones(3, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Nested(), ((x, x.clone()), 2.0), {"shift": x.clone()})
        torch.export.save(program, tmp_path / "nested.pt2")
    model = load(tmp_path / "nested.pt2", "torch")
    names = [each.name for each in model.metadata.inputs]
    assert names == ["pair_0", "pair_1", "shift"]
    values = {name: np.full((3, 2), i + 1, np.float32) for i, name in enumerate(names)}
    answer = arrays(model.predict(ask(**values)))
    assert answer["sum"].tolist() == np.full((3, 2), 5.0).tolist()
    assert answer["more-0"].tolist() == values["shift"].tolist()
    assert [each.name for each in model.metadata.outputs] == ["sum", "more-0"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_module_answers_as_the_module(zoo: Any) -> None:
    with warnings.catch_warnings():
        # The compiler's own modules warn of each other.
        warnings.simplefilter("ignore")
        model = loaded(zoo, "mlp", "pth", parameters={"compile": True})
        rows = zoo.rows["mlp"][0]
        answer = only(model.predict(matrix(rows.numpy())))
    np.testing.assert_allclose(answer, expected(zoo.models["mlp"], (rows,))[0], 1e-4, 1e-5)
    assert model.metadata.batchable


def test_safetensors_and_wrapped_checkpoints(zoo: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "model.py").write_text(Path(networks.__file__).read_text())
    weights = zoo.models["mlp"].state_dict()
    save_file(weights, tmp_path / "a.safetensors")
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "model_state_dict": wrapped}, tmp_path / "b.pth")
    torch.save(weights, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    rows = zoo.rows["mlp"][0]
    wanted = expected(zoo.models["mlp"], (rows,))[0]
    for name in ("a.safetensors", "b.pth", "c.pth"):
        model = load(tmp_path / name, "torch", attribute="Mlp")
        np.testing.assert_allclose(only(model.predict(matrix(rows.numpy()))), wanted, rtol=1e-5)


def test_the_class_is_made_with_arguments_and_its_weights_must_fit(
    zoo: Any, tmp_path: Path
) -> None:
    wide = networks.Mlp(16).eval()
    torch.save(wide.state_dict(), tmp_path / "wide.pth")
    (tmp_path / "model.py").write_text(Path(networks.__file__).read_text())
    with pytest.raises(LoadFailed, match=r"not those of Mlp: size mismatch for layers\.0\.weight"):
        load(tmp_path / "wide.pth", "torch", attribute="Mlp")
    model = load(
        tmp_path / "wide.pth",
        "torch",
        attribute="Mlp",
        parameters={"arguments": {"width": 16}},
    )
    rows = zoo.rows["mlp"][0]
    np.testing.assert_allclose(
        only(model.predict(matrix(rows.numpy()))), expected(wide, (rows,))[0], rtol=1e-5
    )


def test_weights_may_be_found_from_the_class(zoo: Any, tmp_path: Path) -> None:
    torch.save(zoo.models["mlp"].state_dict(), tmp_path / "weights.pth")
    (tmp_path / "net.py").write_text(Path(networks.__file__).read_text())
    for path in (tmp_path / "net.py", tmp_path, tmp_path / "weights.pth"):
        assert load(path, "torch", attribute="Mlp").metadata.inputs[0].name == "flowers"
    with pytest.raises(LoadFailed, match=r"7 classes of torch.nn.Module \(Mlp, Cnn"):
        load(tmp_path / "weights.pth", "torch")
    (tmp_path / "net.py").unlink()
    with pytest.raises(LoadFailed, match="beside it lies no Python file"):
        load(tmp_path / "weights.pth", "torch")


def test_threads_are_those_of_the_replica(zoo: Any) -> None:
    for threads in (2, 1):
        loaded(zoo, "mlp", "pt", threads=threads)
        assert torch.get_num_threads() == threads
    assert torch.get_num_interop_threads() == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"device": "cuda:7"}, "there are 0 CUDA devices"),
        ({"device": "tpu"}, "device 'tpu' is none; use auto, cpu"),
        ({"divice": "cpu"}, "did you mean 'device'"),
        ({"compile": "fastest"}, "compile 'fastest' is no mode"),
        ({"compile": True}, "TorchScript cannot be compiled further"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    zoo: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadFailed, match=message):
        loaded(zoo, "mlp", "pt", parameters=parameters)


def test_bytes_are_no_input_of_a_tensor_model(zoo: Any) -> None:
    declared = (TensorMetadata("text", "BYTES", (-1,)),)
    with pytest.raises(LoadFailed, match="'text' is declared as BYTES"):
        loaded(zoo, "mlp", "pt", inputs=declared)


def test_bf16_inputs_are_given_as_bf16(tmp_path: Path) -> None:
    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Same()).save(str(tmp_path / "same.pt"))
    declared = (TensorMetadata("x", "BF16", (-1,)),)
    model = load(tmp_path / "same.pt", "torch", inputs=declared)
    values = np.array([1.0, 2.5], np.float32)
    (out,) = model.predict(InferRequest((Tensor("x", "BF16", values),))).outputs
    assert (out.datatype, out.data.tolist()) == ("BF16", [1.0, 2.5])


def save_mar(path: Path, files: dict[str, bytes], **model: str) -> None:
    manifest = {"runtime": "python", "archiverVersion": "0.12.0", "model": model}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        for name, data in files.items():
            archive.writestr(name, data)


HANDLER = b"""
import torch
from ts.torch_handler.base_handler import BaseHandler

class Flowers(BaseHandler):
    def postprocess(self, data):
        best = data.argmax(dim=1).tolist()
        rows = zip(best, data.tolist())
        return [{"label": self.mapping[str(i)], "scores": row} for i, row in rows]
"""


def test_an_archive_with_a_handler_answers(zoo: Any, tmp_path: Path, own_temp: Path) -> None:
    files = {
        "mlp.pt": (zoo.folder / "mlp.pt").read_bytes(),
        "handler.py": HANDLER,
        "index_to_name.json": b'{"0": "a", "1": "b", "2": "c"}',
        "model-config.yaml": b"batchSize: 8\nmaxBatchDelay: 50\n",
    }
    save_mar(
        tmp_path / "f.mar", files, modelName="f", serializedFile="mlp.pt", handler="handler.py"
    )
    assert torch_format(tmp_path / "f.mar") == "mar"
    model = load(tmp_path / "f.mar", "torch")
    assert model.metadata.batchable
    rows = zoo.rows["mlp"][0][:3]
    answer = arrays(model.predict(matrix(rows.numpy())))
    wanted = expected(zoo.models["mlp"], (rows,))[0]
    np.testing.assert_allclose(answer["scores"], wanted, rtol=1e-5)
    assert answer["label"].tolist() == [b"abc"[i : i + 1] for i in wanted.argmax(1)]
    (unpacked,) = (own_temp / f"salver-mar-{__import__('os').geteuid()}").iterdir()
    load(unpacked, "torch")


FUNCTION = b"""
import json
state = {}

def handle(data, context):
    if data is None:
        state["dir"] = context.system_properties["model_dir"]
        return None
    if data[0]["body"] == b"bad":
        context.set_response_status(400, "no such thing", 0)
        return [""]
    return [{"ready": bool(state), "got": row.get("a", 0) + row.get("b", 0)} for row in data]
"""


def test_a_function_is_a_handler_and_several_inputs_are_fields(
    tmp_path: Path, own_temp: Path
) -> None:
    save_mar(tmp_path / "f.mar", {"service.py": FUNCTION}, modelName="f", handler="service:handle")
    model = load(tmp_path / "f.mar", "torch")
    answer = arrays(model.predict(ask(a=np.array([1, 2]), b=np.array([10, 20]))))
    assert answer["got"].tolist() == [11, 22]
    assert answer["ready"].tolist() == [True, True]
    with pytest.raises(InvalidInput, match="400 no such thing"):
        model.predict(matrix(np.array(["bad"], dtype=object)))


def test_default_handlers_serve_arrays(zoo: Any, tmp_path: Path, own_temp: Path) -> None:
    rows = zoo.rows["mlp"][0][:2]
    weights = {"mlp.pth": (zoo.folder / "mlp.pth").read_bytes()}
    code = {"net.py": Path(networks.__file__).read_bytes().split(b"class Cnn")[0]}
    save_mar(
        tmp_path / "b.mar",
        weights | code,
        modelName="b",
        serializedFile="mlp.pth",
        modelFile="net.py",
        handler="base_handler",
    )
    answer = only(load(tmp_path / "b.mar", "torch").predict(matrix(rows.numpy())))
    np.testing.assert_allclose(answer, expected(zoo.models["mlp"], (rows,))[0], rtol=1e-5)
    files = {"cnn.pt": (zoo.folder / "cnn.pt").read_bytes()}
    save_mar(
        tmp_path / "c.mar",
        files,
        modelName="c",
        serializedFile="cnn.pt",
        handler="image_classifier",
    )
    images = zoo.rows["cnn"][0][:1]
    chances = arrays(load(tmp_path / "c.mar", "torch").predict(matrix(images.numpy())))
    wanted = torch.tensor(expected(zoo.models["cnn"], (images,))[0]).softmax(1)[0]
    assert {name: value[0] for name, value in chances.items()} == pytest.approx(
        {"0": wanted[0].item(), "1": wanted[1].item()}
    )
