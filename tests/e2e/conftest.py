from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.framework_environments import environment_of
from tests.e2e.zoo import Zoo, zoo_serving


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay in one process, as they share servers; those of heavy frameworks go by
    the environment, so that none waits for another's to be made."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            name = nodeid.partition("test_frameworks.py::")[2].partition("[")[2].rstrip("]")
            return f"{file}[{environment_of(name)}]" if name else file

    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is to be asked for."""
    if "versions" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("versions")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("versions")]


@pytest.fixture
def python_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Python model; several in one folder make several models."""

    def write(source: str, name: str = "custom") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text("import numpy as np\n" + textwrap.dedent(source))
        return path

    return write


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """One server with a model of every kind; tests must leave its models loaded."""
    with zoo_serving(tmp_path_factory.mktemp("zoo")) as running:
        yield running
