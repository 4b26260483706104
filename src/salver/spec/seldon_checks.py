"""What contradicts what within a SeldonDeployment: the deployment as a whole, and its pods.

Pure: a typed deployment in, findings with their paths out. What is wrong with single nodes of a
graph is in `seldon_node_checks.py`. The rules are those of Seldon's own validation, and those that
its engine finds out only when requests come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from salver.spec.checks import check_pod
from salver.spec.names import label_fault
from salver.spec.problems import Finding, Path, did_you_mean, path_text, quoted
from salver.spec.seldon import PredictorSpec, SeldonDeployment, SeldonDeploymentSpec, walk
from salver.spec.seldon_node_checks import CLASS, URL, Surroundings, check_node
from salver.spec.seldon_parts import HpaMetric, SeldonPodSpec
from salver.spec.steps import count_fault

TIMEOUTS = ("seldon.io/rest-timeout", "seldon.io/grpc-timeout")
"""Annotations: milliseconds that one node may take."""
NO_ENGINE = "seldon.io/no-engine"
_KAFKA = ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")


def check_seldon_deployment(deployment: SeldonDeployment) -> Iterator[Finding]:
    """All contradictions of a deployment."""
    spec = deployment.spec
    if not spec.predictors:
        yield ("spec", "predictors"), "is empty: name at least one predictor"
        return
    yield from _check_names(spec)
    yield from _check_shadows(spec)
    yield from _check_traffic(spec)
    yield from _check_transport(spec)
    outer = {**deployment.metadata.annotations, **spec.annotations}
    for owner, own in (("metadata", deployment.metadata.annotations), ("spec", spec.annotations)):
        yield from _check_timeouts(own, (owner, "annotations"))
        yield from _check_annotated_nodes(own, (owner, "annotations"), spec.predictors)
    for index, predictor in enumerate(spec.predictors):
        path: Path = ("spec", "predictors", index)
        yield from _check_predictor(predictor, path, spec, {**outer, **predictor.annotations})


def _check_predictor(
    predictor: PredictorSpec,
    path: Path,
    spec: SeldonDeploymentSpec,
    annotations: Mapping[str, str],
) -> Iterator[Finding]:
    here = (*path, "annotations")
    yield from _check_timeouts(predictor.annotations, here)
    yield from _check_annotated_nodes(predictor.annotations, here, (predictor,))
    yield from _check_pods(predictor, path)
    if spec.server_type == "kafka":
        yield from _check_kafka(predictor, path)
    nodes = list(walk(predictor.graph, (*path, "graph")))
    if message := count_fault(len(nodes), "nodes"):
        yield (*path, "graph"), message
        return
    if annotations.get(NO_ENGINE, "").lower() == "true" and len(nodes) > 1:
        yield (*path, "graph"), f"has {len(nodes)} nodes, but {NO_ENGINE} allows one only"
    containers = {
        each.name: each for pod in predictor.component_specs for each in pod.spec.containers
    }
    for at, node in nodes:
        yield from check_node(node, at, Surroundings(containers, annotations, spec.protocol))
    yield from _check_node_names(nodes)
    yield from _check_container_names(predictor, path)


def _check_container_names(predictor: PredictorSpec, path: Path) -> Iterator[Finding]:
    """Across pods; `check_pod` tells of those within one."""
    pods: dict[str, int] = {}
    for index, pod in enumerate(predictor.component_specs):
        for at, container in enumerate(pod.spec.containers):
            name = container.name
            if name and pods.setdefault(name, index) != index:
                here = (*path, "componentSpecs", index, "spec", "containers", at, "name")
                message = f"is the name of a container of componentSpecs[{pods[name]}] too"
                yield here, f"{quoted(name)} {message}"


def _check_names(spec: SeldonDeploymentSpec) -> Iterator[Finding]:
    names = [each.name for each in spec.predictors]
    for index, name in enumerate(names):
        here = ("spec", "predictors", index, "name")
        if name and name in names[:index]:
            first = names.index(name)
            message = f"two predictors are named {quoted(name)}; the first is predictors[{first}]"
            yield here, message
        elif name and (fault := label_fault(name)):
            yield here, fault


def _check_shadows(spec: SeldonDeploymentSpec) -> Iterator[Finding]:
    shadows = [index for index, each in enumerate(spec.predictors) if each.shadow]
    for index in shadows[1:]:
        message = f"only one predictor may be a shadow, and predictors[{shadows[0]}] is one"
        yield ("spec", "predictors", index, "shadow"), message
    if shadows and len(shadows) == len(spec.predictors):
        message = "a shadow cannot be the only predictor: it never answers"
        yield ("spec", "predictors", shadows[0], "shadow"), message


def _check_traffic(spec: SeldonDeploymentSpec) -> Iterator[Finding]:
    answering = [each for each in spec.predictors if not each.shadow]
    total = sum(each.traffic or 0 for each in answering)
    if len(answering) > 1 and total != 100:
        shown = [f"{each.name or 'a nameless one'} {each.traffic or 0}" for each in answering]
        text = " + ".join([*shown[:10], *["..."] * (len(shown) > 10)])
        message = f"the traffic of predictors that answer must sum to 100: {text} = {total}"
        yield ("spec", "predictors"), message
    elif len(spec.predictors) == 1 and 0 < total < 100:
        message = f"is {total}, but the only predictor gets all requests; write 100 or leave it out"
        yield ("spec", "predictors", 0, "traffic"), message


def _check_transport(spec: SeldonDeploymentSpec) -> Iterator[Finding]:
    """One way of talking to nodes per deployment, as Seldon's engine has only one."""
    first = spec.transport.upper()
    for index, predictor in enumerate(spec.predictors):
        for path, node in walk(predictor.graph, ("spec", "predictors", index, "graph")):
            kind = node.endpoint.type if node.endpoint is not None else ""
            if kind and first and kind != first:
                advice = (
                    "remove it, spec.transport says it for all"
                    if spec.transport
                    else ("use spec.transport for all")
                )
                yield (
                    (*path, "endpoint", "type"),
                    f"is {kind}, but other nodes have {first}; {advice}",
                )
            first = first or kind


