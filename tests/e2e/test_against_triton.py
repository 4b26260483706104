"""Salver and the real Triton, given the same repository and the same thousand requests.

What they answer is to be the same, except where `peer_differences` knows a difference; what it
knows is to occur, and to be explained in docs/triton-differences.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.peer_asking import Asker
from tests.e2e.peer_comparing import Difference, Known, differences
from tests.e2e.peer_differences import KNOWN
from tests.e2e.peer_generator import TOTAL, cases
from tests.e2e.peer_models import write_models
from tests.e2e.peer_requests import Case
from tests.e2e.real_triton import real_triton
from tests.e2e.server import serving

pytestmark = [pytest.mark.e2e, pytest.mark.triton, pytest.mark.timeout(300)]

SEED = 1
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "triton-differences.md"
LEAST_EQUAL = 600
"""Of the thousand; fewer would mean that the rest hides what it should show."""


@dataclass(frozen=True)
class Comparison:
    """How many answers were the same, and the differences by what is known of them."""

    asked: int
    equal: int
    known: Mapping[str, Sequence[Difference]]
    unknown: Sequence[Difference]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    repository = tmp_path_factory.mktemp("peers") / "repository"
    write_models(repository)
    asked = cases(SEED)
    with ExitStack() as stack:
        options = ("--model-control-mode", "explicit", "--load-model", "*")
        triton = stack.enter_context(real_triton(repository, *options))
        salver = stack.enter_context(serving(str(repository)))
        http = salver.url.removeprefix("http://")
        with ThreadPoolExecutor(2) as pool:
            asking = pool.submit(_answers, triton.http, triton.grpc, asked)
            ours, theirs = _answers(http, salver.grpc, asked), asking.result()
        assert triton.process.poll() is None, triton.log.read_text()
        assert "worker exited" not in salver.log.read_text()
    return _compared(asked, theirs, ours)


def _answers(http: str, grpc: str, asked: Sequence[Case]) -> list[dict[str, Any]]:
    with closing(Asker(http, grpc)) as asker:
        return asker.answers(asked)


def _compared(
    asked: Sequence[Case], theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]
) -> Comparison:
    equal = 0
    known: dict[str, list[Difference]] = {}
    unknown: list[Difference] = []
    for case, triton, salver in zip(asked, theirs, ours, strict=True):
        found = differences(case, triton, salver)
        equal += not found
        for each in found:
            reason = _reason(each)
            (unknown if reason is None else known.setdefault(reason.name, [])).append(each)
    return Comparison(len(asked), equal, known, unknown)


def _reason(found: Difference) -> Known | None:
    return next((each for each in KNOWN if each.is_this(found)), None)


def test_a_thousand_requests_are_answered_alike_or_differ_for_a_known_reason(
    comparison: Comparison,
) -> None:
    assert comparison.asked == TOTAL == 1000
    assert not comparison.unknown, "\n".join(map(str, comparison.unknown))
    assert comparison.equal >= LEAST_EQUAL


def test_every_known_difference_still_occurs(comparison: Comparison) -> None:
    gone = {each.name for each in KNOWN} - comparison.known.keys()
    assert not gone, f"take them out of peer_differences.py and {DOCUMENT.name}: {sorted(gone)}"


def test_the_document_explains_each_known_difference_and_no_other() -> None:
    assert set(_explained()) == {each.name for each in KNOWN}


def test_the_same_seed_gives_the_same_requests() -> None:
    assert cases(SEED) == cases(SEED)
    assert len({each.label for each in cases(SEED)}) > 300


def _explained() -> Iterator[str]:
    """The first cells of the document's tables, which are the names in bold."""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("| **"):
            yield line.removeprefix("| **").partition("**")[0]
