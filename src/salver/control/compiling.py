"""Compiles stored objects with what else is in the store: the runtimes that may serve them."""

from __future__ import annotations

import msgspec

from salver.control.resources import JsonObject, ResourceStore
from salver.graphs.builtin_runtimes import builtin_runtimes
from salver.graphs.compile import compile_inference_service, is_pool
from salver.graphs.plan import ServiceDesire
from salver.graphs.pooled import (
    PooledPlan,
    compile_pooled_service,
    compile_predictor,
    compile_trained_model,
)
from salver.graphs.selection import Runtime
from salver.spec.kinds import KSERVE
from salver.spec.kserve import InferenceService, TrainedModel
from salver.spec.modelmesh import Predictor
from salver.spec.problems import manifest_error
from salver.spec.read import parse_object


class ObjectCompiler:
    """Makes the plan of an InferenceService as it is stored."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store

    def __call__(self, obj: JsonObject) -> ServiceDesire:
        """Raises `PlanError` for what cannot be carried out, `ManifestError` for what is wrong."""
        parsed = parse_object(obj)
        if not isinstance(parsed.resource, InferenceService):
            raise manifest_error(parsed.problems)
        desire = compile_inference_service(parsed.resource, self._runtimes())
        notes = [str(note) for note in parsed.notes]
        return msgspec.structs.replace(desire, notes=tuple(dict.fromkeys([*notes, *desire.notes])))

    def pooled(self, obj: JsonObject) -> PooledPlan:
        """The plan of a TrainedModel, a ModelMesh Predictor, or a service in ModelMesh's mode.

        Raises as `__call__` does.
        """
        parsed = parse_object(obj)
        if isinstance(parsed.resource, TrainedModel):
            return compile_trained_model(parsed.resource)
        if isinstance(parsed.resource, Predictor):
            return compile_predictor(parsed.resource, self._runtimes())
        if isinstance(parsed.resource, InferenceService):
            return compile_pooled_service(parsed.resource, self._runtimes())
        raise manifest_error(parsed.problems)

    def is_pool(self, obj: JsonObject) -> bool:
        """Whether the service is there for TrainedModels. Raises `ManifestError`."""
        parsed = parse_object(obj)
        if not isinstance(parsed.resource, InferenceService):
            raise manifest_error(parsed.problems)
        return is_pool(parsed.resource)

    def _runtimes(self) -> tuple[Runtime, ...]:
        """Those applied, which hide built-in ones of their name, and the built-in ones."""
        applied: list[Runtime] = []
        for plural in ("servingruntimes", "clusterservingruntimes"):
            for obj in self._store.list(KSERVE, plural)[0]:
                resource = parse_object(obj).resource
                if resource is not None:
                    applied.append(resource)
        hidden = {each.metadata.name for each in applied if each.kind == "ClusterServingRuntime"}
        built_in = (each for each in builtin_runtimes() if each.metadata.name not in hidden)
        return (*applied, *built_in)
