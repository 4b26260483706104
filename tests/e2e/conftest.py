from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def python_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Python model; several in one folder make several models."""

    def write(source: str, name: str = "custom") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text("import numpy as np\n" + textwrap.dedent(source))
        return path

    return write
