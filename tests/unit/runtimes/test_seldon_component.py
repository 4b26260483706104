"""Seldon's components: signatures, raw forms, names, tags and metrics, and what goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtimes.step_inputs import Given, arrays, call, only, unit

from salver.errors import LoadFailed, ModelFailed
from salver.runtimes.step_ports import Feedback, StepAnswer
from salver.runtimes.steps import StepsModel

META = {"puid": "p", "tags": {"a": 1}}
REQUEST = Given(columns=["x", "y"], meta=META, data=[[1.0, 2.0]])
COUNTER = {"key": "seen", "type": "COUNTER", "value": 1}


@pytest.fixture(autouse=True)
def _no_stand_in() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "seldon_core"]:
        del sys.modules[name]


def component(tmp_path: Path, body: str, head: str = "class C:", **parameters: Any) -> StepsModel:
    """A class whose body are these lines."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    (tmp_path / "component.py").write_text(f"import numpy as np\n{head}\n{lines}")
    return unit(tmp_path, f={"component": "component.py:C", "parameters": parameters})


def ask(model: StepsModel, method: str, *inputs: Given, **more: Any) -> StepAnswer:
    return call(model, *(inputs or (REQUEST,)), method=method, **more)


# Calling.


@pytest.mark.parametrize(
    ("signature", "seen"),
    [
        ("X", "[[[1.0, 2.0]]]"),
        ("X, names", "[[[1.0, 2.0]], ['x', 'y']]"),
        ("X, names, meta=None", f"[[[1.0, 2.0]], ['x', 'y'], {META}]"),
        ("X, features_names=None, **kw", "[[[1.0, 2.0]], ['x', 'y'], {'meta': " + f"{META}}}]"),
        ("X, meta", f"[[[1.0, 2.0]], {META}]"),
        ("*args", "[([[1.0, 2.0]], ['x', 'y'])]"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "transform_input", "transform_output"])
def test_methods_take_what_their_signature_has_room_for(
    tmp_path: Path, method: str, signature: str, seen: str
) -> None:
    names = ", ".join(
        part.strip().split("=")[0].lstrip("*") for part in signature.split(",") if part.strip()
    )
    body = f"def {method}(self, {signature}):\n    given = [{names}]\n"
    body += "    plain = lambda v: v.tolist() if hasattr(v, 'tolist') else v\n"
    body += (
        "    given = [tuple(map(plain, v)) if isinstance(v, tuple) else plain(v) for v in given]\n"
    )
    body += "    return repr(given)"
    assert ask(component(tmp_path, body), method).content == seen


def test_the_class_is_made_with_its_parameters_and_then_loaded(tmp_path: Path) -> None:
    body = "def __init__(self, rate, name='n'): self.rate, self.ready = rate, False\n"
    body += "def load(self): self.ready = True\n"
    body += "def predict(self, X): return [[self.rate, self.ready]]"
    assert arrays(ask(component(tmp_path, body, rate=0.5), "predict")) == {"f": [[0.5, 1.0]]}
    with pytest.raises(LoadFailed, match=r"C\(\) failed with TypeError: .*rate"):
        component(tmp_path, body)
    with pytest.raises(LoadFailed, match=r"C\.load failed with RuntimeError: no \(component.py, "):
        component(tmp_path, "def load(self): raise RuntimeError('no')")


def test_aggregate_gets_a_list_of_data_and_a_list_of_names(tmp_path: Path) -> None:
    body = "def aggregate(self, Xs, names):\n    return repr(([x.tolist() for x in Xs], names))"
    inputs = (Given("a", columns=["p"], data=[[1]]), Given("b", data=[[2]]))
    answer = ask(component(tmp_path, body), "aggregate", *inputs)
    assert answer.content == "([[[1]], [[2]]], [['p'], []])"


@pytest.mark.parametrize(
    ("signature", "seen"),
    [
        ("X, names, reward, truth, routing=None", "[[1.0], ['p'], 0.5, [2.0], 1]"),
        ("X, names, reward, truth", "[[1.0], ['p'], 0.5, [2.0]]"),
        ("X, names, reward", "[[1.0], ['p'], 0.5]"),
    ],
)
def test_feedback_comes_with_reward_truth_and_routing(
    tmp_path: Path, signature: str, seen: str
) -> None:
    body = f"seen = None\ndef send_feedback(self, {signature}):\n"
    body += f"    given = [{signature.replace('=None', '')}]\n"
    body += "    self.seen = [v.tolist() if hasattr(v, 'tolist') else v for v in given]\n"
    body += "def predict(self, X): return repr(self.seen)"
    model = component(tmp_path, body)
    told = Given(feedback=Feedback(Given(columns=["p"], x=[1.0]), 0.5, Given(x=[2.0])))
    assert ask(model, "send_feedback", told, routing=1) == StepAnswer()
    assert ask(model, "predict").content == seen


def test_feedback_that_nobody_hears_is_no_error(tmp_path: Path) -> None:
    model = component(tmp_path, "def predict(self, X): return X")
    assert ask(model, "send_feedback") == StepAnswer()


def test_a_coroutine_is_awaited(tmp_path: Path) -> None:
    model = component(tmp_path, "async def predict(self, X): return X + 1")
    assert arrays(ask(model, "predict")) == {"f": [[2.0, 3.0]]}
    model.unload()


# Answers.


@pytest.mark.parametrize(
    ("returned", "content"),
    [("'text'", "text"), ("b'raw'", b"raw"), ("{'a': [1]}", {"a": [1]})],
)
def test_text_bytes_and_dicts_are_content(tmp_path: Path, returned: str, content: Any) -> None:
    answer = ask(component(tmp_path, f"def predict(self, X): return {returned}"), "predict")
    assert (answer.content, answer.tensors) == (content, None)


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("", ["t:0", "t:1"]),
        ("class_names = ['a', 'b']", ["a", "b"]),
        ("def class_names(self): return ['c', 'd']", ["c", "d"]),
    ],
)
def test_columns_are_called_as_the_class_says(tmp_path: Path, extra: str, names: list[str]) -> None:
    body = f"{extra}\ndef predict(self, X): return X\ndef transform_input(self, X): return X[0]"
    model = component(tmp_path, body)
    assert list(ask(model, "predict").columns) == names
    assert list(ask(model, "transform_input").columns) == []


