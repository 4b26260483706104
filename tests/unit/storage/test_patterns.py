from pathlib import Path

import pytest

from salver.errors import StorageError
from salver.storage.patterns import patterns_of, wanted, with_environ
from salver.storage.ports import Entry, StorageSettings

NAMES = ("model.bst", "sub/model.bst", "sub/readme.md", "docs/a/b.md")


@pytest.mark.parametrize(
    ("allow", "ignore", "left"),
    [
        ((), (), NAMES),
        (("*.bst",), (), ("model.bst", "sub/model.bst")),
        (("model.*",), (), ("model.bst",)),
        ((), ("sub/",), ("model.bst", "docs/a/b.md")),
        (("*.bst", "*.md"), ("docs/*",), ("model.bst", "sub/model.bst", "sub/readme.md")),
        (("none",), (), ()),
    ],
)
def test_patterns_choose(
    allow: tuple[str, ...], ignore: tuple[str, ...], left: tuple[str, ...]
) -> None:
    entries = [Entry(name, 1, "v") for name in NAMES]
    assert tuple(each.name for each in wanted(entries, allow, ignore)) == left


@pytest.mark.parametrize("text", ['["*.a", "b/*"]', "*.a, b/*,"])
def test_a_variable_has_json_or_words(text: str) -> None:
    assert patterns_of({"P": text}, "P") == ("*.a", "b/*")


@pytest.mark.parametrize("text", ['["a"', "[1]"])
def test_a_broken_variable_is_an_error(text: str) -> None:
    with pytest.raises(StorageError, match=r"^P: "):
        patterns_of({"P": text}, "P")


def test_settings_win_over_the_environment() -> None:
    environ = {"STORAGE_ALLOW_PATTERNS": "a", "STORAGE_IGNORE_PATTERNS": "b"}
    found = with_environ(StorageSettings(Path("/c"), allow_patterns=("x",)), environ)
    assert (found.allow_patterns, found.ignore_patterns) == (("x",), ("b",))
