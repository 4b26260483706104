"""Which files of a source are wanted: `allow` and `ignore` patterns, as KServe's initializer
reads them. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from salver.errors import StorageError
from salver.storage.ports import Entry, StorageSettings


def with_environ(settings: StorageSettings, environ: Mapping[str, str]) -> StorageSettings:
    """The settings with the patterns of the environment where they have none."""
    return msgspec.structs.replace(
        settings,
        allow_patterns=settings.allow_patterns or patterns_of(environ, "STORAGE_ALLOW_PATTERNS"),
        ignore_patterns=settings.ignore_patterns or patterns_of(environ, "STORAGE_IGNORE_PATTERNS"),
    )


def patterns_of(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The patterns in a variable: a JSON list or words with commas between."""
    text = environ.get(name, "").strip()
    if not text:
        return ()
    if not text.startswith("["):
        return tuple(word.strip() for word in text.split(",") if word.strip())
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StorageError(f"{name}: '{text}' is no JSON list; {error}") from error
    if not all(isinstance(each, str) for each in found):
        raise StorageError(f"{name}: '{text}' must be a list of texts")
    return tuple(found)


def wanted(
    entries: Iterable[Entry], allow: Sequence[str], ignore: Sequence[str]
) -> tuple[Entry, ...]:
    """The entries that fit a pattern of `allow`, if there is any, and none of `ignore`.

    A pattern is matched with the whole path, `*` matching slashes too; one that ends in `/`
    stands for all that lies in the folder.
    """
    return tuple(
        entry
        for entry in entries
        if (not allow or _fits(entry.name, allow)) and not _fits(entry.name, ignore)
    )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, each + "*" if each.endswith("/") else each) for each in patterns)