def test_feature_names_name_what_goes_into_a_model(tmp_path: Path) -> None:
    body = "class_names = ['c', 'd']\ndef feature_names(self): return ['p', 'q']\n"
    body += "def transform_input(self, X): return X\ndef predict(self, X): return X.tolist()"
    model = component(tmp_path, body)
    assert list(ask(model, "transform_input").columns) == ["p", "q"]
    assert list(ask(model, "predict").columns) == ["c", "d"]


def test_tags_and_metrics_are_asked_after_the_call(tmp_path: Path) -> None:
    body = "n = 0\ndef predict(self, X):\n    self.n += 1\n    return X\n"
    body += f"def tags(self): return {{'n': self.n}}\ndef metrics(self): return [{COUNTER}]"
    model = component(tmp_path, body)
    answers = [ask(model, "predict") for _ in range(2)]
    assert [each.tags for each in answers] == [{"n": 1}, {"n": 2}]
    assert answers[0].metrics == [COUNTER]


def test_a_seldon_response_has_tags_and_metrics_of_its_own(tmp_path: Path) -> None:
    body = "def predict(self, X):\n"
    body += f"    return SeldonResponse(X, tags={{'b': 2}}, metrics=[{COUNTER}])\n"
    body += "def tags(self): return {'a': 1, 'b': 1}"
    head = "from seldon_core.user_model import SeldonResponse\nclass C:"
    answer = ask(component(tmp_path, body, head), "predict")
    assert arrays(answer) == {"f": [[1.0, 2.0]]}
    assert (answer.tags, answer.metrics) == ({"a": 1, "b": 2}, [COUNTER])


def test_transformers_that_lack_the_method_hand_the_message_on_with_tags(tmp_path: Path) -> None:
    model = component(tmp_path, "def tags(self): return {'a': 1}")
    answer = ask(model, "transform_input")
    assert (answer.passed, answer.tags) == (REQUEST, {"a": 1})


@pytest.mark.parametrize("returned", ["1", "np.int64(1)", "np.array([[1]])", "SeldonResponse(1)"])
def test_a_route_is_a_whole_number(tmp_path: Path, returned: str) -> None:
    body = f"def route(self, X, names): return {returned}"
    head = "from seldon_core.user_model import SeldonResponse\nclass C:"
    assert ask(component(tmp_path, body, head), "route").branch == 1


# Raw forms.


def test_raw_forms_come_first_and_get_the_whole_message(tmp_path: Path) -> None:
    body = "def predict_raw(self, msg):\n"
    body += "    return {'data': msg['data'], 'meta': {'puid': 'q', 'tags': {'t': 1}, "
    body += f"'metrics': [{COUNTER}]}}}}\ndef predict(self, X): return 'plain'"
    document = {"data": {"ndarray": [1]}}
    answer = ask(component(tmp_path, body), "predict", Given(document=document))
    assert answer.document == {**document, "meta": {"puid": "q"}}
    assert (answer.tags, answer.metrics) == ({"t": 1}, [COUNTER])


def test_a_raw_form_that_says_it_is_not_implemented_is_passed_over(tmp_path: Path) -> None:
    body = "def predict_raw(self, msg): raise SeldonNotImplementedError('no')\n"
    body += "def predict(self, X): return 'plain'\n"
    body += "def tags(self): raise SeldonNotImplementedError('no')\n"
    body += "def metrics(self): raise SeldonNotImplementedError('no')"
    head = "from seldon_core.user_model import SeldonNotImplementedError\nclass C:"
    assert ask(component(tmp_path, body, head), "predict").content == "plain"


