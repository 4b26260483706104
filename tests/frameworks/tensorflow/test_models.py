"""The tensorflow runtime against TensorFlow itself: every format, signature and kind of tensor."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.frameworks.tensorflow.networks import tf
from tests.unit.runtimes.requests import arrays, ask, load, only

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest, Tensor

NAMES = ("mlp", "words", "pair")


def expected(zoo: Any, name: str, inputs: dict[str, Any]) -> list[Any]:
    given = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    answer = zoo.models[name](given, training=False)
    if isinstance(answer, dict):
        return [answer[key].numpy() for key in sorted(answer)]
    return [answer.numpy()]


@pytest.mark.parametrize("suffix", ["", ".keras", ".h5"])
@pytest.mark.parametrize("name", NAMES)
def test_each_format_answers_as_keras_does(zoo: Any, name: str, suffix: str) -> None:
    model = load(zoo.folder / f"{name}{suffix}", "tensorflow")
    rows = zoo.rows[name]
    assert {each.name for each in model.metadata.inputs} == set(rows)
    assert model.metadata.batchable
    for count in (1, 3, 48):
        inputs = {key: data[:count] for key, data in rows.items()}
        found = arrays(model.predict(ask(**inputs)))
        wanted = expected(zoo, name, inputs)
        for key, value in zip(sorted(found), wanted, strict=True):
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


def test_a_saved_model_tells_its_inputs_outputs_and_signatures(zoo: Any) -> None:
    metadata = load(zoo.folder / "texts", "tensorflow").metadata
    assert [(i.name, i.datatype, i.shape) for i in metadata.inputs] == [("x", "FP32", (-1, 2))]
    assert {each.name for each in metadata.signatures} == {"serving_default", "codes", "counts"}
    codes = next(each for each in metadata.signatures if each.name == "codes")
    assert codes.method_name == "tensorflow/serving/predict"
    assert [(i.name, i.datatype, i.shape) for i in codes.inputs] == [("words", "BYTES", (-1,))]
    kinds = {o.name: (o.datatype, o.shape) for o in codes.outputs}
    assert kinds == {"code": ("INT64", (-1,)), "upper": ("BYTES", (-1,))}
    assert metadata.platform == "tensorflow_savedmodel"
    assert metadata.framework_version == tf.__version__


def by(name: str, request: InferRequest) -> InferRequest:
    return InferRequest(request.inputs, request.outputs, {"signature_name": name})


def test_a_request_chooses_a_signature(zoo: Any) -> None:
    model = load(zoo.folder / "texts", "tensorflow")
    rows = np.float32([[1, 2]])
    wanted = zoo.models["texts"].scaled(rows)["y"].numpy()
    np.testing.assert_array_equal(only(model.predict(ask(x=rows))), wanted)
    answer = arrays(model.predict(by("codes", ask(words=["red", "blue", "é"]))))
    assert answer["code"].tolist() == [1, -1, -1]
    assert answer["upper"].tolist() == [b"RED", b"BLUE", "é".encode()]
    one = arrays(model.predict(by("codes", ask("upper", words=["red"]))))
    assert list(one) == ["upper"]
    with pytest.raises(InvalidInput, match="signature 'none' is unknown; the model has codes"):
        model.predict(by("none", ask(words=["red"])))
    with pytest.raises(InvalidInput, match="output 'y' is unknown"):
        model.predict(by("codes", ask("y", words=["red"])))


def test_small_integers_and_bfloat16_go_in_and_out(zoo: Any) -> None:
    model = load(zoo.folder / "texts", "tensorflow")
    inputs = (
        Tensor("coarse", "BF16", np.float32([3, -5])),
        Tensor("small", "INT64", np.int64([-128, 126])),
    )
    answer = arrays(model.predict(by("counts", InferRequest(inputs))))
    assert answer["sum"].dtype == np.int8
    assert answer["sum"].tolist() == [-127, 127]
    assert answer["half"].dtype == np.float32
    assert answer["half"].tolist() == [1.5, -2.5]
    over = (inputs[0], Tensor("small", "INT64", np.int64([0, 200])))
    with pytest.raises(InvalidInput, match="has the value 200, the model takes INT8"):
        model.predict(by("counts", InferRequest(over)))


def test_the_default_signature_can_be_set(zoo: Any) -> None:
    model = load(zoo.folder / "texts", "tensorflow", parameters={"signature": "codes"})
    assert [each.name for each in model.metadata.inputs] == ["words"]
    with pytest.raises(LoadFailed, match="no signature 'cods'; name one of codes"):
        load(zoo.folder / "texts", "tensorflow", parameters={"signature": "cods"})


def test_rows_that_depend_on_each_other_are_never_stacked(zoo: Any) -> None:
    assert not load(zoo.folder / "centred", "tensorflow").metadata.batchable
    assert load(
        zoo.folder / "centred", "tensorflow", parameters={"batchable": True}
    ).metadata.batchable


def test_fixed_shapes_and_scalars_are_served_as_they_are(zoo: Any) -> None:
    model = load(zoo.folder / "fixed", "tensorflow")
    assert not model.metadata.batchable
    answer = arrays(model.predict(ask(x=np.float32([[1, 2], [3, 4]]))))
    assert answer["sum"].shape == ()
    assert answer["sum"] == 10


def test_what_tensorflow_refuses_is_the_callers_fault_on_one_line(zoo: Any) -> None:
    model = load(zoo.folder / "words", "tensorflow")
    with pytest.raises(InvalidInput, match=r"TensorFlow refused the input: indices.*99") as caught:
        model.predict(ask(tokens=np.int64([[1, 99]])))
    assert "\n" not in str(caught.value)
    assert "node" not in str(caught.value)
    assert model.predict(ask(tokens=np.int64([[1, 2]]))).outputs


def test_a_request_leaves_its_own_arrays_as_they_are(zoo: Any) -> None:
    model = load(zoo.folder / "texts", "tensorflow")
    rows = np.ones((512, 2), np.float32)
    rows.flags.writeable = False
    first = only(model.predict(ask(x=rows))).copy()
    np.testing.assert_array_equal(only(model.predict(ask(x=rows))), first)
    assert (rows == 1).all()


def test_labels_are_given_to_the_outputs_that_have_so_many_values(zoo: Any) -> None:
    labels = ["setosa", "versicolor", "virginica"]
    metadata = load(zoo.folder / "mlp", "tensorflow", parameters={"labels": labels}).metadata
    assert metadata.outputs[0].labels == tuple(labels)
    with pytest.raises(LoadFailed, match=r"2 labels, but no output has so many \(output_0"):
        load(zoo.folder / "mlp", "tensorflow", parameters={"labels": labels[:2]})


def test_examples_are_parsed_by_the_model(zoo: Any) -> None:
    model = load(zoo.folder / "census", "tensorflow")
    assert model.metadata.batchable
    methods = {each.name: each.method_name for each in model.metadata.signatures}
    assert methods["serving_default"] == "tensorflow/serving/classify"
    assert methods["regression"] == "tensorflow/serving/regress"
    text = example(age=30.0).SerializeToString()
    answer = arrays(model.predict(ask(inputs=[text])))
    assert answer["classes"].tolist() == [[b"no", b"yes"]]
    np.testing.assert_allclose(answer["scores"], [[0.4, 0.6]], rtol=1e-5)


def example(**features: float) -> Any:
    found = tf.train.Example()
    for name, value in features.items():
        found.features.feature[name].float_list.value.append(value)
    return found


def test_the_newest_of_several_versions_is_served(zoo: Any, tmp_path: Path) -> None:
    for version, name in (("9", "mlp"), ("10", "texts")):
        shutil.copytree(zoo.folder / name, tmp_path / "base" / version)
    assert load(tmp_path / "base", "tensorflow").metadata.inputs[0].name == "x"


def field(number: int, content: bytes) -> bytes:
    """A field with a length, as Protocol Buffers write it."""
    size, head = len(content), bytearray([number << 3 | 2])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + content


def record(data: bytes) -> bytes:
    return struct.pack("<QI", len(data), 0) + data + bytes(4)


def predict_log(signature: str, **inputs: Any) -> bytes:
    spec = field(1, field(3, signature.encode()))
    for name, value in inputs.items():
        proto = tf.make_tensor_proto(value).SerializeToString()
        spec += field(2, field(1, name.encode()) + field(2, proto))
    return record(field(6, field(1, spec)))


def warm(zoo: Any, tmp_path: Path, name: str, content: bytes) -> Path:
    folder = tmp_path / name
    shutil.copytree(zoo.folder / name, folder)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(content)
    return folder


def test_warm_up_records_are_asked_at_load(zoo: Any, tmp_path: Path) -> None:
    good = predict_log("codes", words=["red"]) + predict_log("", x=np.float32([[1, 2]]))
    assert load(warm(zoo, tmp_path, "texts", good), "tensorflow").metadata.batchable
    text = example(age=1.0).SerializeToString()
    classify = record(field(2, field(1, field(2, field(1, field(1, text))))))
    assert load(warm(zoo, tmp_path, "census", classify), "tensorflow").metadata.signatures


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: predict_log("gone", x=[1.0]), "warm-up request 0 .* no signature 'gone'"),
        (lambda: predict_log("codes", other=["x"]), "lacks the input 'words'"),
        (lambda: predict_log("", x=np.zeros((1, 2)))[:-9], "runs past its end"),
        (lambda: b"\x01\x02", "cut short within a record's head"),
        (lambda: record(b"\xff\xff"), "record 0 is no PredictionLog"),
        (lambda: predict_log("codes", words=["red"]) * 1001, "more than 1000 records"),
        (lambda: predict_log("", x=np.zeros((1, 2))), "warm-up request 0 .*fails"),
    ],
)
def test_warm_up_records_that_fail_are_named(
    zoo: Any, tmp_path: Path, content: Any, message: str
) -> None:
    with pytest.raises(LoadFailed, match=message):
        load(warm(zoo, tmp_path, "texts", content()), "tensorflow")


def test_a_gpu_that_is_not_there_is_refused(zoo: Any) -> None:
    with pytest.raises(LoadFailed, match=r"device gpu cannot be had.*choose device cpu or auto"):
        load(zoo.folder / "mlp", "tensorflow", parameters={"device": "gpu"})
    assert load(zoo.folder / "mlp", "tensorflow", parameters={"device": "cpu"}).metadata.inputs
