"""The part of kubectl's JSONPath that people use. Pure.

    {.status.url}   {.items[*].metadata.name}   {.spec['a.b']}   {.list[-1]}
    {.conditions[?(@.type=="Ready")].status}    {range .items[*]}{.metadata.name}{"\\n"}{end}

Text outside the braces is printed as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from salver.errors import CommandFailed

_STEP = re.compile(
    r"""\.?\[(?P<filter>\?\(.*?\))\]"""
    r"""|\.?\['(?P<single>[^']*)'\]|\.?\["(?P<double>[^"]*)"\]"""
    r"""|\.?\[(?P<index>-?\d+)\]|\.?\[(?P<star>\*)\]|\.(?P<dotstar>\*)"""
    r"""|\.?\[(?P<from>-?\d*):(?P<to>-?\d*)\]"""
    r"""|\.(?P<name>(?:[^.\[\]\\]|\\.)+)"""
)
_FILTER = re.compile(
    r"\?\(\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<operator>==|!=)\s*(?P<value>.+?))?\s*\)"
)
_PIECE = re.compile(r"""\{((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^{}"'])*)\}|([^{}]+)""")


def render(template: str, value: Any) -> str:
    """The template filled in. Raises `CommandFailed` for one that cannot be read."""
    pieces = _pieces(template)
    text, rest = _rendered(pieces, value, value)
    if rest:
        raise CommandFailed(f"jsonpath: '{{end}}' without '{{range}}' in {template}")
    return text


def find(path: str, value: Any) -> list[Any]:
    """All values that the path leads to; it may stand in braces. Raises `CommandFailed`."""
    bare = path.strip()
    if bare.startswith("{") and bare.endswith("}"):
        bare = bare[1:-1].strip()
    return _found(bare, value)


def _pieces(template: str) -> list[tuple[str, bool]]:
    """The template's parts; the flag says which stood in braces."""
    if "{" not in template:
        return [(template if template.startswith((".", "[", "$", "@")) else f".{template}", True)]
    parts: list[tuple[str, bool]] = []
    end = 0
    for match in _PIECE.finditer(template):
        if match.start() != end:
            break
        parts.append((match[1].strip(), True) if match[1] is not None else (match[2], False))
        end = match.end()
    if end != len(template):
        raise CommandFailed(f"jsonpath: unbalanced braces in {template}")
    return parts


def _rendered(
    pieces: Sequence[tuple[str, bool]], value: Any, root: Any
) -> tuple[str, Sequence[tuple[str, bool]]]:
    """The text up to the end, or to the `{end}` that closes a range; and what follows it."""
    text = ""
    while pieces:
        (piece, is_code), pieces = pieces[0], pieces[1:]
        if not is_code:
            text += piece
        elif piece == "end":
            return text, [("", False), *pieces]
        elif piece.startswith("range "):
            items = _found(piece.removeprefix("range ").strip(), value)
            after: Sequence[tuple[str, bool]] = _rendered(pieces, None, root)[1]
            for item in items:
                text += _rendered(pieces, item, root)[0]
            pieces = after[1:]
        elif piece[:1] in "\"'":
            text += _literal(piece)
        else:
            start = root if piece.startswith("$") else value
            text += " ".join(shown(each) for each in _found(piece, start))
    return text, []


def _literal(piece: str) -> str:
    try:
        return str(json.loads(f'"{piece[1:-1]}"'))
    except ValueError as error:
        raise CommandFailed(f"jsonpath: {piece} is no text") from error


def _found(path: str, value: Any) -> list[Any]:
    rest = path.lstrip("$@") if path[:1] in ("$", "@") else path
    if rest in ("", "."):
        return [value]
    if rest[0] not in ".[":
        rest = "." + rest
    found = [value]
    while rest:
        match = _STEP.match(rest)
        if match is None:
            raise CommandFailed(f"jsonpath: cannot read '{rest}' in {path}")
        found = [each for one in found for each in _stepped(match, one)]
        rest = rest[match.end() :]
    return found


def _stepped(match: re.Match[str], value: Any) -> list[Any]:
    if match["filter"]:
        return [each for each in _children(value) if _is_kept(match["filter"], each)]
    if match["star"] or match["dotstar"]:
        return _children(value)
    if match["index"]:
        index = int(match["index"])
        is_there = isinstance(value, list) and -len(value) <= index < len(value)
        return [value[index]] if is_there else []
    if match["from"] is not None:
        bounds = [int(match[end]) if match[end] else None for end in ("from", "to")]
        return value[slice(*bounds)] if isinstance(value, list) else []
    key = next(match[name] for name in ("single", "double", "name") if match[name] is not None)
    key = re.sub(r"\\(.)", r"\1", key)
    return [value[key]] if isinstance(value, dict) and key in value else []


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_kept(text: str, value: Any) -> bool:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise CommandFailed(f"jsonpath: cannot read the filter {text}; give such as ?(@.a=='b')")
    found = _found(match["path"], value)
    if match["operator"] is None:
        return bool(found)
    wanted = match["value"].strip()
    wanted = wanted[1:-1] if wanted[:1] in "\"'" else wanted
    return any(shown(each) == wanted for each in found) == (match["operator"] == "==")


def shown(value: Any) -> str:
    """A value as text: strings as they are, all else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
