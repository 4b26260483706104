"""Where manifests come from: files, folders, URLs and stdin; the `-f` of several commands.

Reads text and has `spec` judge it. Nothing is given back unless all of it is right.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from salver.errors import CommandFailed, ManifestError

if TYPE_CHECKING:
    from salver.cli.session import Session

_SUFFIXES = (".yaml", ".yml", ".json")
_MOST_BYTES = 64 << 20


class Source(NamedTuple):
    """A text with manifests in it, and what to call it in messages."""

    name: str
    text: str


def add_file_flags(parser: argparse.ArgumentParser, verb: str) -> None:
    """Adds `-f` and `-R`."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help=f"{verb} what is in this file, folder or URL, '-' for stdin; can be repeated",
    )
    parser.add_argument(
        "-R", "--recursive", action="store_true", help="go into the folders of a folder too"
    )


def read_objects(arguments: argparse.Namespace, session: Session) -> list[dict[str, Any]]:
    """The manifests of all `-f`, in their order, as Kubernetes objects; see `read_files`."""
    return read_files(
        arguments.filename,
        is_recursive=arguments.recursive,
        stdin=session.stdin,
        note=lambda text: session.err.write(f"note: {text}\n"),
    )


def read_files(
    names: Sequence[str], *, is_recursive: bool, stdin: TextIO, note: Callable[[str], object]
) -> list[dict[str, Any]]:
    """The manifests of all files, folders and URLs, in their order, as Kubernetes objects.

    `note` gets a line for each field without effect. Raises `ManifestError` with every problem
    of every file, and `CommandFailed` for a source that cannot be read.
    """
    from salver.spec.read import find_duplicates, read_manifests

    sources = read_sources(names, stdin, is_recursive=is_recursive)
    readings = [read_manifests(source.text, source.name) for source in sources]
    manifests = [manifest for reading in readings for manifest in reading.manifests]
    problems = [str(problem) for reading in readings for problem in reading.problems]
    problems += [str(problem) for problem in find_duplicates(manifests)]
    for each in (each for reading in readings for each in reading.notes):
        note(str(each))
    if problems:
        raise ManifestError(problems)
    if not manifests:
        names = ", ".join(source.name for source in sources)
        raise CommandFailed(f"{names}: there are no resources in it; check -f")
    return [manifest.object for manifest in manifests]


def read_sources(
    names: Sequence[str], stdin: TextIO, *, is_recursive: bool = False
) -> list[Source]:
    """The texts behind the names. Raises `CommandFailed`."""
    sources: list[Source] = []
    for name in names:
        if name == "-":
            sources.append(Source("stdin", stdin.read()))
        elif name.startswith(("http://", "https://")):
            sources.append(Source(name, _fetched(name)))
        else:
            sources += [_read(path) for path in _files(Path(name).expanduser(), is_recursive)]
    return sources


def _files(path: Path, is_recursive: bool) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = sorted(path.rglob("*") if is_recursive else path.iterdir())
    files = [each for each in found if each.suffix.lower() in _SUFFIXES and each.is_file()]
    if not files:
        hint = "" if is_recursive else "; -R looks into its folders too"
        raise CommandFailed(f"{path}: the folder has no file that ends in .yaml or .json{hint}")
    yield from files


def _read(path: Path) -> Source:
    try:
        return Source(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(f"{path}: cannot be read: {error.strerror}; check -f") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{path}: is not UTF-8 text; check -f") from error


def _fetched(url: str) -> str:
    """The text at a URL that is not the server's."""
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=30) as response:
            body: bytes = response.read(_MOST_BYTES + 1)
    except HTTPError as error:
        raise CommandFailed(f"{url}: answered {error.code} {error.reason}; check -f") from error
    except (URLError, OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise CommandFailed(f"{url}: cannot be fetched: {why}; check -f") from error
    if len(body) > _MOST_BYTES:
        raise CommandFailed(f"{url}: is larger than 64 MiB, and no manifest; check -f")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{url}: is not UTF-8 text; check -f") from error
