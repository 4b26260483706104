"""Manifests of graphs, changed at random: read and compiled, or refused, and nothing else.

`SALVER_FUZZ_EXAMPLES` sets how many are made up for each kind.
"""

import json
import os
import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.spec.graph_seeds import SEEDS, Json, mutated

from salver.control.admission import SpecAdmission
from salver.control.graph_compiling import compiled_alone
from salver.engine.flow_program import Program
from salver.errors import ManifestError
from salver.graphs.drawing import mermaid
from salver.graphs.picture import picture_of
from salver.graphs.selection import PlanError
from salver.spec.read import parse_object, read_manifests

EXAMPLES = int(os.environ.get("SALVER_FUZZ_EXAMPLES", "0"))
KINDS = sorted(SEEDS)
PATIENCE_S = 5.0


def made_up(default: int) -> settings:
    return settings(
        max_examples=EXAMPLES or default,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def admitted(obj: Json) -> None:
    """What becomes of an object from the API to a flow that is ready to run."""
    stored, _ = SpecAdmission().admit(obj, None)
    desire = compiled_alone(stored)
    assert desire is not None
    for variant in desire.variants:
        Program(variant.flow)
        mermaid(picture_of(variant.flow))
    assert desire.digest


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifests_to_begin_with_are_valid(kind: str) -> None:
    for obj in SEEDS[kind]:
        assert [str(each) for each in parse_object(obj).problems] == []
        admitted(obj)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_manifest_is_compiled_or_refused(kind: str) -> None:
    @given(obj=mutated(kind))
    @made_up(150)
    def run(obj: Json) -> None:
        begun = time.perf_counter()
        try:
            admitted(obj)
        except ManifestError as error:
            assert error.problems
            assert all("\n" not in each for each in error.problems)
        except PlanError as error:
            assert str(error) and "\n" not in str(error)
        assert time.perf_counter() - begun < PATIENCE_S

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_text_is_read_or_refused(kind: str) -> None:
    texts = [yaml.safe_dump(obj) for obj in SEEDS[kind]] + [json.dumps(SEEDS[kind][0])]
    pieces = st.one_of(
        st.sampled_from([": ", "- ", "\n", "\t", "  ", "{", "]", "'", '"', "&a ", "*a", "<<: *a"]),
        st.text(max_size=4),
    )

    @given(
        text=st.sampled_from(texts),
        edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), pieces), max_size=4),
    )
    @made_up(100)
    def run(text: str, edits: list[tuple[float, int, str]]) -> None:
        for place, width, piece in edits:
            begin = int(place * len(text))
            text = text[:begin] + piece + text[begin + width :]
        reading = read_manifests(text, "made-up.yaml")
        assert all("\n" not in str(each) for each in reading.problems)
        for manifest in reading.manifests:
            try:
                compiled_alone(manifest.object)
            except (PlanError, ManifestError) as error:
                assert "\n" not in str(error)

    run()
