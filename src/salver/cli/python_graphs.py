"""Graphs written in Python on the command line: which targets are some, and their manifests.

What a file declares is found by reading it. Tracing runs it, so a process of its own does that,
with a time limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from salver.errors import CommandFailed

TIME_LIMIT_S = 60.0


def split_targets(targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """The targets that are Python files with graphs, and the others. Reads only files that end in
    .py, without running them."""
    graphs = [target for target in targets if is_graph(target)]
    return graphs, [target for target in targets if target not in graphs]


def is_graph(target: str) -> bool:
    """Whether the target is a graph's file, or one of its graphs as `file.py:name`."""
    path, name = _split(target)
    if path.suffix != ".py":
        return False
    from salver.artifacts.graph_modules import declared_graphs

    found = declared_graphs(path)
    return bool(found) and (not name or name in found)


def is_python(target: str) -> bool:
    """Whether the target is a Python file, or `file.py:name`: be it there, and any good, or not."""
    return _split(target)[0].suffix == ".py"


def manifests_of(
    target: str, *, shown: str = "", time_limit_s: float = TIME_LIMIT_S
) -> list[dict[str, Any]]:
    """The graphs of a file, or the one that is named, as objects of the API.

    `shown` is what to write for the file's path: its full path if empty. Raises `CommandFailed`.
    """
    path, name = _split(target)
    if not path.is_file():
        raise CommandFailed(f"{path} does not exist (looked in {Path.cwd()}); check the path")
    command = [sys.executable, "-m", "salver.authoring.render", str(path), shown]
    try:
        done = subprocess.run(
            [*command, *([name] if name else [])],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=time_limit_s,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            f"{path}: tracing its graphs takes longer than {time_limit_s:g} s; what takes long at "
            "its import belongs into the steps"
        ) from None
    found = _last_object(done.stdout)
    if "error" in found:
        raise CommandFailed(str(found["error"]))
    if "graphs" not in found:
        raise CommandFailed(f"{path}: the process that traces its graphs ended with {_end(done)}")
    graphs: list[dict[str, Any]] = found["graphs"]
    return graphs


def _last_object(text: str) -> dict[str, Any]:
    """What the process has said in its last line; empty if it has not."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _end(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"signal {-done.returncode}"
    return f"exit code {done.returncode} and no answer"


def _split(target: str) -> tuple[Path, str]:
    """The path, and the graph behind its last colon if one is named."""
    path = Path(target).expanduser()
    if not path.exists():
        before, colon, after = target.rpartition(":")
        if colon and after.isidentifier():
            return Path(before).expanduser(), after
    return path, ""
