"""What runs a node of a SeldonDeployment's graph: a function in a worker, or a program. Pure.

In this order: an annotation that says where it is; a packaged server or an implementation of
Salver's own; a container that is a Python class, a command or an image; an endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from salver.graphs.compiling import with_compiling
from salver.graphs.plan import (
    CommandRunner,
    ContainerRunner,
    EnvReference,
    ModelRunner,
    RemoteRunner,
    Runner,
    WireProtocol,
)
from salver.graphs.runners import env_references
from salver.graphs.seldon_classes import (
    ComponentClass,
    class_of_annotation,
    class_of_container,
    plain_variables,
    values_of,
)
from salver.graphs.selection import PlanError
from salver.spec.pods import Container
from salver.spec.seldon import SERVERS, PredictiveUnit, PredictorSpec, SeldonDeployment
from salver.spec.seldon_node_checks import CLASS, URL

WIRE: Mapping[str, WireProtocol] = {
    "": "seldon",
    "seldon": "seldon",
    "tensorflow": "v1",
    "kfserving": "v2",
    "v2": "v2",
}
_SERVER_RUNTIMES = {
    "SKLEARN_SERVER": "sklearn",
    "XGBOOST_SERVER": "xgboost",
    "LIGHTGBM_SERVER": "lightgbm",
    "ONNX_SERVER": "onnx",
    "HUGGINGFACE_SERVER": "huggingface",
    "TENSORFLOW_SERVER": "tensorflow",
    "MLFLOW_SERVER": "mlflow",
    "TRITON_SERVER": "triton",
}
_FUNCTIONS = {"SIMPLE_MODEL": "simple_model", "AVERAGE_COMBINER": "average"}
_PORT = 9000
_MODEL_PARAMETER = {"name": "model_uri", "value": "/mnt/models", "type": "STRING"}


class InSteps(msgspec.Struct, frozen=True):
    """A function of a `steps` worker: `declaration` is its entry in the worker's options.

    Functions may share a worker if all but the declarations is the same; those without a folder
    can be in any.
    """

    declaration: Mapping[str, Any]
    folder: str = ""
    env: tuple[tuple[str, str], ...] = ()
    env_from: tuple[EnvReference, ...] = ()
    service_account: str = ""


class Surroundings(msgspec.Struct, frozen=True):
    """What a node's runner depends on beside the node. `where` is the node's path, for errors."""

    deployment: SeldonDeployment
    predictor: PredictorSpec
    annotations: Mapping[str, str]
    container: Container | None = None
    service_account: str = ""
    where: str = ""


def runner_of(node: PredictiveUnit, around: Surroundings) -> InSteps | Runner:
    """The runner of a node that is asked. Raises `PlanError`."""
    annotations, container = around.annotations, around.container
    url, written = annotations.get(URL + node.name), annotations.get(CLASS + node.name)
    if url is not None:
        return RemoteRunner(url, WIRE[around.deployment.spec.protocol], node.name)
    if written is not None:
        return _component(node, class_of_annotation(written), around)
    if node.implementation in _FUNCTIONS:
        declaration = {"builtin": _FUNCTIONS[node.implementation]}
        return InSteps({**declaration, "parameters": values_of(node.parameters)})
    if container is not None and (found := class_of_container(container)) is not None:
        return _component(node, found, around)
    if node.implementation in SERVERS and not _is_own_program(node, container):
        return with_compiling(_server(node, around), annotations)
    if container is not None:
        return _program(node, container, around)
    return _endpoint(node, around)


def _is_own_program(node: PredictiveUnit, container: Container | None) -> bool:
    """Whether a packaged server's container says what else to run in its place."""
    if container is None:
        return False
    is_unknown_here = node.implementation not in _SERVER_RUNTIMES
    return bool(container.command) or (is_unknown_here and bool(container.image))


def _component(node: PredictiveUnit, found: ComponentClass, around: Surroundings) -> InSteps:
    parameters = node.parameters if found.parameters is None else found.parameters
    container = around.container
    return InSteps(
        {"component": found.written, "parameters": values_of(parameters)},
        found.folder,
        env=tuple(sorted(plain_variables(container).items())),
        env_from=_references(node, container),
        service_account=around.service_account,
    )


def _server(node: PredictiveUnit, around: Surroundings) -> ModelRunner:
    name = node.implementation
    runtime = _SERVER_RUNTIMES.get(name)
    if runtime is None:
        raise PlanError(
            "NoSupportingRuntime",
            f"{around.where}: salver has no runtime that stands in for {name} (it has "
            f"{', '.join(_SERVER_RUNTIMES)}); give its container a 'command' that serves it, or "
            f"name a server by the annotation {URL}{node.name}",
        )
    return ModelRunner(
        uri=node.model_uri,
        runtime=runtime,
        format=runtime,
        env=tuple(sorted(plain_variables(around.container).items())),
        env_from=_references(node, around.container),
        service_account=around.service_account,
        options=_server_options(node, around.deployment.spec.protocol),
        # A node of Triton's has the name of the model in its repository.
        model=node.name if runtime == "triton" else "",
    )


