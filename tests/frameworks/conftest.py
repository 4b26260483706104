"""Each folder's tests run in that framework's own environment only; see `test_frameworks.py`."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
collect_ignore = [
    path.parent.name
    for path in _HERE.glob("*/requirements.txt")
    if path.parent.name != Path(sys.prefix).name
]
