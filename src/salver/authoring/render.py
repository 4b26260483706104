"""`python -m salver.authoring.render FILE`: the graphs of a Python file, as JSON on stdout.

Imports the file, and so runs it: this is a process of its own, and the one that starts it reads
its last line and nothing else. That line is `{"graphs": [...]}`, or `{"error": "..."}`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from salver.authoring.declaring import Graph
from salver.authoring.manifest import manifest_of
from salver.authoring.tracing import PlacedError
from salver.errors import GraphError, SalverError
from salver.spec.problems import did_you_mean


def main(arguments: Sequence[str] | None = None) -> int:
    """Arguments: the file, what to call it in the manifests, and the graphs that are wanted."""
    path, shown, *wanted = sys.argv[1:] if arguments is None else arguments
    with contextlib.redirect_stdout(sys.stderr):
        try:
            found: dict[str, Any] = {"graphs": render(Path(path), shown, wanted)}
        except SalverError as error:
            found = {"error": " ".join(str(error).split())}
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    return 0 if "graphs" in found else 1


def render(path: Path, shown: str = "", wanted: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The graphs that a file declares at its top, as objects of the API.

    `shown` is written in place of the file's path; `wanted` names functions, all of them if none.
    Raises `GraphError`.
    """
    path = path.resolve()
    graphs = _graphs_of(_imported(path))
    names = wanted or list(graphs)
    if not graphs:
        raise GraphError(f"{path} declares no graph: put @salver.graph above a function at its top")
    absent = [name for name in names if name not in graphs]
    if absent:
        advice = did_you_mean(absent[0], graphs) or "; it has " + ", ".join(graphs)
        raise GraphError(f"{path} has no graph '{absent[0]}'{advice}")
    files = {str(path): shown or str(path)}
    return [manifest_of(graphs[name], files) for name in names]


def _graphs_of(module: ModuleType) -> dict[str, Graph]:
    """The graphs of a module by the names of their functions; not those that it imports."""
    file = module.__file__
    return {
        name: each
        for name, each in vars(module).items()
        if isinstance(each, Graph) and each.is_declared_in(file or "")
    }


def _imported(path: Path) -> ModuleType:
    """The file as a module, its folder first on the search path. Raises `GraphError`."""
    name = "salver_graph_" + "".join(each if each.isalnum() else "_" for each in path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise GraphError(f"{path} is no Python file: give one that ends in .py")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except PlacedError:
        raise
    except SalverError as error:
        raise GraphError(f"{_place(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        what = f"{type(error).__name__}: {text}"
        raise GraphError(f"{_place(path, error)}: importing it failed with {what}") from error
    return module


def _place(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path.name}, line {lines[-1]}" if lines else path.name


if __name__ == "__main__":
    sys.exit(main())
