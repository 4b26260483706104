"""Plain Python functions as steps: what they are given, what they may give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.step_inputs import Given, arrays, call, only, unit

from salver.errors import InvalidInput, LoadFailed, ModelFailed
from salver.runtimes.steps import StepsModel

HEAD = "import numpy as np\nimport pandas as pd\nfrom salver.errors import InvalidInput\n"


def function(tmp_path: Path, text: str, **entry: Any) -> StepsModel:
    """The function `f` of the text."""
    (tmp_path / "steps.py").write_text(HEAD + text)
    return unit(tmp_path, f={"python": "steps.py:f", **entry})


def test_one_tensor_comes_as_its_array_and_goes_out_under_the_functions_name(
    tmp_path: Path,
) -> None:
    model = function(tmp_path, "def f(x):\n    return x * 2")
    answer = call(model, Given(anything=np.array([[1, 2]], np.float32)))
    assert (only(answer).name, only(answer).datatype) == ("f", "FP32")
    assert only(answer).data.tolist() == [[2, 4]]


def test_several_tensors_come_as_a_dict_of_arrays(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(given):\n    return given['a'] - given['b']")
    assert arrays(call(model, Given(a=[3.0], b=[1.0]))) == {"f": [2.0]}


def test_several_parameters_get_the_tensors_that_are_called_so(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(a, b, scale=10):\n    return (a - b) * scale")
    assert arrays(call(model, Given(b=[1.0], a=[3.0]))) == {"f": [20.0]}
    assert arrays(call(model, Given(b=[1.0], a=[3.0], scale=[2.0]))) == {"f": [4.0]}


def test_several_messages_come_by_the_names_of_their_steps(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(mlp, gbm):\n    return mlp - gbm")
    assert arrays(call(model, Given("gbm", y=[1.0]), Given("mlp", z=[3.0]))) == {"f": [2.0]}


def test_several_messages_from_steps_of_other_names_come_in_order(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(a, b):\n    return a - b")
    assert arrays(call(model, Given("gbm", y=[1.0]), Given("mlp", y=[3.0]))) == {"f": [-2.0]}


def test_any_number_of_messages_may_come(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(*xs):\n    return sum(xs)")
    inputs = [Given(str(number), y=[float(number)]) for number in range(4)]
    assert arrays(call(model, *inputs)) == {"f": [6.0]}
    assert arrays(call(model, inputs[3])) == {"f": [3.0]}


def test_hints_ask_for_lists_frames_and_numbers(tmp_path: Path) -> None:
    text = "def f(a: list, b: float, c: pd.DataFrame):\n    return a * int(b) + list(c['n'])"
    model = function(tmp_path, text)
    inputs = (Given("a", x=[1]), Given("b", x=[2.0]), Given("c", n=[7]))
    assert arrays(call(model, *inputs)) == {"f": [1, 1, 7]}


def test_a_hint_that_says_nothing_here_gets_an_array(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(x: 'SomethingElse'):\n    return type(x).__name__")
    assert only(call(model, Given(x=[1]))).data.tolist() == [b"ndarray"]


def test_strings_come_as_strings_and_content_as_it_is(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(x):\n    return repr(x)")
    assert only(call(model, Given(x=["a"]))).data.tolist() == [b"array(['a'], dtype=object)"]
    assert only(call(model, Given(content={"a": 1}))).data.tolist() == [b"{'a': 1}"]


def test_headers_come_to_those_who_ask(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(x, headers):\n    return x * int(headers['by'])")
    assert model.metadata.wants_headers
    assert arrays(call(model, Given(x=[2]), headers={"by": "3"})) == {"f": [6]}


def test_a_coroutine_is_awaited(tmp_path: Path) -> None:
    text = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1"
    model = function(tmp_path, text)
    assert arrays(call(model, Given(x=[2]))) == {"f": [3]}
    assert arrays(call(model, Given(x=[3]))) == {"f": [4]}
    model.unload()


def test_an_instance_of_a_class_with_call_is_a_function(tmp_path: Path) -> None:
    text = "class f:\n    def __init__(self): self.n = 0\n"
    text += "    def __call__(self, x):\n        self.n += 1\n        return x * self.n"
    model = function(tmp_path, text)
    assert [arrays(call(model, Given(x=[5]))) for _ in range(2)] == [{"f": [5]}, {"f": [10]}]
    with pytest.raises(LoadFailed, match="f is a class without __call__"):
        function(tmp_path, "class f: pass")


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("3.5", {"f": [3.5]}),
        ("np.float32(2)", {"f": [2.0]}),
        ("[1, 2]", {"f": [1, 2]}),
        ("'text'", {"f": [b"text"]}),
        ("True", {"f": [True]}),
        ("np.array(7)", {"f": [7]}),
        ("{'a': [1], 'b': ['x']}", {"a": [1], "b": [b"x"]}),
        ("(np.array([1]), np.array([2]))", {"f_0": [1], "f_1": [2]}),
        ("(1, 2)", {"f": [1, 2]}),
        ("[{'a': 1}, {'a': 2}]", {"a": [1, 2]}),
        ("pd.DataFrame({'a': [1.5]})", {"a": [1.5]}),
        ("np.array([1.0], '>f8')", {"f": [1.0]}),
    ],
)
def test_what_may_be_returned(tmp_path: Path, returned: str, expected: dict[str, Any]) -> None:
    model = function(tmp_path, f"def f(x):\n    return {returned}")
    assert arrays(call(model, Given(x=[0]))) == expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("pass", "it returned nothing; check it for a return"),
        ("return object()", "holds object values"),
        ("return [1, [2]]", "no regular array"),
        ("return {}", "an empty dict"),
        ("return x + np.zeros((3, 3, 3))", r"input \[2, 4\] FP32\): ValueError: operands could"),
        (
            "raise KeyError('gone')",
            r"step 's' \(function f, input \[2, 4\] FP32\): KeyError: 'gone'",
        ),
    ],
)
def test_what_goes_wrong_names_step_function_input_and_cause(
    tmp_path: Path, body: str, text: str
) -> None:
    model = function(tmp_path, f"def f(x):\n    {body}")
    with pytest.raises(ModelFailed, match=text):
        call(model, Given(x=np.zeros((2, 4), np.float32)))


def test_invalid_input_stays_the_callers_fault(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(x):\n    raise InvalidInput('too many rows')")
    with pytest.raises(InvalidInput, match=r"step 's' \(function f\): too many rows"):
        call(model, Given(x=[0]))


def test_memory_errors_and_exits_pass_through(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        call(function(tmp_path, "def f(x):\n    raise MemoryError"), Given(x=[0]))
    with pytest.raises(SystemExit):
        call(function(tmp_path, "def f(x):\n    raise SystemExit(3)"), Given(x=[0]))


# Branches.


@pytest.mark.parametrize(
    ("returned", "branch"),
    [
        ("True", 1),
        ("False", 0),
        ("2", 2),
        ("-1", -1),
        ("np.bool_(True)", 1),
        ("np.array(1)", 1),
        ("np.array([[3]])", 3),
        ("np.array([True, True])", 1),
        ("[2.0]", 2),
        ("{'branch': [1]}", 1),
    ],
)
def test_a_branch_is_a_truth_value_or_a_whole_number(
    tmp_path: Path, returned: str, branch: int
) -> None:
    model = function(tmp_path, f"def f(x):\n    return {returned}")
    assert call(model, Given(x=[0]), method="branch").branch == branch


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ("x > 1", r"its 3 rows disagree about the branch \(\[False, True, False\]\)"),
        ("0.5", "returned 0.5, which is no branch"),
        ("'left'", "returned 'left', which is no branch"),
        ("[]", "no branch"),
        ("np.nan", "no branch"),
        ("None", "it returned nothing"),
    ],
)
def test_what_names_no_branch_is_refused(tmp_path: Path, returned: str, text: str) -> None:
    model = function(tmp_path, f"def f(x):\n    return {returned}")
    with pytest.raises(ModelFailed, match=text):
        call(model, Given(x=[0, 5, 0]), method="branch")


def test_a_function_has_no_other_methods(tmp_path: Path) -> None:
    model = function(tmp_path, "def f(x):\n    return x")
    with pytest.raises(ModelFailed, match="no method send_feedback"):
        call(model, Given(x=[0]), method="send_feedback")
