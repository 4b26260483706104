"""The parts of the TensorFlow and TFLite runtimes that need neither of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.requests import arrays, ask, load, only

from salver.errors import InvalidInput, LoadFailed, MissingFramework
from salver.inference.metadata import SignatureMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, Tensor
from salver.runtimes.tensorflow_keras import check_config
from salver.runtimes.tensorflow_probe import is_rowwise
from salver.runtimes.tensorflow_settings import SignedSettings, TensorflowSettings, settings_of
from salver.runtimes.tensorflow_signatures import (
    PREDICT,
    SignedModel,
    default_signature,
    described,
    fitted,
)
from salver.runtimes.tensorflow_warmup import WarmupRequest, warmup_requests

X = TensorMetadata("x", "FP32", (-1, 2))
COUNT = TensorMetadata("count", "INT8", (-1,), optional=True)
SUM = TensorMetadata("sum", "FP32", (-1,))
TWICE = TensorMetadata("twice", "FP32", (-1, 2))


class Sums:
    """Sums rows, and doubles them; `mean`: each row knows of the others."""

    defaults: Mapping[str, Array] = {"count": np.int8([1])}

    def __init__(self, name: str, *inputs: TensorMetadata, mean: bool = False) -> None:
        self.metadata = SignatureMetadata(name, PREDICT, inputs or (X,), (SUM, TWICE))
        self.mean = mean

    def run(self, arrays: Sequence[Array], outputs: Sequence[str]) -> Sequence[Array]:
        rows = arrays[0]
        if self.mean:
            rows = rows - rows.mean(0)
        count = arrays[1] if len(arrays) > 1 else 1
        found = {"sum": rows.sum(1) * count, "twice": rows * 2}
        return [found[each] for each in outputs]


def model(*functions: Sums) -> SignedModel:
    by_name = {each.metadata.name: each for each in functions}
    first = functions[0].metadata.name
    metadata = described(
        by_name, first, platform="p", version="1", batchable=True, labels=("no", "yes")
    )
    return SignedModel(by_name, first, metadata)


def test_a_request_is_answered_by_the_signature_it_names() -> None:
    signed = model(Sums("plain"), Sums("centred", mean=True))
    rows = np.float32([[1, 2], [3, 4]])
    assert arrays(signed.predict(ask(x=rows)))["sum"].tolist() == [3, 7]
    centred = InferRequest(ask(x=rows).inputs, ("sum",), {"signature_name": "centred"})
    assert only(signed.predict(centred)).tolist() == [-2, 2]
    with pytest.raises(InvalidInput, match="signature 'other' is unknown; the model has plain, "):
        signed.predict(InferRequest(centred.inputs, (), {"signature_name": "other"}))


def test_inputs_are_bound_by_name_and_may_be_left_out_where_there_is_a_default() -> None:
    signed = model(Sums("two", X, COUNT))
    rows = np.float32([[1, 2]])
    assert only(signed.predict(ask("sum", count=np.int8([3]), x=rows))).tolist() == [9]
    with pytest.raises(InvalidInput, match="input 'x' is missing; the model takes x, count"):
        signed.predict(ask(count=np.int8([3])))
    with pytest.raises(InvalidInput, match="input 'y' is unknown"):
        signed.predict(ask(x=rows, y=rows))


def test_labels_go_to_outputs_with_so_many_values() -> None:
    metadata = model(Sums("plain")).metadata
    assert [each.labels for each in metadata.outputs] == [(), ("no", "yes")]
    assert metadata.signatures[0].outputs == metadata.outputs


def test_integers_that_have_no_room_are_refused_and_others_converted() -> None:
    fits = fitted(Tensor("a", "INT64", np.int64([-128, 127])), "INT8")
    assert fits.dtype == np.int8
    for value, kind in ((-1, "UINT8"), (128, "INT8"), (2**31, "INT32")):
        with pytest.raises(InvalidInput, match=f"input 'a' has the value {value}, .*takes {kind}"):
            fitted(Tensor("a", "INT64", np.int64([0, value])), kind)  # type: ignore[arg-type]


def test_rows_that_stand_alone_are_told_from_others() -> None:
    assert is_rowwise(Sums("plain"), "m") is True
    assert is_rowwise(Sums("centred", mean=True), "m") is False
    fixed = TensorMetadata("x", "FP32", (2, 2))
    assert is_rowwise(Sums("fixed", fixed), "m") is False


class Parses(Sums):
    """Takes serialised Examples alone."""

    def __init__(self, method: str) -> None:
        super().__init__("serving_default")
        texts = TensorMetadata("inputs", "BYTES", (-1,))
        self.metadata = SignatureMetadata("serving_default", method, (texts,), (SUM,))

    def run(self, arrays: Sequence[Array], outputs: Sequence[str]) -> Sequence[Array]:
        raise InvalidInput("that is no Example")


def test_a_signature_of_examples_is_taken_by_its_nature() -> None:
    assert is_rowwise(Parses("tensorflow/serving/classify"), "m") is True
    assert is_rowwise(Parses(PREDICT), "m") is None


def test_the_default_signature_is_the_usual_one_or_the_first() -> None:
    assert default_signature(["a", "serving_default"], "") == "serving_default"
    assert default_signature(["a", "b"], "") == "a"
    assert default_signature(["a", "b"], "b") == "b"
    with pytest.raises(LoadFailed, match="no signature 'c'; name one of a, b"):
        default_signature(["a", "b"], "c")


def test_settings_are_checked_and_mistakes_named() -> None:
    given = {"extra": {"device": "gpu:1", "labels": ["a"]}, "settings_file": "x"}
    settings = settings_of(TensorflowSettings, "tensorflow", "m", given)
    assert (settings.device, settings.labels) == ("gpu:1", ("a",))
    for wrong, message in (
        ({"signatur": "x"}, "did you mean 'signature'"),
        ({"device": "gpu:x"}, "device 'gpu:x' is none"),
        ({"batchable": "yes"}, "an argument of the tensorflow runtime"),
    ):
        with pytest.raises(LoadFailed, match=message):
            settings_of(TensorflowSettings, "tensorflow", "m", wrong)
    with pytest.raises(LoadFailed, match="the tflite runtime has no argument 'device'"):
        settings_of(SignedSettings, "tflite", "m", {"device": "cpu"})


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d"}}


def test_a_configuration_of_kerass_own_classes_is_taken() -> None:
    check_config({"class_name": "Sequential", "config": {"layers": [DENSE, {"a": [1, None]}]}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_name": "Lambda"}, "layer 'd' is a Lambda, which runs Python code"),
        ({"class_name": "TFSMLayer"}, "is a TFSMLayer, which loads more code"),
        ({"module": "os.path"}, "class os.path.Dense, which is not Keras's own"),
        ({"module": "kerasx"}, "class kerasx.Dense"),
        ({"module": None, "registered_name": "mine>Dense"}, "class mine>Dense"),
    ],
)
def test_a_configuration_that_needs_more_code_is_refused(
    change: dict[str, Any], message: str
) -> None:
    nested = {"class_name": "Model", "config": {"layers": [{"config": {"inner": DENSE | change}}]}}
    with pytest.raises(LoadFailed, match=message):
        check_config(nested)


def test_a_configuration_may_be_nested_as_deep_as_it_likes() -> None:
    deep: Any = DENSE | {"class_name": "Lambda"}
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(LoadFailed, match="Lambda"):
        check_config(deep)


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def record(data: bytes) -> bytes:
    return struct.pack("<QI", len(data), 0) + data + bytes(4)


def test_warm_up_records_of_each_kind_are_read(tmp_path: Path) -> None:
    named = field(1, field(1, b"m") + field(3, b"sig"))
    predict = field(6, field(1, named + field(2, field(1, b"x") + field(2, b"PROTO"))))
    examples = field(2, field(1, field(1, b"E1") + field(1, b"E2")))
    classify = field(2, field(1, named + examples))
    context = field(2, field(2, field(1, b"E1") + field(2, b"C")))
    regress = field(3, field(1, context))
    tasks = field(4, field(1, field(1, named) + field(1, b"") + examples))
    path = tmp_path / "records"
    path.write_bytes(b"".join(record(each) for each in (predict, classify, regress, tasks)))
    assert warmup_requests(path) == [
        WarmupRequest("sig", {"x": b"PROTO"}),
        WarmupRequest("sig", {}, (b"E1", b"E2")),
        WarmupRequest("", {}, (b"CE1",)),
        WarmupRequest("sig", {}, (b"E1", b"E2")),
        WarmupRequest("", {}, (b"E1", b"E2")),
    ]
    whole = path.read_bytes()
    refusals = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:
            warmup_requests(path)
        except ValueError:
            refusals += 1
    assert refusals == len(whole) - 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no request"),
        (field(5, b""), "it runs the session"),
        (b"\x32\x7f", "a field runs past its end"),
        (b"\x37", "unknown wire type 7"),
        (b"\xff" * 11, "too many bytes"),
        (b"\x80", "cut short"),
    ],
)
def test_what_is_no_record_of_a_request_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "records").write_bytes(record(data))
    with pytest.raises(ValueError, match=message):
        warmup_requests(tmp_path / "records")


def test_what_is_no_model_is_refused_before_a_framework_is_needed(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"has no saved_model.pb, nor a folder"):
        load(tmp_path, "tensorflow")
    (tmp_path / "m.keras").write_bytes(b"x")
    with pytest.raises(LoadFailed, match=r"neither a .keras archive nor HDF5"):
        load(tmp_path / "m.keras", "tensorflow")


def test_missing_frameworks_are_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name, runtime, package in (
        ("m.tflite", "tflite", "ai_edge_litert"),
        ("m.h5", "tensorflow", "tensorflow"),
    ):
        with pytest.raises(MissingFramework, match=rf"needs {package}, .*'salver\[{runtime}\]'"):
            load(tmp_path / name, runtime)
