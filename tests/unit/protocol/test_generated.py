"""The generated messages run on protobuf of every version that an old framework may bring."""

from __future__ import annotations

from pathlib import Path

import pytest

import salver.protocol
from salver.backends.environments.needs import WORKER_PACKAGES

GENERATED = sorted(Path(salver.protocol.__file__).parent.glob("*_pb2.py"))


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.stem)
def test_no_generated_file_asks_for_a_version_of_protobuf(path: Path) -> None:
    assert "runtime_version" not in path.read_text()


def test_workers_get_along_with_the_protobuf_of_old_frameworks() -> None:
    (line,) = (line for line in WORKER_PACKAGES if line.startswith("protobuf"))
    assert line == "protobuf>=3.20.2,<8"
