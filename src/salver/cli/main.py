"""The `salver` command: reads the command line, runs the command, turns errors into lines.

Every error that Salver raises on purpose ends as one line on stderr that begins `salver:`,
without a traceback; `SALVER_DEBUG=1` shows it. Exit codes: 0 done, 1 it failed, 2 the command
line or a setting is wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salver.cli import manifest_targets, mlserver_files, parser
from salver.cli.commands import COMMANDS, HIDDEN, Command, find_module
from salver.cli.options import resolve
from salver.errors import ManifestError, SalverError, SettingsError

if TYPE_CHECKING:
    from salver.settings import ServeSettings

DEFAULT_FILE = "salver.toml"

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives the exit code; the console script `salver`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    failed = FAILED
    try:
        name, rest = parser.parse_command(arguments)
        command = COMMANDS.get(name) or HIDDEN[name]
        failed = command.failure
        return _serve(rest, os.environ) if not command.module else _ask(name, command, rest)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        if os.environ.get("SALVER_DEBUG", "") not in ("", "0"):
            raise
        for line in error_lines(error):
            print(f"salver: {line}", file=sys.stderr)
        return WRONG_USE if isinstance(error, SettingsError) else failed


def _ask(name: str, command: Command, arguments: Sequence[str]) -> int:
    """Runs a command that asks a server."""
    from salver.cli.session import Session

    module = find_module(command)
    given = parser.parse_client(name, module, arguments)
    session = Session(given, os.environ, out=sys.stdout, err=sys.stderr, stdin=sys.stdin)
    code = module.run(given, session)
    sys.stdout.flush()
    return code


def _reader_left() -> int:
    """Whoever read the output has closed it, as `head` does: no more is written, not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _serve(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    targets, flags = parser.parse_serve(arguments)
    declared, targets = manifest_targets.split_targets(targets)
    manifests, models = mlserver_files.split_files(flags.get("filename") or ())
    if models or declared:
        flags = {**flags, "filename": [*manifests, *declared]}
    targets, defaults = _mlserver_defaults([*targets, *models])
    graphs, targets = _python_graphs(targets)
    settings = _settings(flags, environ, len(targets), defaults)
    namespace = environ.get("SALVER_NAMESPACE") or "default"
    objects = _manifests(settings.filename, namespace)
    traced = [*_traced(graphs, namespace), *_ensembles(targets, namespace)]

    from salver import bootstrap
    from salver.cli.announcing import announce

    return bootstrap.serve(targets, settings, announce, objects, graphs=traced)


def _python_graphs(targets: list[str]) -> tuple[list[str], list[str]]:
    """The targets that are Python files with graphs, and the others."""
    if not any(".py" in target for target in targets):
        return [], targets
    from salver.cli.python_graphs import split_targets

    return split_targets(targets)


def _traced(graphs: Sequence[str], namespace: str) -> list[dict[str, Any]]:
    """The graphs of Python files as they are to be applied. Raises `CommandFailed`."""
    if not graphs:
        return []
    from salver.cli.apply import as_applied
    from salver.cli.python_graphs import manifests_of

    return [as_applied(obj, namespace) for target in graphs for obj in manifests_of(target)]


def _ensembles(targets: Sequence[str], namespace: str) -> list[dict[str, Any]]:
    """The ensembles of Triton repositories as graphs. Raises `ArtifactError`."""
    from salver.cli.triton_targets import ensembles_of

    found = ensembles_of(targets, lambda text: print(f"note: {text}", file=sys.stderr))
    if not found:
        return []
    from salver.cli.apply import as_applied

    return [as_applied(obj, namespace) for obj in found]


def _mlserver_defaults(targets: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The targets, and what MLServer's `settings.json` among them says, if there is one."""
    file = mlserver_files.find_server_file(targets)
    if file is None:
        return targets, {}
    defaults, notes, folder = mlserver_files.read_defaults(file)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if folder:
        own = str(file.parent)
        targets = [folder if Path(each) == Path(own) else each for each in targets]
    return targets, defaults


def _manifests(names: Sequence[str], namespace: str) -> Sequence[dict[str, Any]]:
    """What `serve -f` is to apply, as `apply` would send it; folders with all that is in them.

    Raises `ManifestError` with all that is wrong.
    """
    if not names:
        return ()
    from salver.cli.apply import as_applied
    from salver.cli.sources import read_files

    def note(text: str) -> None:
        print(f"note: {text}", file=sys.stderr)

    objects = read_files(names, is_recursive=True, stdin=sys.stdin, note=note)
    return [as_applied(obj, namespace) for obj in objects]


def _settings(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    target_count: int,
    defaults: Mapping[str, Any],
) -> ServeSettings:
    """Of a flag, a variable, the file and `defaults`, the first that says something."""
    file = flags.get("config") or environ.get("SALVER_CONFIG") or ""
    toml = read_toml(Path(file or DEFAULT_FILE), is_required=bool(file))
    toml = {**defaults, **toml}
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
    if isinstance(error, SettingsError | ManifestError):
        return error.problems
    if isinstance(error, SalverError) and hasattr(error, "problems"):
        # `client.ApiError`: naming it here would import what `serve` does not need.
        return tuple(error.problems)
    if isinstance(error, SalverError):
        return (_one_line(str(error)),)
    what = _one_line(f"{type(error).__name__}: {error}")
    return (f"unexpected error: {what}; run again with SALVER_DEBUG=1 to see where",)


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
