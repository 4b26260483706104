"""The environment of Seldon's own Python package, which the tests' cannot hold: old protobuf."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.own_environment import own_environment

REQUIREMENTS = ("seldon-core==1.17.1",)
"""The last version under the Apache licence."""


def seldon_python() -> Path:
    """The interpreter of an environment with `seldon-core`."""
    return own_environment("seldon", REQUIREMENTS)
