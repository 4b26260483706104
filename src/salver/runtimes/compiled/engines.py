"""Which engines may hold a model, and an engine as it answers requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from salver.inference.compilation import Tier
from salver.inference.tensor import InferRequest, InferResponse, tensor_from_array
from salver.runtimes.compiled.boosters import lightgbm_direct, lignum_boosters, xgboost_direct
from salver.runtimes.compiled.oblivious import oblivious_trees
from salver.runtimes.compiled.onnx_engine import onnx_candidate
from salver.runtimes.compiled.ports import (
    Candidate,
    Compute,
    Declined,
    Entry,
    NotCompiled,
    Subject,
)
from salver.runtimes.compiled.sklearn_engines import sklearn_candidates


class Engine:
    """Computations behind one entry: answers requests, or raises `Declined`."""

    def __init__(
        self,
        name: str,
        computations: Mapping[str, Compute],
        entry: Entry,
        defaults: Sequence[str],
    ) -> None:
        self.name = name
        self._computations = computations
        self._entry = entry
        self._defaults = tuple(defaults)

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = request.outputs or self._defaults
        computations = self._computations
        for name in wanted:
            if name not in computations:
                raise Declined
        rows = self._entry(request)
        return InferResponse(
            tuple([tensor_from_array(name, computations[name](rows)) for name in wanted])
        )


def candidates_for(subject: Subject, tiers: Sequence[Tier]) -> tuple[list[Candidate], str]:
    """The engines to try, the most promising first, and why there are none of the exact tier."""
    found: list[Candidate] = []
    reason = ""
    if "exact" in tiers:
        try:
            found += _exact(subject)
        except NotCompiled as error:
            reason = str(error)
    if "fast" in tiers and subject.family != "catboost":
        found.append(onnx_candidate())
    return found, reason


def _exact(subject: Subject) -> list[Candidate]:
    if subject.family == "sklearn":
        return sklearn_candidates(subject)
    found = [Candidate("lignum", "exact", partial(_lignum, family=subject.family))]
    if subject.family == "xgboost":
        found.append(Candidate("direct", "exact", lambda each: xgboost_direct(each.artifact)))
    if subject.family == "lightgbm":
        found.append(
            Candidate("direct", "exact", lambda each: lightgbm_direct(each.artifact, each.threads))
        )
    if subject.family == "catboost":
        found.append(Candidate("numpy", "exact", lambda each: oblivious_trees(each.artifact)))
    return found


def _lignum(subject: Subject, *, family: str) -> Mapping[str, Compute]:
    return lignum_boosters(subject.artifact, subject.threads, family=family)
