"""The map from URI prefixes to folders or other URIs: lets a published manifest run anywhere.

Pure. Refuses to look whether a target is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from salver.errors import StorageError

_MOST_STEPS = 8


def parse_maps(values: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`PREFIX=TARGET` words, as they come from `--map`. Raises `StorageError`.

    The first `=` that is followed by a target divides, so a target may contain `=`.
    """
    maps = []
    for value in values:
        prefix, _, target = value.partition("=")
        if not prefix or not target:
            raise StorageError(
                f"map '{value}': give it as PREFIX=TARGET, e.g. gs://bucket=./models"
            )
        maps.append((prefix, target))
    return tuple(maps)


def mapped_uri(uri: str, maps: Sequence[tuple[str, str]]) -> str:
    """The URI after the maps: the longest prefix that fits wins; a target may be mapped again.

    A prefix ends at a `/` of the URI, at its end, or with its own `/`: `gs://a` fits
    `gs://a/b`, not `gs://ab`. The fragment stays. Raises `StorageError` if maps go in a circle.
    """
    seen = [uri]
    while len(seen) <= _MOST_STEPS:
        following = _mapped_once(seen[-1], maps)
        if following is None or following == seen[-1]:
            return seen[-1]
        seen.append(following)
    raise StorageError(f"map of {uri}: the maps lead in a circle, {seen[1]} again and again")


def _mapped_once(uri: str, maps: Sequence[tuple[str, str]]) -> str | None:
    fitting = [each for each in maps if _fits(each[0], uri)]
    if not fitting:
        return None
    prefix, target = max(fitting, key=lambda each: len(each[0]))
    rest = uri[len(prefix) :]
    if _is_web(uri) and not _is_web(target):
        # A web server's query means nothing to a folder or a bucket.
        path, mark, fragment = rest.partition("#")
        rest = path.partition("?")[0] + mark + fragment
    if not rest or rest.startswith("#"):
        return target + rest
    return target.rstrip("/") + "/" + rest.lstrip("/")


def _is_web(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _fits(prefix: str, uri: str) -> bool:
    if not uri.startswith(prefix):
        return False
    rest = uri[len(prefix) :]
    return not rest or rest[0] in "/#?" or prefix.endswith("/")