def _server_options(node: PredictiveUnit, protocol: str) -> str:
    """Seldon's own scikit-learn server answers with probabilities unless told otherwise; under V2
    it is another server, which predicts."""
    if node.implementation != "SKLEARN_SERVER":
        return ""
    wanted = {each.name: each.value for each in node.parameters}.get("method", "")
    if wanted:
        # Theirs predicts for any word that it does not know.
        known = wanted if wanted in ("predict_proba", "decision_function") else "predict"
        return json.dumps({"methods": [known]})
    if WIRE[protocol] == "seldon":
        return json.dumps({"methods": ["predict_proba", "predict"]})
    return ""


def _program(node: PredictiveUnit, container: Container, around: Surroundings) -> Runner:
    """The container's command as a process, else its image as a container."""
    probe = container.readiness_probe
    path = probe.http_get.path if probe is not None and probe.http_get is not None else ""
    wire = WIRE[around.deployment.spec.protocol]
    env = variables_of(node, around, has_port=True)
    references = _references(node, container)
    if container.command:
        return CommandRunner(
            command=(*container.command, *container.args),
            protocol=wire,
            env=env,
            env_from=references,
            working_dir=container.working_dir,
            uri=node.model_uri,
            container=container.image,
            service_account=around.service_account,
            readiness_path=path,
            model=node.name,
        )
    if not container.image:
        raise PlanError(
            "InvalidPredictorSpec",
            f"{around.where}: container '{container.name}' has neither a command nor an image, "
            "and no workingDir to load its class from: name one of them",
        )
    return ContainerRunner(
        image=container.image,
        args=container.args,
        env=env,
        env_from=references,
        protocol=wire,
        port=_port(node, container),
        uri=node.model_uri,
        working_dir=container.working_dir,
        service_account=around.service_account,
        readiness_path=path,
        model=node.name,
    )


def _endpoint(node: PredictiveUnit, around: Surroundings) -> RemoteRunner:
    endpoint = node.endpoint
    assert endpoint is not None and endpoint.service_host, "spec/ has seen that there is one"
    is_grpc = "GRPC" in (endpoint.type, around.deployment.spec.transport.upper())
    port = endpoint.http_port or (0 if is_grpc else endpoint.service_port or 0)
    if not port:
        raise PlanError(
            "InvalidPredictorSpec",
            f"{around.where}.endpoint is served over gRPC only, and nodes are asked over HTTP "
            "here: give its httpPort",
        )
    host = f"[{endpoint.service_host}]" if ":" in endpoint.service_host else endpoint.service_host
    url = f"http://{host}:{port}"
    return RemoteRunner(url, WIRE[around.deployment.spec.protocol], node.name)


def _port(node: PredictiveUnit, container: Container) -> int:
    """The container's port called http, the endpoint's, the first, or Seldon's own."""
    named = [each.container_port for each in container.ports if each.name == "http"]
    first = [
        each.container_port for each in container.ports if each.name not in ("grpc", "metrics")
    ]
    endpoint = node.endpoint
    asked = (endpoint.http_port or endpoint.service_port or 0) if endpoint is not None else 0
    return next((each for each in (*named, asked, *first) if each), _PORT)


def variables_of(
    node: PredictiveUnit | None, around: Surroundings, *, has_port: bool = False
) -> tuple[tuple[str, str], ...]:
    """The variables that Seldon gives a node's program, and over them its container's own.

    Without a node, those that all nodes of the predictor have in common.
    """
    predictor = around.predictor
    found = {
        "SELDON_DEPLOYMENT_ID": around.deployment.metadata.name,
        "PREDICTOR_ID": predictor.name,
        "PREDICTOR_LABELS": json.dumps({"version": predictor.name, **predictor.labels}),
        "SELDON_EXECUTOR_ENABLED": "true",
    }
    if node is not None:
        image = around.container.image if around.container is not None else ""
        found["PREDICTIVE_UNIT_ID"] = node.name
        found["PREDICTIVE_UNIT_IMAGE"] = image
        found["PREDICTIVE_UNIT_PARAMETERS"] = _parameters_json(node)
    if has_port:
        # The wrapper opens three servers; one is asked, the others may be wherever there is room.
        found |= dict.fromkeys(
            ("PREDICTIVE_UNIT_SERVICE_PORT", "PREDICTIVE_UNIT_HTTP_SERVICE_PORT"), "$(PORT)"
        )
        found |= dict.fromkeys(
            ("PREDICTIVE_UNIT_GRPC_SERVICE_PORT", "PREDICTIVE_UNIT_METRICS_SERVICE_PORT"), "0"
        )
    return tuple(sorted({**found, **plain_variables(around.container)}.items()))


def _parameters_json(node: PredictiveUnit) -> str:
    listed: list[dict[str, str]] = [
        {"name": each.name, "value": each.value, "type": each.type} for each in node.parameters
    ]
    return json.dumps([*listed, _MODEL_PARAMETER] if node.model_uri else listed)


def _references(node: PredictiveUnit, container: Container | None) -> tuple[EnvReference, ...]:
    own = env_references(container)
    if not node.env_secret_ref_name:
        return own
    return (EnvReference("", "secrets", node.env_secret_ref_name), *own)
