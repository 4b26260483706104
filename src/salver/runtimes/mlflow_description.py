"""Holds an `MLmodel` file against what MLflow takes for granted in it.

Owns the words for a file that describes no model that can be served. It is read within bounds,
which YAML's aliases need: a few lines can stand for more than memory holds. Imports no framework.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from salver.spec.yaml_source import MAX_TEXT_BYTES, first_value


def check_description(file: Path) -> None:
    """Raises `ValueError` or `TypeError` for a file that is damaged, or cannot be served."""
    with file.open("rb") as opened:
        content = opened.read(MAX_TEXT_BYTES + 1)
    value, fault = first_value(content.decode())
    if fault:
        raise ValueError(f"MLmodel is no YAML that is read ({fault}); save the model again")
    flavours = _mapping(value, "flavors")
    if "python_function" not in flavours:
        listed = ", ".join(map(str, flavours)) or "none"
        raise ValueError(
            f"MLmodel has no flavour python_function, which is the one that is served (it has "
            f"{listed[:200]}); save the model with a flavour that has one"
        )
    loader = _mapping(flavours, "python_function").get("loader_module")
    if not isinstance(loader, str):
        raise TypeError("MLmodel names no loader_module for python_function; save the model again")


def _mapping(value: Any, key: str) -> dict[Any, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise TypeError(f"MLmodel has no mapping {key}; save the model again")
    return found
