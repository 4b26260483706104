"""From an InferenceService to what is to be served. Pure.

Decides which runner each component gets: a worker of Salver's own for a model or a Python
class, a process for a command, a container for an image. Raises `PlanError` for what is well
formed and cannot be carried out; what is malformed, `spec/` has refused before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from salver.graphs.allotments import followed_metric, notes_of, threads_of, with_behaviour
from salver.graphs.builtin_runtimes import LOCAL_RUNTIMES
from salver.graphs.compiling import with_compiling
from salver.graphs.plan import (
    BatchPolicy,
    CanarySpec,
    Component,
    ComponentDesire,
    ComponentPlan,
    LogPolicy,
    Runner,
    ServiceDesire,
    StickyPolicy,
)
from salver.graphs.pooled import is_pooled
from salver.graphs.runners import URL, RunnerChooser, main_container, model_of
from salver.graphs.scaling import scaling_policy
from salver.graphs.selection import PlanError, Runtime
from salver.spec.kserve import (
    Batcher,
    ComponentExtensionSpec,
    ExplainerSpec,
    InferenceService,
    LoggerSpec,
    PredictorSpec,
    TransformerSpec,
)

CLASS = "salver.dev/class"
"""Annotation: the Python class that is this component, as `file.py:Class` or a URI of one."""
SHADOW = "salver.dev/shadow"
"""Annotation: the name of the `canary[]` entry that gets copies of requests, not requests."""
SHADOW_PERCENT = "salver.dev/shadow-percent"
STICKY = "salver.dev/sticky"
"""Annotation: `header=NAME` or `cookie=NAME`: callers stay on one revision by its value."""
STOP = "serving.kserve.io/stop"
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"


def compile_inference_service(
    service: InferenceService, runtimes: Sequence[Runtime]
) -> ServiceDesire:
    """What the manifest wants. `runtimes`: those applied and the built-in ones.

    Raises `PlanError`.
    """
    compiler = _Compiler(service, runtimes)
    spec = service.spec
    if is_pool(service) or is_pooled(service):
        return ServiceDesire(
            namespace=service.metadata.namespace or "default",
            name=service.metadata.name,
            components=(),
            pooled=True,
            notes=_left_out(service),
        )
    components = [compiler.predictor(spec.predictor)]
    if spec.transformer is not None:
        components.append(compiler.around(spec.transformer, "transformer"))
    if spec.explainer is not None:
        components.append(compiler.around(spec.explainer, "explainer"))
    return ServiceDesire(
        namespace=service.metadata.namespace or "default",
        name=service.metadata.name,
        components=tuple(components),
        stopped=service.metadata.annotations.get(STOP, "").lower() == "true",
        notes=tuple(dict.fromkeys(compiler.notes)),
    )


def is_pool(service: InferenceService) -> bool:
    """Whether it has no model of its own, but is there for TrainedModels to be served."""
    annotations = {**service.metadata.annotations, **service.spec.predictor.annotations}
    model = model_of(service.spec.predictor)
    if URL in annotations or CLASS in annotations or model is None:
        return False
    if model.model_format.name not in LOCAL_RUNTIMES or is_pooled(service):
        return False
    variables = {each.name for each in model.env}
    return not model.storage_uri and model.storage is None and "STORAGE_URI" not in variables


def _left_out(service: InferenceService) -> tuple[str, ...]:
    """What a service whose models are in the shared pool does not get."""
    spec = service.spec
    parts = (("transformer", spec.transformer), ("explainer", spec.explainer))
    left_out = [name for name, part in parts if part is not None]
    left_out += ["canary"] if spec.canary else []
    return tuple(f"spec.{name} has no meaning for models of the shared pool" for name in left_out)


class _Compiler:
    """One manifest's compilation; collects notes on what has no meaning here."""

    def __init__(self, service: InferenceService, runtimes: Sequence[Runtime]) -> None:
        self._service = service
        self._runners = RunnerChooser(service, runtimes)
        self.notes: list[str] = []

    def predictor(self, spec: PredictorSpec) -> ComponentDesire:
        plan = self._predictor_plan(spec)
        entries = [
            CanarySpec(
                each.predictor.name, each.traffic_percent, self._predictor_plan(each.predictor)
            )
            for each in self._service.spec.canary
        ]
        annotations = self._annotations(spec)
        shadow_name = annotations.get(SHADOW, "")
        shadow = next((each for each in entries if each.name == shadow_name), None)
        if shadow_name and shadow is None:
            raise PlanError(
                "InvalidPredictorSpec",
                f"annotation {SHADOW} names '{shadow_name}', but spec.canary has "
                f"{', '.join(each.name for each in entries) or 'no entry'}; add it there",
            )
        if shadow is not None:
            percent = annotations.get(SHADOW_PERCENT, "100")
            if not percent.isdigit() or not 0 <= int(percent) <= 100:
                raise PlanError(
                    "InvalidPredictorSpec",
                    f"annotation {SHADOW_PERCENT} is '{percent}': write a number from 0 to 100",
                )
            shadow = msgspec.structs.replace(shadow, percent=int(percent))
        return ComponentDesire(
            plan,
            canary_percent=spec.canary_traffic_percent,
            canaries=tuple(each for each in entries if each.name != shadow_name),
            shadow=shadow,
            sticky=_sticky(annotations.get(STICKY, "")),
            tag_routing=annotations.get(TAG_ROUTING, "").lower() == "true",
        )

    def around(
        self, spec: TransformerSpec | ExplainerSpec, component: Component
    ) -> ComponentDesire:
        # The service's own annotations are about its predictor.
        annotations = spec.annotations
        if URL in annotations:
            runner: Runner = self._runners.of_url(annotations)
        elif CLASS in annotations:
            runner = self._runners.of_class(spec, annotations[CLASS], "transformer")
        elif spec.containers:
            runner = self._runners.of_container(spec, component)
        else:
            raise PlanError(
                "InvalidPredictorSpec",
                f"spec.{component} has no container: name one, or a Python class by the "
                f"annotation {CLASS}",
            )
        plan = self._component(spec, component, runner)
        return ComponentDesire(
            plan,
            canary_percent=spec.canary_traffic_percent,
            tag_routing=annotations.get(TAG_ROUTING, "").lower() == "true",
        )

    def _predictor_plan(self, spec: PredictorSpec) -> ComponentPlan:
        annotations = self._annotations(spec)
        if URL in annotations:
            return self._component(spec, "predictor", self._runners.of_url(annotations))
        if CLASS in annotations:
            return self._component(
                spec, "predictor", self._runners.of_class(spec, annotations[CLASS], "python")
            )
        model = model_of(spec)
        if model is not None:
            return self._component(
                spec, "predictor", with_compiling(self._runners.of_model(spec, model), annotations)
            )
        if spec.containers:
            return self._component(
                spec,
                "predictor",
                with_compiling(self._runners.of_container(spec, "predictor"), annotations),
            )
        raise PlanError(
            "InvalidPredictorSpec",
            "spec.predictor names no model and no container: add spec.predictor.model",
        )

    def _component(
        self, spec: ComponentExtensionSpec, component: Component, runner: Runner
    ) -> ComponentPlan:
        metric, target = followed_metric(spec.auto_scaling)
        policy, problems, notes = scaling_policy(
            self._annotations(spec),
            spec.min_replicas,
            spec.max_replicas,
            spec.scale_target if metric is None else target,
            spec.scale_metric or metric,
            spec.container_concurrency,
        )
        if problems:
            raise PlanError("InvalidPredictorSpec", "; ".join(problems))
        model = model_of(spec) if isinstance(spec, PredictorSpec) else None
        container = model or main_container(spec.containers)
        self.notes += [*notes, *notes_of(f"spec.{component}", spec, container)]
        return ComponentPlan(
            component,
            runner,
            scaling=with_behaviour(policy, spec.auto_scaling),
            threads=threads_of(container),
            batching=_batching(spec.batcher),
            logging=_logging(spec.logger, self._annotations(spec)),
            timeout_s=float(spec.timeout or 0),
            labels=tuple(sorted({**self._service.metadata.labels, **spec.labels}.items())),
        )

    def _annotations(self, spec: ComponentExtensionSpec) -> Mapping[str, str]:
        """The service's annotations, overruled by the component's own."""
        return {**self._service.metadata.annotations, **spec.annotations}