def _check_kafka(predictor: PredictorSpec, path: Path) -> Iterator[Finding]:
    names = {each.name for each in predictor.svc_orch_spec.env}
    missing = [each for each in _KAFKA if each not in names]
    if missing:
        here = (*path, "svcOrchSpec", "env")
        yield here, f"lacks {', '.join(missing)}, which serverType kafka needs"


def _check_timeouts(annotations: Mapping[str, str], path: Path) -> Iterator[Finding]:
    for name in TIMEOUTS:
        text = annotations.get(name)
        if text is not None and not (text.isascii() and text.isdigit() and int(text)):
            yield (*path, name), f"must be a number of milliseconds, found {quoted(text)}"


def _check_annotated_nodes(
    annotations: Mapping[str, str], path: Path, predictors: tuple[PredictorSpec, ...]
) -> Iterator[Finding]:
    names = {node.name for each in predictors for _, node in walk(each.graph, ())}
    for key, value in annotations.items():
        for prefix in (CLASS, URL):
            node = key.removeprefix(prefix)
            if node != key and node not in names:
                advice = did_you_mean(node, names)
                yield (*path, key), f"there is no node {quoted(node)} in the graph{advice}"
        if key.startswith(CLASS) and not _is_class(value):
            yield (*path, key), f"must be file.py:Class, found {quoted(value)}"
        if key.startswith(URL) and not value.startswith(("http://", "https://")):
            yield (*path, key), f"must be http://HOST:PORT, found {quoted(value)}"


def _is_class(value: str) -> bool:
    path, _, attribute = value.rpartition(":")
    return path.endswith(".py") and attribute.isidentifier()


def _check_node_names(nodes: list[tuple[Path, Any]]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for path, node in nodes:
        other = first.setdefault(node.name, path)
        if node.name and other is not path:
            where = path_text(other)
            message = f"two nodes of the graph are named {quoted(node.name)}; the first is {where}"
            yield (*path, "name"), message


def _check_pods(predictor: PredictorSpec, path: Path) -> Iterator[Finding]:
    for index, pod in enumerate(predictor.component_specs):
        here = (*path, "componentSpecs", index)
        yield from check_pod(pod.spec, (*here, "spec"))
        yield from _check_scaling(pod, (*here, "hpaSpec"))
        for at, container in enumerate(pod.spec.containers):
            # Of several, `check_pod` says so.
            if not container.name and len(pod.spec.containers) == 1:
                message = "is required: the name of the node that the container implements"
                yield (*here, "spec", "containers", at, "name"), message


def _check_scaling(pod: SeldonPodSpec, path: Path) -> Iterator[Finding]:
    hpa = pod.hpa_spec
    if hpa is None:
        return
    if hpa.min_replicas is not None and hpa.min_replicas > hpa.max_replicas:
        message = f"is {hpa.min_replicas}, more than maxReplicas, which is {hpa.max_replicas}"
        yield (*path, "minReplicas"), message
    if hpa.metrics and hpa.metricsv2:
        yield (*path, "metricsv2"), "contradicts 'metrics'; keep one of the two"
    for field, metrics in (("metrics", hpa.metrics), ("metricsv2", hpa.metricsv2)):
        for index, metric in enumerate(metrics):
            yield from _check_metric(metric, (*path, field, index))


def _check_metric(metric: HpaMetric, path: Path) -> Iterator[Finding]:
    if metric.type != "Resource":
        return
    resource = metric.resource
    if resource is None:
        yield (*path, "resource"), "is required for type Resource"
        return
    if resource.name not in ("cpu", "memory"):
        yield (*path, "resource", "name"), f"must be cpu or memory, found {quoted(resource.name)}"
    given = (resource.target_average_utilization, resource.target_average_value, resource.target)
    if all(each is None for each in given):
        yield (*path, "resource"), "names no target: give targetAverageUtilization"
