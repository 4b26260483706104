"""Labels of versions: given as a whole, found by name, unknown ones refused."""

from __future__ import annotations

import pytest

from salver.engine.version_labels import VersionLabels
from salver.errors import InvalidInput


def test_labels_are_replaced_as_a_whole() -> None:
    labels = VersionLabels()
    labels.assign("iris", {"stable": "1", "canary": "2"})
    assert labels.version("iris", "canary", ["1", "2"]) == "2"
    labels.assign("iris", {"stable": "2"})
    assert labels.version("iris", "stable", ["1", "2"]) == "2"
    assert dict(labels.of("iris")) == {"stable": "2"}
    labels.assign("iris", {})
    assert dict(labels.of("iris")) == {}


def test_a_version_that_is_a_word_is_a_label_of_its_own() -> None:
    assert VersionLabels().version("iris", "blue", ["blue"]) == "blue"


def test_an_unknown_label_is_refused_with_those_there_are() -> None:
    labels = VersionLabels()
    labels.assign("iris", {"stable": "1"})
    with pytest.raises(InvalidInput, match="no version label 'canary': it has stable"):
        labels.version("iris", "canary", ["1"])