def _batching(batcher: Batcher | None) -> BatchPolicy | None:
    if batcher is None:
        return None
    default = BatchPolicy()
    return BatchPolicy(
        max_batch_size=batcher.max_batch_size or default.max_batch_size,
        max_latency_s=default.max_latency_s
        if batcher.max_latency is None
        else batcher.max_latency / 1000,
        timeout_s=float(batcher.timeout or 0),
    )


def _logging(logger: LoggerSpec | None, annotations: Mapping[str, str]) -> LogPolicy | None:
    if logger is None or not logger.url:
        return None
    suffixes = (".jsonl", ".ndjson", ".json", ".parquet")
    if not logger.url.startswith(("http://", "https://")) and not (
        logger.url.startswith("file://") and logger.url.endswith(suffixes)
    ):
        raise PlanError(
            "InvalidPredictorSpec",
            f"the logger's url '{logger.url}' is no sink: use http(s)://..., file:///....jsonl or "
            "file:///....parquet",
        )
    kept = tuple(
        (name, annotations[name]) for name in logger.metadata_annotations if name in annotations
    )
    return LogPolicy(logger.url, logger.mode, logger.metadata_headers, kept)


def _sticky(value: str) -> StickyPolicy | None:
    kind, _, name = value.partition("=")
    if not value:
        return None
    if kind == "header" and name:
        return StickyPolicy(header=name.lower())
    if kind == "cookie" and name:
        return StickyPolicy(cookie=name)
    raise PlanError(
        "InvalidPredictorSpec",
        f"annotation {STICKY} is '{value}': write header=NAME or cookie=NAME",
    )
