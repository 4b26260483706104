"""The functions of a unit: found, loaded once a file, described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.step_inputs import Given, arrays, call, unit

from salver.errors import LoadFailed, ModelFailed, Unsupported
from salver.inference.tensor import InferRequest
from salver.runtimes.ports import ModelSource
from salver.runtimes.step_ports import StepContext
from salver.runtimes.steps import StepsRuntime


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(
        "import numpy as np\nloads = [0]\nloads[0] += 1\n"
        "def one(x):\n    return x + loads[0]\n"
        "def two(x):\n    loads[0] += 1\n    return x + loads[0]\n"
        "class Group:\n    @staticmethod\n    def inner(x):\n        return x * 2\n"
        "number = 3\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("def one(x):\n    return x + 100\n")
    return tmp_path


def test_each_file_is_imported_once_and_its_functions_share_it(files: Path) -> None:
    model = unit(
        files,
        one={"python": "a.py:one"},
        two={"python": "a.py:two"},
        other={"python": "sub/a.py:one"},
        inner={"python": "a.py:Group.inner"},
    )
    given = Given(x=[0])
    assert arrays(call(model, given, function="two")) == {"two": [2]}
    assert arrays(call(model, given, function="one")) == {"one": [2]}
    assert arrays(call(model, given, function="other")) == {"other": [100]}
    assert arrays(call(model, Given(x=[4]), function="inner")) == {"inner": [8]}


@pytest.mark.parametrize("where", ["a.py:one", ":one"])
def test_the_artifact_may_be_the_file_itself(files: Path, where: str) -> None:
    assert arrays(call(unit(files / "a.py", f={"python": where}), Given(x=[1]))) == {"f": [2]}


def test_files_may_be_absolute_and_then_need_no_artifact(files: Path) -> None:
    model = unit(Path(), f={"python": f"{files / 'a.py'}:one"}, mean={"builtin": "average"})
    assert arrays(call(model, Given(x=[1]))) == {"f": [2]}
    assert arrays(call(model, Given("a", x=[1.0]), function="mean")) == {"x": [1.0]}


def test_a_function_is_well_and_says_nothing_more_of_itself(files: Path) -> None:
    model = unit(files, f={"python": "a.py:one"}, mean={"builtin": "average"})
    for name in ("f", "mean"):
        answer = model.invoke("s", name, "health_status", (), StepContext())
        assert answer.content == "healthy"
        assert model.invoke("s", name, "metadata", (), StepContext()).content == {}


def test_its_metadata_says_that_it_takes_steps(files: Path) -> None:
    metadata = unit(files, f={"python": "a.py:one"}).metadata
    assert metadata.operations == ("step",)
    assert metadata.idempotent
    assert not (metadata.batchable or metadata.wants_headers or metadata.inputs)


def test_a_function_may_say_that_it_cannot_be_repeated(files: Path) -> None:
    entry = {"python": "a.py:one", "idempotent": False}
    assert not unit(files, f=entry, g={"builtin": "stack"}).metadata.idempotent
    (files / "b.py").write_text("def pay(x):\n    return x\npay.idempotent = False\n")
    assert not unit(files, f={"python": "b.py:pay"}).metadata.idempotent


def test_it_predicts_nothing_and_knows_only_its_own_functions(files: Path) -> None:
    model = unit(files, f={"python": "a.py:one"})
    with pytest.raises(Unsupported, match="has the steps of a graph and no model"):
        model.predict(InferRequest(()))
    with pytest.raises(ModelFailed, match="step 's': there is no function 'g', only f"):
        call(model, Given(x=np.zeros(1)), function="g")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({}, "function 'f' needs one of python, component and builtin"),
        ({"python": "a.py:one", "builtin": "stack"}, "needs one of"),
        ({"python": "a.py:one", "parameters": {"a": 1}}, "takes no parameters"),
        ({"pyton": "a.py:one"}, "function 'f': .*pyton"),
        ({"python": 3}, "function 'f': "),
        ({"python": "a.py"}, "names 'a.py'; name it as file.py:name"),
        ({"python": "a.py:no-name"}, "name it as file.py:name"),
        ({"python": "b.py:one"}, r"b\.py does not exist"),
        ({"python": "a.py:three"}, r"a\.py has no 'three'"),
        ({"python": "a.py:number"}, r"a\.py cannot call its 'number'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_its_name(
    files: Path, entry: dict[str, Any], text: str
) -> None:
    with pytest.raises(LoadFailed, match=text):
        unit(files, f=entry)


def test_a_relative_file_needs_an_artifact() -> None:
    with pytest.raises(LoadFailed, match=r"relative file 'a\.py', but there is no artifact"):
        unit(Path(), f={"python": "a.py:one"})


def test_a_unit_needs_functions(files: Path) -> None:
    for parameters in ({}, {"functions": {}}, {"functions": [1]}):
        with pytest.raises(LoadFailed, match="'unit' has no functions"):
            StepsRuntime().load(ModelSource("unit", files, "steps", parameters=parameters))


def test_a_file_that_raises_says_where(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nraise RuntimeError('no luck')\n")
    with pytest.raises(LoadFailed, match=r"RuntimeError: no luck \(a.py, line 2\)"):
        unit(tmp_path, f={"python": "a.py:one"})
