"""Imports the user's Python file and says where in it something went wrong.

Owns the module's name and the search path. Refuses to know what a model class is.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from salver.errors import LoadFailed, SalverError
from salver.runtimes.loading import first_lines
from salver.runtimes.ports import ModelSource


def import_user_module(source: ModelSource, name: str = "") -> ModuleType:
    """The file as a module under a name of its own, its folder first on the search path.

    `name` is for those who import several files. Raises `LoadFailed` with the line of the file
    that failed.
    """
    name = name or "salver_model_" + re.sub(r"\W", "_", source.name)
    folder = str(source.path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, source.path)
    if spec is None or spec.loader is None:
        raise LoadFailed(f"model '{source.name}': {source.path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up while it runs.
    sys.modules[name] = module
    with user_failures(source, "importing it"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def user_failures(source: ModelSource, action: str) -> Iterator[None]:
    """Turns whatever the user's code raises into `LoadFailed` with type, message and line."""
    try:
        yield
    except (SalverError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise LoadFailed(
            f"model '{source.name}': {action} failed with {type(error).__name__}: "
            f"{first_lines(error)} ({_place(source, error)})"
        ) from error


def _place(source: ModelSource, error: BaseException) -> str:
    """The innermost line of the user's file that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename == str(source.path):
        return f"{source.path.name}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(source.path)]
    return f"{source.path.name}, line {lines[-1]}" if lines else source.path.name
