"""What came of compiling a model, for people: who answers, and why an engine was refused. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from salver.cli.terminal import columns


def engine_lines(known: Mapping[str, Any]) -> Sequence[str]:
    """Of each version whose report says something; `known` is `GET /salver/v1/models/NAME`."""
    found: list[str] = []
    for version in known.get("versions", ()):
        report = version.get("compiled")
        if report is not None:
            found += ["", f"Engines of version {version['version']}: {report['note']}"]
            rows = list(_rows(report))
            found += [f"  {line}" for line in columns(rows)] if rows else []
            found += _counted(version.get("counts") or {})
    return found


def _rows(report: Mapping[str, Any]) -> Iterator[list[str]]:
    for each in report["engines"]:
        accepts = " ".join(each["accepts"]) or "refused"
        difference = each["difference"]
        told = f"differs by {difference:.2g}" if each["accepts"] and difference is not None else ""
        remarks = [told, each["reason"], f"declines {each['declines']}" if each["declines"] else ""]
        yield [each["name"], each["tier"], accepts, "; ".join(text for text in remarks if text)]


def _counted(counts: Mapping[str, Any]) -> list[str]:
    if not counts.get("answered") and not counts.get("withdrawn"):
        return []
    line = f"  answered {counts['answered']}, declined {counts['declined']}"
    if counts["checked"]:
        line += f", compared {counts['checked']}, of which differed {counts['mismatched']}"
    withdrawn = counts["withdrawn"]
    return [line, *([f"  withdrawn: {', '.join(withdrawn)}"] if withdrawn else [])]
