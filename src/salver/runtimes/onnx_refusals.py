"""What ONNX Runtime says of a model that it cannot run, in words that name the way out. Pure."""

from __future__ import annotations

import re

_OPSET = re.compile(r"Opset (\d+) is under development.*?domain ([\w.]+) is till opset (\d+)", re.S)
_IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_NO_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+) with domain_version of (?P<at>\d+)"),
    re.compile(r"(?P<domain>[\w.]+):(?P<op>\w+)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (?P<op>\w+)\((?P<at>\d+)\)"),
)


def reworded(message: str, version: str) -> str | None:
    """The reason in plain words, None if it is none of the known ones."""
    known = f"ONNX Runtime {version} knows up to"
    newer = "install a newer onnxruntime, or export the model for an older one"
    if found := _OPSET.search(message):
        return f"it needs opset {found[1]} of {found[2]}, {known} {found[3]}; {newer}"
    if found := _IR.search(message):
        return f"it is written in ONNX's format {found[1]}, {known} {found[2]}; {newer}"
    for pattern in _NO_OPERATOR:
        found = pattern.search(message)
        if found:
            parts = found.groupdict()
            where = f" of {parts['domain']}" if parts.get("domain") else ""
            at = f" of opset {parts['at']}" if parts.get("at") else ""
            return (
                f"it uses the operator {parts['op']}{where}{at}, which ONNX Runtime {version} does "
                "not have; export the model without it"
            )
    return None
