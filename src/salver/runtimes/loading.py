"""What every framework's loading has in common: a missing library, a reason worth reading.

Owns how such failures are worded; a runtime decides what it calls.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from salver.errors import LoadFailed, MissingFramework, SalverError
from salver.runtimes.ports import ModelSource

_MOST_QUOTED_BYTES = 500
_ADVICE = "copy or save the model again, with a version of the framework that is installed here"


def framework_module(source: ModelSource, module: str, extra: str) -> ModuleType:
    """Imports `module`. Raises `MissingFramework` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingFramework(missing_framework(source, module, extra, error)) from error


def missing_framework(source: ModelSource, module: str, extra: str, error: Exception) -> str:
    package = module.split(".")[0]
    reason = "is not installed" if _is_absent(error, package) else f"cannot be imported ({error})"
    return (
        f"model '{source.name}' ({source.path.name}) needs {package}, which {reason}; "
        f"run: pip install 'salver[{extra}]'"
    )


def _is_absent(error: Exception, package: str) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name == package


@contextmanager
def load_failures(source: ModelSource, framework: str) -> Iterator[None]:
    """Turns whatever a framework raises on an artifact into `LoadFailed` with its reason."""
    try:
        yield
    except (SalverError, MemoryError):
        raise
    except Exception as error:
        reason = first_lines(error)
        # What is raised here says what to do behind a semicolon; a framework does not.
        advice = "" if ";" in reason else f"; {_ADVICE}"
        raise LoadFailed(
            f"model '{source.name}': {framework} could not load {source.path}: "
            f"{type(error).__name__}: {reason}{advice}"
        ) from error


def first_lines(error: BaseException) -> str:
    """The reason on one line, without the C++ stack trace that XGBoost appends."""
    text = str(error).split("Stack trace:")[0]
    if isinstance(error, UnicodeDecodeError):
        # It is the file, or a reason in which the framework quotes it.
        quoted = error.object[:_MOST_QUOTED_BYTES].decode(errors="backslashreplace")
        text = f"no UTF-8 at byte {error.start}: {quoted}"
    line = " ".join(text.split())
    if not line.isprintable():
        # What files say must not steer the terminal that shows a log.
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    return line if len(line) <= 500 else line[:497] + "..."
