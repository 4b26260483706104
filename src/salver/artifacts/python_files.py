"""A Python file as a syntax tree, read within bounds and never run.

Owns what is too large or too deep to be read. Refuses to look for anything in the tree.
"""

from __future__ import annotations

import ast
from pathlib import Path

_MOST_BYTES = 16 << 20


def syntax_tree(path: Path) -> ast.Module:
    """The file's tree.

    Raises `OSError`, and `ValueError` whose text goes on after the file's name.
    """
    if path.exists() and not path.is_file():
        raise ValueError("is no regular file")
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"has more than {_MOST_BYTES >> 20} MiB, which no Python file should")
    try:
        return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        where = f" at line {error.lineno}" if error.lineno else ""
        raise ValueError(f"is not valid Python{where}: {error.msg}") from error
    except ValueError as error:
        raise ValueError(f"is not valid Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        # The parser says so of code that is nested beyond its stack.
        raise ValueError("is not valid Python: it is nested too deep to be read") from error
