"""From TrainedModels, ModelMesh Predictors, and InferenceServices that say so, to models of the
shared pool. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from salver.graphs.builtin_runtimes import LOCAL_RUNTIMES
from salver.graphs.compiling import with_compiling
from salver.graphs.plan import ModelRunner
from salver.graphs.runners import RunnerChooser, model_of
from salver.graphs.selection import PlanError, Runtime, Wanted, select_runtime
from salver.spec.kserve import InferenceService, ModelFormat, TrainedModel
from salver.spec.modelmesh import Predictor, PredictorStorage

DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
"""Annotation: `ModelMesh` puts an InferenceService's model into the shared pool."""
MIN_COPIES = "salver.dev/min-copies"
MAX_COPIES = "salver.dev/max-copies"
"""Annotations: how many workers a pooled model has at least and at most."""


class PooledPlan(msgspec.Struct, frozen=True):
    """One model of the pool: known at once, fetched and loaded on its first request.

    `service` is the InferenceService under whose address it answers too, if it has one.
    """

    namespace: str
    name: str
    runner: ModelRunner
    min_copies: int = 0
    max_copies: int = 1
    service: str = ""


def compile_trained_model(model: TrainedModel) -> PooledPlan:
    """Raises `PlanError`."""
    spec = model.spec.model
    return _plan(
        model,
        ModelRunner(
            uri=spec.storage_uri, runtime=_local(spec.framework), format=spec.framework.lower()
        ),
        service=model.spec.inference_service,
    )


def compile_pooled_service(service: InferenceService, runtimes: Sequence[Runtime]) -> PooledPlan:
    """The model of an InferenceService in ModelMesh's mode. Raises `PlanError`."""
    spec = service.spec.predictor
    model = model_of(spec)
    runner = RunnerChooser(service, runtimes).of_model(spec, model) if model is not None else None
    if not isinstance(runner, ModelRunner):
        raise PlanError(
            "InvalidPredictorSpec",
            "only a model in a worker of this machine can be in the shared pool: remove the "
            f"annotation {DEPLOYMENT_MODE}, or name a model of a format served here",
        )
    return _plan(service, runner, service=service.metadata.name)


def is_pooled(service: InferenceService) -> bool:
    """Whether the service's model is to be in the shared pool."""
    return service.metadata.annotations.get(DEPLOYMENT_MODE, "") == "ModelMesh"


def compile_predictor(predictor: Predictor, runtimes: Sequence[Runtime]) -> PooledPlan:
    """Raises `PlanError`."""
    spec = predictor.spec
    if spec.runtime is not None:
        wanted = ModelFormat(name=spec.model_type.name, version=spec.model_type.version)
        namespace = predictor.metadata.namespace or "default"
        select_runtime(
            Wanted(wanted, spec.protocol_version or "v2", namespace, spec.runtime.name), runtimes
        )
    runner = ModelRunner(uri="", runtime=_local(spec.model_type.name), format=spec.model_type.name)
    return _plan(predictor, _placed(runner, spec.path, spec.storage))


def _placed(runner: ModelRunner, path: str, storage: PredictorStorage | None) -> ModelRunner:
    """The runner with the model's place: a claim, an entry of the storage secret, or a path."""
    path = (storage.path if storage is not None and storage.path else path).lstrip("/")
    if storage is None:
        return msgspec.structs.replace(runner, uri=path)
    if storage.persistent_volume_claim is not None:
        claim = storage.persistent_volume_claim.claim_name
        return msgspec.structs.replace(runner, uri=f"pvc://{claim}/{path}")
    parameters = dict(storage.parameters)
    key = storage.key or "default"
    if storage.s3 is not None:
        key = storage.s3.secret_key
        if storage.s3.bucket:
            parameters["bucket"] = storage.s3.bucket
    return msgspec.structs.replace(
        runner,
        uri=path,
        storage_key=key,
        storage_parameters=tuple(sorted(parameters.items())),
    )


def _plan(resource: Any, runner: ModelRunner, service: str = "") -> PooledPlan:
    metadata = resource.metadata
    return PooledPlan(
        metadata.namespace or "default",
        metadata.name,
        with_compiling(runner, metadata.annotations),
        min_copies=_count(metadata.annotations, MIN_COPIES, 0),
        max_copies=_count(metadata.annotations, MAX_COPIES, 1),
        service=service,
    )


def _count(annotations: dict[str, str], name: str, default: int) -> int:
    text = annotations.get(name, str(default))
    if not text.isdigit():
        raise PlanError("InvalidPredictorSpec", f"annotation {name} is '{text}': write a number")
    return int(text)


def _local(format_name: str) -> str:
    runtime = LOCAL_RUNTIMES.get(format_name.lower())
    if runtime is None:
        raise PlanError(
            "NoSupportingRuntime",
            f"no runtime of this machine serves format '{format_name}': there are "
            f"{', '.join(sorted(LOCAL_RUNTIMES))}",
        )
    return runtime
