"""The combiners and deciders that come with Salver, held against plain Python."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtimes.step_inputs import Given, arrays, call, only, unit

from salver.errors import LoadFailed, ModelFailed
from salver.inference.tensor import Tensor
from salver.runtimes.step_ports import StepAnswer

NUMBERS = st.floats(-1e6, 1e6, width=64)


def ask(name: str, *inputs: Given, method: str = "call", **parameters: Any) -> StepAnswer:
    model = unit(Path(), f={"builtin": name, "parameters": parameters})
    return call(model, *inputs, method=method)


def given_all(values: Any) -> list[Given]:
    """An input for each of the values, from the steps a, b, ..."""
    return [Given(chr(ord("a") + at), y=each) for at, each in enumerate(values)]


@st.composite
def matrices(draw: st.DrawFn, least_columns: int = 1) -> list[list[list[float]]]:
    """Some matrices of one shape."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(least_columns, 4))
    row = st.lists(NUMBERS, min_size=columns, max_size=columns)
    matrix = st.lists(row, min_size=rows, max_size=rows)
    return draw(st.lists(matrix, min_size=1, max_size=4))


# Combiners.


@given(matrices())
def test_average_is_the_mean_of_each_element(values: list[list[list[float]]]) -> None:
    found = arrays(ask("average", *given_all(values)))["y"]
    for i, row in enumerate(found):
        for j, value in enumerate(row):
            expected = math.fsum(each[i][j] for each in values) / len(values)
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(matrices(), st.data())
def test_weighted_shares_the_weights_out(
    values: list[list[list[float]]], data: st.DataObject
) -> None:
    weights = data.draw(
        st.lists(st.floats(0.1, 10), min_size=len(values), max_size=len(values)), "weights"
    )
    by_list = arrays(ask("weighted", *given_all(values), weights=weights))["y"]
    named = {chr(ord("a") + at): weight for at, weight in enumerate(weights)}
    assert arrays(ask("weighted", *given_all(values), weights=named))["y"] == by_list
    for i, row in enumerate(by_list):
        for j, value in enumerate(row):
            expected = math.fsum(w * each[i][j] for w, each in zip(weights, values, strict=True))
            assert value == pytest.approx(expected / math.fsum(weights), rel=1e-9, abs=1e-5)