def test_aggregate_raw_gets_a_list_of_messages(tmp_path: Path) -> None:
    body = "def aggregate_raw(self, msgs): return {'jsonData': msgs['seldonMessages']}"
    inputs = (Given(document={"strData": "a"}), Given(document={"strData": "b"}))
    answer = ask(component(tmp_path, body), "aggregate", *inputs)
    assert answer.document == {"jsonData": [{"strData": "a"}, {"strData": "b"}]}


@pytest.mark.parametrize(
    "data", ["{'ndarray': [[2]]}", "{'tensor': {'shape': [1, 1], 'values': [2.0]}}"]
)
def test_route_raw_names_its_branch_in_data(tmp_path: Path, data: str) -> None:
    body = f"def route_raw(self, msg): return {{'data': {data}}}"
    assert ask(component(tmp_path, body), "route").branch == 2
    with pytest.raises(ModelFailed, match="route_raw gave no data"):
        ask(component(tmp_path, "def route_raw(self, msg): return {}"), "route")


def test_send_feedback_raw_gets_the_feedback(tmp_path: Path) -> None:
    body = "def send_feedback_raw(self, told): self.told = told\n"
    body += "def predict(self, X): return self.told"
    model = component(tmp_path, body)
    document = {"reward": 1.0}
    assert ask(model, "send_feedback", Given(document=document)) == StepAnswer()
    assert ask(model, "predict").content == document


# The SDK, health, metadata, errors.


def test_what_only_the_sdks_base_class_has_counts_as_missing(tmp_path: Path) -> None:
    sdk = tmp_path / "sdk" / "seldon_core"
    sdk.mkdir(parents=True)
    (sdk / "__init__.py").touch()
    (sdk / "user_model.py").write_text(
        "class SeldonComponent:\n"
        "    def __init__(self, **kwargs): pass\n"
        "    def tags(self): raise ValueError('never called')\n"
        "    def predict_raw(self, msg): raise ValueError('never called')\n"
    )
    head = f"import sys\nsys.path.insert(0, {str(tmp_path / 'sdk')!r})\n"
    head += (
        "sys.modules.pop('seldon_core', None); sys.modules.pop('seldon_core.user_model', None)\n"
    )
    head += "from seldon_core.user_model import SeldonComponent\nclass C(SeldonComponent):"
    try:
        model = component(tmp_path, "def predict(self, X, names, meta): return 'own'", head)
        answer = ask(model, "predict")
    finally:
        sys.path.remove(str(tmp_path / "sdk"))
    assert (answer.content, answer.tags) == ("own", None)


def test_the_base_class_is_there_without_the_sdk(tmp_path: Path) -> None:
    head = "from seldon_core.user_model import SeldonComponent\n"
    head += "from seldon_core.metrics import create_gauge\nclass C(SeldonComponent):"
    body = "def __init__(self): super().__init__(a=1)\n"
    body += "def predict(self, X): return 'own'\n"
    body += "def metrics(self): return [create_gauge('g', 2)]"
    answer = ask(component(tmp_path, body, head), "predict")
    assert answer.content == "own"
    assert answer.metrics == [{"key": "g", "type": "GAUGE", "value": 2}]


def test_health_and_metadata_can_be_asked(tmp_path: Path) -> None:
    plain = component(tmp_path, "def predict(self, X): return X")
    assert ask(plain, "health_status").content == "healthy"
    assert ask(plain, "metadata").content == {}
    body = "def health_status(self): return [1.0]\ndef init_metadata(self): return {'name': 'm'}"
    model = component(tmp_path, body)
    assert only(ask(model, "health_status")).data.tolist() == [1.0]
    assert ask(model, "metadata").content == {"name": "m"}
    with pytest.raises(LoadFailed, match="init_metadata gave list"):
        component(tmp_path, "def init_metadata(self): return []")


@pytest.mark.parametrize(
    ("body", "method", "text"),
    [
        ("def predict(self, X): return X", "route", "C has no method route, it has predict"),
        ("pass", "aggregate", "it has none of Seldon's methods"),
        ("def predict(self, X): pass", "predict", "it returned nothing"),
        ("def route(self, X): return 'left'", "route", "is no branch"),
        (
            "def predict(self, X): return X\ndef metrics(self): return [{'key': 'a'}]",
            "predict",
            "a metric has key, value",
        ),
        (
            "def predict(self, X): return X\ndef metrics(self): return 3",
            "predict",
            "metrics gave int; return a list",
        ),
        ("def predict(self, X): return X\ndef tags(self): return 3", "predict", "tags gave int"),
        (
            "def predict_raw(self, msg): return 'x'",
            "predict",
            "predict_raw gave str; return a dict",
        ),
        (
            "def predict(self, X): raise KeyError('a')",
            "predict",
            r"step 's' \(component f, input \[1, 2\] FP64\): KeyError: 'a'",
        ),
    ],
)
def test_what_goes_wrong_says_so(tmp_path: Path, body: str, method: str, text: str) -> None:
    with pytest.raises(ModelFailed, match=text):
        ask(component(tmp_path, body), method)
