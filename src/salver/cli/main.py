"""The `salver` command: reads the command line, runs the command, turns errors into lines.

Every error that Salver raises on purpose ends as one line on stderr that begins `salver:`,
without a traceback; `SALVER_DEBUG=1` shows it. Exit codes: 0 done, 1 it failed, 2 the command
line or a setting is wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salver.cli import parser
from salver.cli.options import resolve
from salver.errors import SalverError, SettingsError

if TYPE_CHECKING:
    from salver.settings import ServeSettings

DEFAULT_FILE = "salver.toml"

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives the exit code; the console script `salver`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments, os.environ)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("SALVER_DEBUG", "") not in ("", "0"):
            raise
        for line in error_lines(error):
            print(f"salver: {line}", file=sys.stderr)
        return WRONG_USE if isinstance(error, SettingsError) else FAILED


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    command, rest = parser.parse_command(arguments)
    return COMMANDS[command](rest, environ)


def _serve(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    targets, flags = parser.parse_serve(arguments)
    settings = _settings(flags, environ, len(targets))

    from salver import bootstrap
    from salver.cli.banner import announce

    return bootstrap.serve(targets, settings, announce)


COMMANDS: Mapping[str, Callable[[Sequence[str], Mapping[str, str]], int]] = {"serve": _serve}


def _settings(
    flags: Mapping[str, Any], environ: Mapping[str, str], target_count: int
) -> ServeSettings:
    file = flags.get("config") or environ.get("SALVER_CONFIG") or ""
    toml = read_toml(Path(file or DEFAULT_FILE), is_required=bool(file))
    return resolve(flags, environ, toml, target_count=target_count, file=file or DEFAULT_FILE)


def read_toml(path: Path, *, is_required: bool) -> dict[str, Any]:
    """The keys of a settings file; none if the file is absent and nobody asked for it.

    Raises `SettingsError` for a file that cannot be read or is no TOML.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if not is_required:
            return {}
        raise SettingsError([f"{path}: no such settings file; check --config"]) from None
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: is not valid TOML: {error}"]) from error


def error_lines(error: Exception) -> Sequence[str]:
    """What the terminal shows for an error: one line for each thing that is wrong."""
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, SalverError):
        return (_one_line(str(error)),)
    what = _one_line(f"{type(error).__name__}: {error}")
    return (f"unexpected error: {what}; run again with SALVER_DEBUG=1 to see where",)


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
