"""Plain Python classes as models: hints in, answers out, and what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only

from salver.errors import InvalidInput, LoadFailed, ModelFailed
from salver.inference.tensor import InferRequest
from salver.runtimes.ports import LoadedModel
from salver.runtimes.warmup import warmup_request

HEAD = "import numpy as np\nimport pandas as pd\nfrom typing import Any\n"


def served(tmp_path: Path, body: str, **fields: Any) -> LoadedModel:
    """A model whose class `M` has `body`."""
    path = tmp_path / "my_model.py"
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    path.write_text(f"{HEAD}\nclass M:\n{lines}")
    return load(path, "python", attribute="M", **fields)


def test_an_array_comes_in_under_any_name_and_goes_out_as_predict(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, x: np.ndarray) -> np.ndarray:\n    return x * 2")
    assert arrays(model.predict(ask(whatever=[[1.0, 2.0]])))["predict"].tolist() == [[2.0, 4.0]]


def test_a_parameter_without_a_hint_gets_an_array(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, x):\n    return x.shape")
    assert only(model.predict(matrix([[1.0, 2.0]]))).tolist() == [1, 2]


def test_several_arguments_are_filled_by_the_inputs_names(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def predict(self, a: np.ndarray, b: np.ndarray, scale: float = 1.0):\n"
        "    return (a - b) * scale",
    )
    assert [(each.name, each.optional) for each in model.metadata.inputs] == [
        ("a", False),
        ("b", False),
        ("scale", True),
    ]
    assert only(model.predict(ask(b=[1.0], a=[3.0]))).tolist() == [2.0]
    assert only(model.predict(ask(b=[1.0], a=[3.0], scale=[10.0]))).tolist() == [20.0]
    with pytest.raises(InvalidInput, match="input 'a' is missing"):
        model.predict(ask(b=[1.0]))


def test_a_frame_has_a_column_per_input(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def predict(self, rows: pd.DataFrame) -> pd.DataFrame:\n"
        "    return pd.DataFrame({'city': rows['city'].str.upper(), 'twice': rows['n'] * 2})",
    )
    answers = arrays(model.predict(ask(city=[["Rom"], ["Bern"]], n=[1, 2])))
    assert answers["city"].tolist() == [b"ROM", b"BERN"]
    assert answers["twice"].tolist() == [2, 4]


def test_a_matrix_for_a_frame_becomes_numbered_columns(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, x: pd.DataFrame):\n    return list(x.columns)")
    assert only(model.predict(matrix([[1.0, 2.0]]))).tolist() == [b"0", b"1"]
    with pytest.raises(InvalidInput, match="no column of a table of 1 rows"):
        model.predict(ask(a=[1.0], b=[1.0, 2.0]))


@pytest.mark.parametrize(
    ("hint", "expected"),
    [("dict", b"ndarray"), ("dict[str, np.ndarray]", b"ndarray"), ("dict[str, list]", b"list")],
)
def test_a_dict_has_arrays_or_lists_by_its_hint(tmp_path: Path, hint: str, expected: bytes) -> None:
    model = served(
        tmp_path,
        f"def predict(self, inputs: {hint}):\n"
        "    return {'kind': type(inputs['a']).__name__, 'sum': sum(inputs['a'])}",
    )
    answers = arrays(model.predict(ask(a=[1, 2])))
    assert answers["kind"].tolist() == [expected]
    assert answers["sum"].tolist() == [3]


@pytest.mark.parametrize("hint", ["list", "list[str]", "'list[str]'", "list | None"])
def test_a_list_holds_python_values(tmp_path: Path, hint: str) -> None:
    model = served(tmp_path, f"def predict(self, x: {hint}):\n    return [t.upper() for t in x]")
    assert only(model.predict(matrix(["é", "b"]))).tolist() == ["É".encode(), b"B"]


def test_one_string_is_one_string(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, text: str) -> str:\n    return text[::-1]")
    assert only(model.predict(matrix(["abc"]))).tolist() == [b"cba"]
    with pytest.raises(InvalidInput, match="2 elements"):
        model.predict(matrix(["a", "b"]))


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, image: bytes) -> int:\n    return image[0]")
    image = np.empty(1, dtype=object)
    image[0] = b"\xff\xd8"
    assert only(model.predict(matrix(image))).tolist() == [255]


def test_preprocess_and_postprocess_wrap_predict(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def preprocess(self, words: list[str]) -> np.ndarray:\n"
        "    return np.array([len(each) for each in words])\n"
        "def predict(self, x):\n"
        "    return x * 10\n"
        "def postprocess(self, answer):\n"
        "    return {'length': answer}",
    )
    assert arrays(model.predict(matrix(["ab", "c"])))["length"].tolist() == [20, 10]


def test_asynchronous_methods_are_run_to_their_end(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "async def load(self):\n    self.factor = 3\n"
        "async def predict(self, x):\n    return x * self.factor",
    )
    assert only(model.predict(matrix([1.0]))).tolist() == [3.0]
    model.unload()


def test_unload_is_the_users(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def predict(self, x):\n    return x\n"
        "def unload(self):\n    open(__file__ + '.gone', 'w').close()",
    )
    model.unload()
    assert (tmp_path / "my_model.py.gone").exists()


def test_records_become_an_output_per_key(tmp_path: Path) -> None:
    model = served(
        tmp_path, "def predict(self, x):\n    return [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]"
    )
    answers = arrays(model.predict(matrix([1.0])))
    assert answers["a"].tolist() == [1, 2]
    assert answers["b"].tolist() == [b"x", b"y"]


def test_only_the_outputs_asked_for_come_back(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, x):\n    return {'a': x, 'b': x + 1}")
    assert list(arrays(model.predict(ask("b", x=[1.0])))) == ["b"]
    with pytest.raises(InvalidInput, match="output 'c' is unknown; the model has 'a', 'b'"):
        model.predict(ask("c", x=[1.0]))


def test_declared_inputs_and_outputs_are_the_metadata(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "inputs = [{'name': 'x', 'datatype': 'FP32', 'shape': [-1, 4]}]\n"
        "outputs = [{'name': 'y', 'datatype': 'FP32', 'shape': [-1]}]\n"
        "batchable = True\n"
        "idempotent = False\n"
        "def predict(self, x: np.ndarray):\n    return x.sum(axis=1).astype(float)",
    )
    metadata = model.metadata
    assert (metadata.inputs[0].shape, metadata.batchable, metadata.idempotent) == (
        (-1, 4),
        True,
        False,
    )
    request = warmup_request(metadata)
    assert request is not None
    answer = arrays(model.predict(request))["y"]
    assert (answer.dtype, answer.shape) == (np.float32, (1,))


@pytest.mark.parametrize(
    ("returned", "fact"),
    [
        ("None", "is None"),
        ("{}", "empty dict"),
        ("object()", "holds object values"),
        ("[[1], [1, 2]]", "no regular array"),
        ("[1, 'a']", "holds int values"),
        ("[1, None]", "holds int values"),
        ("np.array([1j])", "holds complex128 values"),
        ("[{'a': 1}, {'b': 2}]", "holds dict values"),
    ],
)
def test_nonsense_is_the_models_failure_and_named(tmp_path: Path, returned: str, fact: str) -> None:
    model = served(tmp_path, f"def predict(self, x):\n    return {returned}")
    with pytest.raises(ModelFailed, match=re.escape(fact)):
        model.predict(matrix([[1.0]]))


@pytest.mark.parametrize(
    ("returned", "fact"),
    [
        ("np.zeros((1, 3), 'f4')", "is declared with shape [-1, 2]"),
        ("np.array([['a', 'b']])", "is declared as FP32"),
        ("{'z': 1}", "did not return its output 'y', only 'z'"),
        ("np.zeros((3, 2), 'f4')", "for 1 input rows"),
    ],
)
def test_an_answer_other_than_declared_is_the_models_failure(
    tmp_path: Path, returned: str, fact: str
) -> None:
    model = served(
        tmp_path,
        "outputs = [{'name': 'y', 'datatype': 'FP32', 'shape': [-1, 2]}]\n"
        "batchable = True\n"
        f"def predict(self, x):\n    return {returned}",
    )
    with pytest.raises(ModelFailed, match=re.escape(fact)):
        model.predict(matrix([[1.0]]))


def test_a_class_is_batched_only_if_it_says_so_or_the_user_does(tmp_path: Path) -> None:
    body = "def predict(self, x: np.ndarray):\n    return x"
    assert not served(tmp_path, body).metadata.batchable
    assert served(tmp_path, body, batch_requested=True).metadata.batchable
    text = "def predict(self, x: str):\n    return x"
    assert not served(tmp_path, text, batch_requested=True).metadata.batchable


def test_an_example_is_predicted_on_before_the_model_is_ready(tmp_path: Path) -> None:
    body = "example = {body}\ndef predict(self, x: dict):\n    return x['a'] / x['b']"
    served(tmp_path, body.format(body="{'a': [1.0], 'b': [2.0]}"))
    with pytest.raises(LoadFailed, match=r"on its example failed with KeyError: 'b'"):
        served(tmp_path, body.format(body="{'a': [1.0]}"))


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        ("def load(self):\n    raise RuntimeError('no weights')\ndef predict(self, x): ...",
         "M.load failed with RuntimeError: no weights (my_model.py, line 7)"),
        ("def __init__(self):\n    1 / 0\ndef predict(self, x): ...",
         "M() failed with ZeroDivisionError: division by zero (my_model.py, line 7)"),
        ("import no_such_package", "importing it failed with ModuleNotFoundError"),
        ("raise SystemExit(3)", "importing it failed with SystemExit: 3"),
        ("pass", "M has no method predict"),
        ("def predict(self): ...", "it takes no argument"),
        ("def predict(self, x: set): ...", "the hint set of its parameter 'x'"),
        ("inputs = 3\ndef predict(self, x): ...", "inputs must be a list of dicts"),
        ("inputs = [{'nam': 'x'}]\ndef predict(self, x): ...", "unknown key 'nam'"),
        ("inputs = [{'name': 'x', 'datatype': 'FLOAT'}]\ndef predict(self, x): ...",
         "unknown datatype 'FLOAT'"),
        ("outputs = [{'name': 'x', 'shape': ['n']}]\ndef predict(self, x): ...", "has the shape"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_load_says_why_and_where(tmp_path: Path, body: str, fact: str) -> None:
    with pytest.raises(LoadFailed, match=re.escape(fact)) as caught:
        served(tmp_path, body)
    assert "\n" not in str(caught.value)


def test_the_users_exceptions_in_predict_pass_through(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, x):\n    raise KeyError('oh')")
    with pytest.raises(KeyError, match="oh"):
        model.predict(matrix([1.0]))


def test_a_model_may_refuse_its_input(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def predict(self, x):\n"
        "    from salver.errors import InvalidInput\n"
        "    raise InvalidInput('too old')",
    )
    with pytest.raises(InvalidInput, match="too old"):
        model.predict(matrix([1.0]))


def test_modules_beside_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_the_model.py").write_text("FACTOR = 7\n")
    model = served(
        tmp_path,
        "def load(self):\n    from beside_the_model import FACTOR\n    self.factor = FACTOR\n"
        "def predict(self, x):\n    return x * self.factor",
    )
    assert only(model.predict(matrix([1.0]))).tolist() == [7.0]


def test_the_whole_request_may_be_asked_for(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def predict(self, request: 'InferRequest'):\n"
        "    return [each.name for each in request.inputs]",
    )
    assert model.metadata.inputs == ()
    request: InferRequest = ask(b=[1.0], a=[2.0])
    assert only(model.predict(request)).tolist() == [b"b", b"a"]


def test_an_optional_output_may_be_left_out(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "outputs = [dict(name='A', datatype='FP64', optional=True),\n"
        "           dict(name='B', datatype='FP64', optional=True)]\n"
        "def predict(self, choice: np.ndarray):\n"
        "    return {'A' if choice[0] == 0 else 'B': choice * 1.0}",
    )
    assert list(arrays(model.predict(ask(choice=[0])))) == ["A"]
    assert list(arrays(model.predict(ask(choice=[1])))) == ["B"]
    asked = InferRequest(ask(choice=[1]).inputs, outputs=("A", "B"))
    assert list(arrays(model.predict(asked))) == ["B"]
