"""Tells whether a Python file declares a graph, by reading it: nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from salver.artifacts.python_files import syntax_tree

_MODULE, _DECORATOR = "salver", "graph"


def declared_graphs(path: Path) -> tuple[str, ...]:
    """The names of the functions with `@salver.graph` at the top of a file, in their order.

    None for what is no Python file, or cannot be read as one: others say what is wrong with it.
    """
    if path.suffix != ".py" or not path.is_file():
        return ()
    try:
        tree = syntax_tree(path)
    except (OSError, ValueError):
        return ()
    return graphs_in(tree)


def graphs_in(tree: ast.Module) -> tuple[str, ...]:
    """The same of a file that has been read."""
    modules, names = _names_of(tree)
    return tuple(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(_is_graph(each, modules, names) for each in node.decorator_list)
    )


def _names_of(tree: ast.Module) -> tuple[set[str], set[str]]:
    """What the module salver, and its `graph`, are called in the file."""
    modules: set[str] = set()
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            modules.update(_imported(node.names, _MODULE))
        elif isinstance(node, ast.ImportFrom) and node.module == _MODULE and not node.level:
            names.update(_imported(node.names, _DECORATOR))
    return modules, names


def _imported(aliases: list[ast.alias], name: str) -> Iterator[str]:
    for alias in aliases:
        if alias.name in (name, "*"):
            yield alias.asname or name


def _is_graph(node: ast.expr, modules: set[str], names: set[str]) -> bool:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Name):
        return node.id in names
    return (
        isinstance(node, ast.Attribute)
        and node.attr == _DECORATOR
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    )
