"""What of a SeldonDeployment is read and has no effect here, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from salver.spec.problems import did_you_mean, path_text
from salver.spec.seldon import PredictorSpec, SeldonDeployment, walk

_ACT = ("seldon.io/rest-timeout", "seldon.io/grpc-timeout", "seldon.io/no-engine")
_KNOWN = {
    "seldon.io/rest-connect-timeout": "connections are kept",
    "seldon.io/rest-connection-timeout": "use seldon.io/rest-timeout",
    "seldon.io/rest-read-timeout": "use seldon.io/rest-timeout",
    "seldon.io/grpc-read-timeout": "use seldon.io/grpc-timeout",
    "seldon.io/grpc-max-message-size": "the server's own limit counts",
    "seldon.io/svc-name": "the address is that of the deployment",
    "seldon.io/headless-svc": "there is one gateway",
    "seldon.io/engine-separate-pod": "there is one gateway",
    "seldon.io/executor": "there is one gateway",
    "seldon.io/executor-logger-queue-size": "the server's own limit counts",
    "seldon.io/executor-logger-write-timeout-ms": "the server's own limit counts",
    "seldon.io/istio-gateway": "there is one gateway",
    "seldon.io/istio-host": "there is one gateway",
    "seldon.io/istio-retries": "there is one gateway",
    "seldon.io/istio-retries-timeout": "there is one gateway",
    "seldon.io/ambassador-service-name": "there is one gateway",
    "seldon.io/ambassador-header": "there is one gateway",
    "seldon.io/ambassador-regex-header": "there is one gateway",
    "seldon.io/ambassador-config": "there is one gateway",
    "seldon.io/ambassador-id": "there is one gateway",
    "seldon.io/ambassador-retries": "there is one gateway",
    "seldon.io/ambassador-shadow": "use shadow: true",
}


def notes_of_deployment(deployment: SeldonDeployment) -> Iterator[str]:
    """All that concerns the deployment, its predictors or several of its nodes."""
    spec = deployment.spec
    yield from _annotations("metadata.annotations", deployment.metadata.annotations)
    yield from _annotations("spec.annotations", spec.annotations)
    if spec.server_type == "kafka":
        yield "spec.serverType kafka: requests come over HTTP and gRPC here, there is no Kafka"
    for index, predictor in enumerate(spec.predictors):
        where = path_text(("spec", "predictors", index))
        yield from _annotations(f"{where}.annotations", predictor.annotations)
        if predictor.explainer is not None:
            yield f"{where}.explainer: explainers of SeldonDeployments are not served yet"
        yield from _sidecars(where, predictor)
        yield from _loggers(where, predictor)


def _annotations(where: str, annotations: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(annotations):
        if name in _KNOWN:
            yield f"{where}: {name} has no meaning on this backend: {_KNOWN[name]}"
        elif name.startswith("seldon.io/") and name not in _ACT:
            advice = did_you_mean(name, (*_ACT, *_KNOWN))
            yield f"{where}: {name} is unknown and has no effect{advice}"


def _sidecars(where: str, predictor: PredictorSpec) -> Iterator[str]:
    names = {node.name for _, node in walk(predictor.graph, ())}
    for index, pod in enumerate(predictor.component_specs):
        for container in pod.spec.containers:
            if container.name not in names:
                yield (
                    f"{where}.componentSpecs[{index}]: container '{container.name}' is no node of "
                    "the graph and is not run"
                )


def _loggers(where: str, predictor: PredictorSpec) -> Iterator[str]:
    for path, node in walk(predictor.graph, ("graph",)):
        if node.logger is not None and not node.logger.url:
            yield f"{where}.{path_text(path)}.logger names no url, so nothing is logged: give one"
