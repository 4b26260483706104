"""Each folder's tests run in an environment that has its framework; see `test_frameworks.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.framework_environments import SHARED, names

_HERE = Path(sys.prefix).name
collect_ignore = [name for name in names() if _HERE not in (name, SHARED.get(name))]
