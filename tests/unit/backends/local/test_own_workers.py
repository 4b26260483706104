"""What an artifact is loaded as: a model that is recognised, or the functions of a graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from salver.backends.local.options import ModelOptions, load_order
from salver.backends.local.own_workers import target_of
from salver.errors import LoadFailed
from salver.graphs.plan import ModelRunner

STEPS = '{"functions": {"mean": {"builtin": "average"}}}'
FUNCTIONS = {"functions": {"mean": {"builtin": "average"}}}


def test_functions_are_not_looked_for_in_their_artifact(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "b.py").touch()
    for path in (tmp_path, tmp_path / "a.py", Path()):
        target = target_of("unit", path, ModelRunner("", runtime="steps", options=STEPS))
        order = load_order(target, ModelOptions())
        assert (order.name, order.runtime, order.path) == ("unit", "steps", str(path))
        assert order.parameters == FUNCTIONS


def test_any_runtime_may_have_options(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("class M:\n    def predict(self, x): return x\n")
    runner = ModelRunner(str(path), runtime="python", attribute="M", options='{"a": 1}')
    assert load_order(target_of("m", path, runner), ModelOptions()).parameters == {"a": 1}


@pytest.mark.parametrize("options", ["{", "[1]", '"text"'])
def test_options_that_are_no_object_are_refused(options: str) -> None:
    with pytest.raises(LoadFailed, match="options of 'unit' are no JSON object"):
        target_of("unit", Path(), ModelRunner("", runtime="steps", options=options))
