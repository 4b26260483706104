"""What contradicts what within an InferenceService, of either version.

Pure: a typed service in, findings with their paths out. What holds for all resources and
their containers is in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from salver.spec import kserve, v1alpha2
from salver.spec.checks import check_container, check_pod, check_uri
from salver.spec.kserve import LEGACY_MODELS
from salver.spec.names import label_fault
from salver.spec.problems import Finding, Path, quoted

EXPLAINERS = ("art", "alibi", "aix")
CLASS = "salver.dev/class"
"""Annotation of a service or component: the Python class that is the component."""
URL = "salver.dev/url"
"""Annotation of a service or component: where somebody else serves it."""
MAIN_CONTAINER = "kserve-container"
_SCALING = (
    ("min_replicas", "minReplicas"),
    ("max_replicas", "maxReplicas"),
    ("scale_target", "scaleTarget"),
    ("scale_metric", "scaleMetric"),
    ("scale_metric_type", "scaleMetricType"),
    ("auto_scaling", "autoScaling"),
)


def check_service(service: kserve.InferenceService) -> Iterator[Finding]:
    """All contradictions of a v1beta1 service."""
    spec = service.spec
    is_class = _is_annotated(service.metadata)
    yield from _check_predictor(spec.predictor, ("spec", "predictor"), is_class)
    if spec.transformer is not None:
        yield from _check_transformer(spec.transformer, ("spec", "transformer"), is_class)
    if spec.explainer is not None:
        yield from _check_explainer(spec.explainer, ("spec", "explainer"), is_class)
    yield from _check_canaries(spec, is_class)


def _is_annotated(annotated: Any) -> bool:
    """Whether annotations say what runs."""
    return CLASS in annotated.annotations or URL in annotated.annotations


def check_old_service(service: v1alpha2.InferenceService) -> Iterator[Finding]:
    """All contradictions of a v1alpha2 service."""
    spec = service.spec
    if spec.canary is None and spec.canary_traffic_percent:
        yield ("spec", "canaryTrafficPercent"), "has no 'canary' to send requests to"
    for name, endpoint in (("default", spec.default), ("canary", spec.canary)):
        if endpoint is not None:
            yield from _check_endpoint(endpoint, ("spec", name))


def _check_endpoint(endpoint: v1alpha2.EndpointSpec, path: Path) -> Iterator[Finding]:
    yield from _check_old_component(endpoint.predictor, v1alpha2.FRAMEWORKS, (*path, "predictor"))
    if endpoint.transformer is not None:
        yield from _check_old_component(endpoint.transformer, (), (*path, "transformer"))
    if endpoint.explainer is not None:
        methods = v1alpha2.EXPLAINERS
        yield from _check_old_component(endpoint.explainer, methods, (*path, "explainer"))


def _check_old_component(
    component: v1alpha2.DeploymentSpec, names: Sequence[str], path: Path
) -> Iterator[Finding]:
    choices = ("custom", *names)
    given = [name for name in choices if getattr(component, name) is not None]
    yield from _check_one_of(given, ", ".join((*names, "custom")), path)
    yield from _check_replicas(component, path)
    yield from _check_logger(component.logger, (*path, "logger"))
    if component.custom is not None:
        yield from check_container(component.custom.container, (*path, "custom", "container"), ())
        yield from _check_runs(component.custom.container, (*path, "custom", "container"))
    for name in given:
        uri = getattr(getattr(component, name), "storage_uri", None)
        yield from check_uri(uri, (*path, name, "storageUri"))


def _check_predictor(
    predictor: kserve.PredictorSpec, path: Path, is_class: bool
) -> Iterator[Finding]:
    names = ("model", *LEGACY_MODELS)
    models = [name for name in names if getattr(predictor, name) is not None]
    main = [each for each in predictor.containers if each.name in ("", MAIN_CONTAINER)]
    given = models + (["containers"] if main or (predictor.containers and not models) else [])
    if not is_class and not _is_annotated(predictor):
        yield from _check_one_of(given, "model, containers", path)
    volumes = [volume.name for volume in predictor.volumes]
    for name in models:
        model = getattr(predictor, name)
        yield from check_container(model, (*path, name), volumes)
        yield from _check_storage(model, predictor.storage_uris, (*path, name))
    if predictor.name and (fault := label_fault(predictor.name)):
        yield (*path, "name"), fault
    if not models:
        yield from _check_containers_run(predictor, path)
    yield from _check_component(predictor, path)


def _check_storage(model: Any, uris: Sequence[object], path: Path) -> Iterator[Finding]:
    if model.storage_uri is not None and model.storage is not None:
        yield (*path, "storage"), "contradicts 'storageUri'; keep one of the two"
    if uris and model.storage_uri is not None:
        yield (*path, "storageUri"), "contradicts 'storageUris'; keep one of the two"
    yield from check_uri(model.storage_uri, (*path, "storageUri"))


def _check_transformer(
    transformer: kserve.TransformerSpec, path: Path, is_class: bool
) -> Iterator[Finding]:
    if not (transformer.containers or is_class or _is_annotated(transformer)):
        message = f"is required: the program that transforms; or the annotation {CLASS}"
        yield (*path, "containers"), message
    yield from _check_containers_run(transformer, path)
    yield from _check_component(transformer, path)


def _check_explainer(
    explainer: kserve.ExplainerSpec, path: Path, is_class: bool
) -> Iterator[Finding]:
    given = [name for name in EXPLAINERS if getattr(explainer, name) is not None]
    if explainer.containers:
        given.append("containers")
    if not is_class and not _is_annotated(explainer):
        yield from _check_one_of(given, "art, alibi, aix, containers", path)
    volumes = [volume.name for volume in explainer.volumes]
    for name in set(given) - {"containers"}:
        method = getattr(explainer, name)
        yield from check_container(method, (*path, name), volumes)
        yield from _check_storage(method, explainer.storage_uris, (*path, name))
        if not method.type:
            yield (*path, name, "type"), "is required: the method of explanation"
    yield from _check_containers_run(explainer, path)
    yield from _check_component(explainer, path)


def _check_one_of(given: Sequence[str], choices: str, path: Path) -> Iterator[Finding]:
    if not given:
        yield path, f"has nothing to run; give one of {choices}"
    for other in given[1:]:
        yield (*path, other), f"contradicts '{given[0]}'; keep one of the two"


def _check_component(component: Any, path: Path) -> Iterator[Finding]:
    yield from check_pod(component, path)
    yield from _check_replicas(component, path)
    yield from _check_logger(component.logger, (*path, "logger"))
    yield from _check_scaling(component, path)
    for index, each in enumerate(component.storage_uris):
        yield from check_uri(each.uri, (*path, "storageUris", index, "uri"))
        if not each.mount_path.startswith("/"):
            here = (*path, "storageUris", index, "mountPath")
            yield here, f"must begin with '/', found {quoted(each.mount_path)}"


def _check_replicas(component: Any, path: Path) -> Iterator[Finding]:
    least, most = component.min_replicas, component.max_replicas
    if least is not None and 0 < most < least:
        yield (*path, "minReplicas"), f"is {least}, more than maxReplicas, which is {most}"


def _check_scaling(component: kserve.ComponentExtensionSpec, path: Path) -> Iterator[Finding]:
    if component.auto_scaling is None:
        return
    here = (*path, "autoScaling")
    if component.scale_metric is not None and component.auto_scaling.metrics:
        yield (*path, "scaleMetric"), "contradicts 'autoScaling'; keep one of the two"
    for index, metric in enumerate(component.auto_scaling.metrics):
        field = metric.type.lower()
        if getattr(metric, field) is None:
            yield (*here, "metrics", index, field), f"is required for type {metric.type}"
        if metric.resource is not None:
            target = (*here, "metrics", index, "resource", "target")
            yield from _check_target(metric.resource.target, target)


def _check_target(target: Any, path: Path) -> Iterator[Finding]:
    fields = {
        "Utilization": ("averageUtilization", target.average_utilization),
        "AverageValue": ("averageValue", target.average_value),
        "Value": ("value", target.value),
    }
    name, value = fields[target.type]
    if value is None:
        yield (*path, name), f"is required for type {target.type}"


def _check_logger(logger: Any, path: Path) -> Iterator[Finding]:
    if logger is None:
        return
    if logger.url is None:
        if getattr(logger, "storage", None) is None:
            yield (*path, "url"), "is required: the address that payloads are sent to"
    elif not logger.url.startswith(("http://", "https://", "file:///")):
        yield (*path, "url"), f"must begin with http://, https:// or file:///, found {_of(logger)}"


def _of(logger: Any) -> str:
    return quoted(logger.url) if logger.url else "nothing"


def _check_containers_run(
    component: kserve.ComponentExtensionSpec, path: Path
) -> Iterator[Finding]:
    for index, container in enumerate(component.containers):
        yield from _check_runs(container, (*path, "containers", index))


def _check_runs(container: Any, path: Path) -> Iterator[Finding]:
    if not container.image and not container.command:
        yield path, "has nothing to run; give it an image or a command"


def _check_canaries(spec: kserve.InferenceServiceSpec, is_class: bool) -> Iterator[Finding]:
    total = sum(each.traffic_percent for each in spec.canary)
    if total > 100:
        shares = " + ".join(str(each.traffic_percent) for each in spec.canary)
        yield (
            ("spec", "canary"),
            f"the canaries' trafficPercent add up to {shares} = {total}, over 100",
        )
    if spec.canary and spec.predictor.canary_traffic_percent is not None:
        path = ("spec", "predictor", "canaryTrafficPercent")
        yield path, "contradicts 'canary', which has its own shares; keep one of the two"
    names: list[str] = [spec.predictor.name]
    for index, canary in enumerate(spec.canary):
        here = ("spec", "canary", index, "predictor")
        yield from _check_predictor(canary.predictor, here, is_class)
        yield from _check_canary(canary.predictor, names, here)
        names.append(canary.predictor.name)


def _check_canary(
    predictor: kserve.PredictorSpec, names: Sequence[str], path: Path
) -> Iterator[Finding]:
    if not predictor.name:
        yield (*path, "name"), "is required: the canary's name"
    elif predictor.name in names[1:]:
        yield (*path, "name"), f"two canaries are named {quoted(predictor.name)}"
    elif predictor.name == names[0]:
        message = f"{quoted(predictor.name)} is the predictor itself; it was promoted, remove this"
        yield (*path, "name"), message
    fields = {field.name: field for field in msgspec.structs.fields(predictor)}
    for attribute, name in _SCALING:
        if getattr(predictor, attribute) != fields[attribute].default:
            yield (*path, name), "is not allowed in a canary; it scales as the predictor does"
    if predictor.canary_traffic_percent is not None:
        message = "is not allowed in a canary; its share is 'trafficPercent'"
        yield (*path, "canaryTrafficPercent"), message
