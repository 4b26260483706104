"""What all dialects of graphs demand of their steps: how many there may be, how services are named.

Pure: names and numbers in, what is wrong with them out.
"""

from __future__ import annotations

import re

from salver.spec.problems import quoted

MOST_STEPS = 1000
"""More could not be checked, compiled and drawn while others wait."""
_SERVED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_])?")
_MOST_CHARACTERS = 128


def count_fault(count: int, what: str = "steps") -> str:
    """What is wrong with so many steps, or nothing."""
    if count <= MOST_STEPS:
        return ""
    return (
        f"has {count} {what}, more than the {MOST_STEPS} that one graph may have: make a graph of "
        "its own of a part"
    )


def served_name_fault(name: str) -> str:
    """Why nothing that serves here can be called so; nothing if something can."""
    if _SERVED.fullmatch(name):
        return ""
    if "://" in name:
        return f"is an address, not a name: {quoted(name)}"
    if len(name) > _MOST_CHARACTERS:
        return f"has {len(name)} characters; at most {_MOST_CHARACTERS} are allowed"
    return (
        "may have letters, digits, '-', '_' and '.' only, a letter or digit first, found "
        f"{quoted(name)}"
    )


def way_text(names: list[str]) -> str:
    """The way from step to step, on one line, however long: its middle may be left out."""
    shown = [name if name.isprintable() and name.strip() else quoted(name) for name in names]
    if len(shown) > 12:
        shown = [*shown[:6], f"... {len(shown) - 11} more ...", *shown[-5:]]
    return " -> ".join(shown)


def known_text(names: list[str], most: int = 10) -> str:
    """The names there are, on one line, at most so many of them."""
    shown = [name if name.isprintable() and len(name) <= 60 else quoted(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
