"""Where the models lie, and what TensorFlow answered when they were made (`make_models.py`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))


@pytest.fixture(scope="session")
def zoo() -> Any:
    """`folder`, the `rows` asked, and Keras's answer to them."""
    folder = Path(__file__).parent / "models"
    answers = json.loads((folder / "answers.json").read_text())
    return SimpleNamespace(
        folder=folder,
        rows=np.float32(answers["rows"]),
        flowers=np.float32(answers["flowers"]),
        quantised=[np.int8(each) for each in answers["quantised"]],
    )