@given(st.lists(st.lists(st.sampled_from("pqr"), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_hard_vote_takes_the_label_named_most_and_first(labels: list[list[str]]) -> None:
    found = [text.decode() for text in only(ask("vote", *given_all(labels))).data]
    for row, winner in zip(zip(*labels, strict=True), found, strict=True):
        # Counter keeps the order in which labels came, and most_common the first of equals.
        assert winner == Counter(row).most_common(1)[0][0]


@given(matrices(least_columns=2))
def test_a_hard_vote_on_scores_counts_where_each_is_highest(
    values: list[list[list[float]]],
) -> None:
    found = arrays(ask("vote", *given_all(values)))["y"]
    for i, winner in enumerate(found):
        votes = [each[i].index(max(each[i])) for each in values]
        assert winner == Counter(votes).most_common(1)[0][0]


@given(matrices(least_columns=2))
def test_a_soft_vote_is_the_class_of_the_highest_mean(values: list[list[list[float]]]) -> None:
    found = arrays(ask("vote", *given_all(values), soft=True))["y"]
    means = np.mean(np.array(values), axis=0)
    for winner, row in zip(found, means.tolist(), strict=True):
        assert row[winner] == max(row)


@given(matrices())
def test_stack_puts_columns_side_by_side(values: list[list[list[float]]]) -> None:
    found = arrays(ask("stack", *given_all(values)))["y"]
    rows = range(len(values[0]))
    assert found == [[x for each in values for x in each[row]] for row in rows]


def test_lists_of_values_are_stacked_as_columns_with_the_names_that_they_have() -> None:
    first = Given("a", columns=["age"], x=[1.0, 2.0])
    second = Given("b", columns=["pay", "tax"], x=[[3.0, 4.0], [5.0, 6.0]])
    answer = ask("stack", first, second)
    assert arrays(answer)["x"] == [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    assert list(answer.columns) == ["age", "pay", "tax"]


def test_an_average_keeps_floats_as_narrow_as_they_came_and_widens_whole_numbers() -> None:
    narrow = [np.array([1, 2], np.float32), np.array([2, 4], np.float32)]
    assert only(ask("average", *given_all(narrow))).datatype == "FP32"
    whole = only(ask("average", *given_all([[1, 2], [2, 2]])))
    assert (whole.datatype, whole.data.tolist()) == ("FP64", [1.5, 2.0])
    halves = [Tensor("y", "BF16", np.array([1.0], np.float32))] * 2
    assert only(ask("average", *given_all(halves))).datatype == "BF16"


def test_tensors_of_several_inputs_are_matched_by_name() -> None:
    one = Given("a", score=[1.0], weight=[10.0])
    other = Given("b", weight=[30.0], score=[3.0])
    assert arrays(ask("average", one, other)) == {"score": [2.0], "weight": [20.0]}


def test_the_only_tensors_of_inputs_are_matched_whatever_their_names() -> None:
    assert arrays(ask("average", Given("a", gbm=[1.0]), Given("b", mlp=[2.0]))) == {"gbm": [1.5]}


def test_first_and_identity_hand_the_first_input_on() -> None:
    inputs = given_all([[1.0], [2.0]])
    assert ask("first", *inputs).passed is inputs[0]
    assert ask("identity", inputs[1], method="transform_input").passed is inputs[1]


def test_the_simple_model_answers_every_row_alike() -> None:
    answer = ask("simple_model", Given(x=[[1.0, 2.0], [3.0, 4.0]]), method="predict")
    assert only(answer).data.tolist() == [[0.1, 0.9, 0.5]] * 2
    assert list(answer.columns) == ["class0", "class1", "class2"]
    assert only(ask("simple_model", Given(content="text"))).data.shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "parameters", "inputs", "text"),
    [
        (
            "average",
            {},
            [Given("gbm", y=[[1.0]]), Given("mlp", y=[[1.0, 2.0]])],
            r"step 's' \(average, inputs gbm \[1, 1\] FP64, mlp \[1, 2\] FP64\): the shapes of 'y' "
            r"differ: gbm \[1, 1\], mlp \[1, 2\]",
        ),
        ("average", {}, [Given("a", y=["x"])], "'y' of a holds strings"),
        (
            "average",
            {},
            [Given("a", y=[1.0], z=[1.0]), Given("b", y=[1.0])],
            "different tensors: a .* b",
        ),
        ("weighted", {"weights": [1, 2]}, given_all([[1.0]]), "2 weights for 1 inputs"),
        ("weighted", {"weights": {"b": 1}}, given_all([[1.0]]), "no weight for its input a"),
        ("weighted", {"weights": {"a": 0, "b": 1}}, given_all([[1.0]]), "have the weight 0"),
        ("stack", {}, given_all([[[1.0]], [[1.0], [2.0]]]), r"a \[1, 1\], b \[2, 1\]"),
        ("stack", {}, given_all([[[1.0]], [["x"]]]), "strings .* and numbers"),
        ("vote", {}, given_all([[1], ["x"]]), "labels here and numbers there"),
        ("vote", {}, given_all([[[[1.0]]]]), "names no class"),
        ("vote", {"soft": True}, given_all([[1.0]]), r"needs \[n, classes\]"),
        ("average", {}, [], "given nothing"),
    ],
)
def test_inputs_that_cannot_be_combined_are_refused_with_the_reason(
    name: str, parameters: dict[str, Any], inputs: list[Given], text: str
) -> None:
    with pytest.raises(ModelFailed, match=text):
        ask(name, *inputs, **parameters)


# Deciders.


@given(matrices(), st.floats(-1e6, 1e6))
def test_confident_is_branch_0_if_every_row_reaches_the_threshold(
    values: list[list[list[float]]], threshold: float
) -> None:
    answer = ask("confident", *given_all(values[:1]), method="branch", threshold=threshold)
    assert answer.branch == (0 if all(max(row) >= threshold for row in values[0]) else 1)


def test_confident_goes_by_the_tensor_that_is_named_or_the_only_floats() -> None:
    answer = Given("m", label=[3], probability=[[0.2, 0.8]])
    assert ask("confident", answer, method="branch", threshold=0.8).branch == 0
    named = {"threshold": 1, "tensor": "label"}
    assert ask("confident", answer, method="branch", **named).branch == 0
    with pytest.raises(ModelFailed, match="no tensor 'score', only 'label', 'probability'"):
        ask("confident", answer, method="branch", threshold=1, tensor="score")
    with pytest.raises(ModelFailed, match="which of 'p', 'q'"):
        ask("confident", Given(p=[0.1], q=[0.2]), method="branch", threshold=1)


def test_nobody_is_confident_of_what_is_no_number() -> None:
    sure = Given(p=[[0.9, math.nan]])
    assert ask("confident", sure, method="branch", threshold=0.5).branch == 1
    with pytest.raises(ModelFailed, match="no rows"):
        ask("confident", Given(p=np.zeros((0, 2))), method="branch", threshold=0.5)


@pytest.mark.parametrize(
    ("value", "branch"), [(True, 1), ([[False]], 0), ([0.5], 1), ([""], 0), (["x"], 1), ([1, 1], 1)]
)
def test_is_true_is_branch_1_if_so(value: Any, branch: int) -> None:
    assert ask("is_true", Given(y=value), method="branch").branch == branch


def test_is_true_refuses_rows_that_disagree_and_several_tensors() -> None:
    with pytest.raises(ModelFailed, match="2 rows disagree"):
        ask("is_true", Given(y=[1, 0]), method="branch")
    with pytest.raises(ModelFailed, match="goes by one tensor"):
        ask("is_true", Given(y=[1], z=[1]), method="branch")


# Parameters and methods.


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("averge", {}, "function 'f': there is no builtin 'averge'; there are average, confident"),
        ("average", {"weights": [1]}, "no parameter 'weights'; it has none"),
        ("weighted", {}, "weights is None"),
        ("weighted", {"weights": [0, 0]}, "no shares"),
        ("weighted", {"weights": [1, "x"]}, "a weight is 'x'"),
        ("weighted", {"weights": [1, -1]}, "no shares"),
        ("vote", {"soft": 1}, "soft is 1"),
        ("confident", {}, "threshold is None"),
        ("confident", {"threshold": math.nan}, "threshold is nan"),
    ],
)
def test_wrong_parameters_fail_the_load(name: str, parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(LoadFailed, match=text):
        ask(name, **parameters)


def test_a_combiner_decides_nothing_and_a_decider_combines_nothing() -> None:
    with pytest.raises(ModelFailed, match="cannot be asked for branch"):
        ask("average", *given_all([[1.0]]), method="branch")
    with pytest.raises(ModelFailed, match="only for branch, route"):
        ask("confident", *given_all([[1.0]]), threshold=1)
    assert ask("average", *given_all([[1.0]]), method="send_feedback") == StepAnswer()
