from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.zoo import Zoo, zoo_serving


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
