"""Finds in the project's documents what can be checked: commands, code, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)")


class Block(NamedTuple):
    """One fenced block: where it stands, its language and its text."""

    path: Path
    language: str
    text: str


def documents() -> list[Path]:
    """Every document that a reader is sent to."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(found)


def blocks(path: Path, language: str) -> list[Block]:
    """The fenced blocks of that language, in order."""
    found = _BLOCK.findall(path.read_text())
    return [Block(path, kind, text) for kind, text in found if kind == language]


def commands(path: Path) -> list[str]:
    """What a reader is told to type: the lines after `$` in console blocks, without comments."""
    lines = [line for block in blocks(path, "console") for line in block.text.splitlines()]
    return [line[2:].partition("  #")[0].strip() for line in lines if line.startswith("$ ")]


def links(path: Path) -> list[str]:
    """The relative links of a document, without their anchors."""
    return [link for link in _LINK.findall(path.read_text()) if "://" not in link]
