"""What is wrong with one node of a SeldonDeployment's graph. Pure.

Whether anything implements it, whether it has the children it needs, and whether its parameters
can be read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import msgspec

from salver.spec.checks import check_uri
from salver.spec.learning import faults_of
from salver.spec.pods import Container
from salver.spec.problems import Finding, Path, did_you_mean, quoted
from salver.spec.seldon import (
    BUILTIN_IMPLEMENTATIONS,
    LEARNING_ROUTERS,
    SERVERS,
    UNKNOWN_IMPLEMENTATION,
    Parameter,
    PredictiveUnit,
)
from salver.spec.steps import served_name_fault

CLASS = "salver.dev/class."
"""Annotation, with a node's name behind: the Python class that is the node, as file.py:Class."""
URL = "salver.dev/url."
"""Annotation, with a node's name behind: where the node is served, by somebody else."""
_NO_TENSORFLOW = ("SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER")
_TRUTHS = {
    **dict.fromkeys(("y", "yes", "t", "true", "on", "1"), True),
    **dict.fromkeys(("n", "no", "f", "false", "off", "0"), False),
}


_WANTED = {
    "INT": "a whole number",
    "FLOAT": "a finite number",
    "DOUBLE": "a finite number",
    "BOOL": "true or false",
}
WRAPPER_PARAMETERS = ("n_branches", "verbose", "history", "branch_names", "best_branch", "seed")
"""Parameters of Seldon's routers that say nothing of how to learn."""


class Surroundings(msgspec.Struct, frozen=True):
    """What a node's correctness depends on: the predictor's containers, and all annotations."""

    containers: Mapping[str, Container]
    annotations: Mapping[str, str]
    protocol: str = ""


def parameter_value(parameter: Parameter) -> str | int | float | bool:
    """The value of a parameter as its type. Raises `ValueError`."""
    text = parameter.value
    if parameter.type == "INT":
        return int(text)
    if parameter.type in ("FLOAT", "DOUBLE"):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is not finite")
        return number
    if parameter.type == "BOOL":
        truth = _TRUTHS.get(text.lower())
        if truth is None:
            raise ValueError(f"{text!r} is no truth value")
        return truth
    return text


def check_node(node: PredictiveUnit, path: Path, around: Surroundings) -> Iterator[Finding]:
    """All that is wrong with a node, its children left out."""
    if node.name and (fault := served_name_fault(node.name)):
        yield (*path, "name"), fault
    yield from _check_implemented(node, path, around)
    yield from _check_children(node, path)
    yield from _check_parameters(node, path)
    yield from _check_logger(node, path)
    if node.endpoint is not None and node.endpoint.service_host:
        endpoint = node.endpoint
        if not (endpoint.service_port or endpoint.http_port or endpoint.grpc_port):
            yield (*path, "endpoint", "service_port"), "is required beside 'service_host'"


def is_elsewhere(node: PredictiveUnit, annotations: Mapping[str, str]) -> bool:
    """Whether an annotation says what the node is."""
    return f"{CLASS}{node.name}" in annotations or f"{URL}{node.name}" in annotations


def _check_implemented(node: PredictiveUnit, path: Path, around: Surroundings) -> Iterator[Finding]:
    container = around.containers.get(node.name)
    if is_elsewhere(node, around.annotations):
        return
    implementation = node.implementation
    if implementation in (UNKNOWN_IMPLEMENTATION, ""):
        yield from _check_own(node, path, around)
    elif implementation in SERVERS or (
        container is not None
        and implementation not in (*BUILTIN_IMPLEMENTATIONS, *LEARNING_ROUTERS)
    ):
        if not node.model_uri:
            message = f"is required for {implementation}: where the model is"
            yield (*path, "modelUri"), message
        yield from check_uri(node.model_uri or None, (*path, "modelUri"))
        if around.protocol == "tensorflow" and implementation in _NO_TENSORFLOW:
            message = f"{implementation} does not speak spec.protocol tensorflow"
            yield (*path, "implementation"), message
    elif implementation not in (*BUILTIN_IMPLEMENTATIONS, *LEARNING_ROUTERS):
        known = (*BUILTIN_IMPLEMENTATIONS, *SERVERS, *LEARNING_ROUTERS)
        advice = did_you_mean(implementation, known) or f"; known: {', '.join(known)}"
        yield (*path, "implementation"), f"unknown implementation {quoted(implementation)}{advice}"


def _check_own(node: PredictiveUnit, path: Path, around: Surroundings) -> Iterator[Finding]:
    container = around.containers.get(node.name)
    endpoint = node.endpoint
    if node.type == "UNKNOWN_TYPE" and not node.methods:
        message = "says not what the node does: name another type, or its 'methods'"
        yield (*path, "type"), message
    if node.name and container is None and not (endpoint is not None and endpoint.service_host):
        advice = did_you_mean(node.name, around.containers) or (
            "; name a container of componentSpecs so, or give the node an implementation, an "
            f"endpoint or the annotation {CLASS}{node.name}"
        )
        yield (*path, "name"), f"there is no container {quoted(node.name)}{advice}"
    if container is not None and not _runs(container):
        yield path, f"its container {quoted(node.name)} has neither an image nor a command"


def _runs(container: Container) -> bool:
    is_named = any(each.name == "MODEL_NAME" for each in container.env)
    return bool(container.image or container.command or container.args) or is_named


def _check_children(node: PredictiveUnit, path: Path) -> Iterator[Finding]:
    here = (*path, "children")
    count, implementation = len(node.children), node.implementation
    if implementation == "RANDOM_ABTEST":
        if count != 2:
            yield here, f"RANDOM_ABTEST needs exactly two children, found {count}"
        return
    what = ""
    if implementation in (*LEARNING_ROUTERS, "SIMPLE_ROUTER", "AVERAGE_COMBINER"):
        what = implementation
    elif implementation in (UNKNOWN_IMPLEMENTATION, ""):
        if node.type in ("ROUTER", "COMBINER"):
            what = f"a {node.type}"
        elif "ROUTE" in node.methods:
            what = "a node that routes"
        elif "AGGREGATE" in node.methods:
            what = "a COMBINER by its methods"
    if implementation in LEARNING_ROUTERS and count == 1:
        yield here, f"{implementation} needs two children or more to choose among, found 1"
    if what and not count:
        verb = "combines" if "COMBINER" in what else "chooses among"
        yield here, f"is empty: {what} {verb} its children; name at least one"


def _check_parameters(node: PredictiveUnit, path: Path) -> Iterator[Finding]:
    names = [each.name for each in node.parameters]
    for index, parameter in enumerate(node.parameters):
        here = (*path, "parameters", index)
        if parameter.name and parameter.name in names[:index]:
            yield (*here, "name"), f"two parameters are named {quoted(parameter.name)}"
        try:
            value = parameter_value(parameter)
        except ValueError:
            wanted = _WANTED[parameter.type]
            message = f"is no {parameter.type}: {quoted(parameter.value)}; write {wanted}"
            yield (*here, "value"), message
            continue
        yield from _check_known(node, parameter.name, value, (*here, "value"))
    if node.implementation == "RANDOM_ABTEST":
        yield from _check_ratio_name(node, path)
    elif node.implementation in LEARNING_ROUTERS:
        yield from _check_learning(node, path)


def _check_ratio_name(node: PredictiveUnit, path: Path) -> Iterator[Finding]:
    for index, parameter in enumerate(node.parameters):
        if parameter.name != "ratioA" and (advice := did_you_mean(parameter.name, ("ratioA",))):
            here = (*path, "parameters", index, "name")
            yield here, f"RANDOM_ABTEST has no parameter {quoted(parameter.name)}{advice}"


def _check_learning(node: PredictiveUnit, path: Path) -> Iterator[Finding]:
    own = [each for each in node.parameters if each.name not in WRAPPER_PARAMETERS]
    arms = tuple(dict.fromkeys(each.name for each in node.children))
    parameters = [(each.name, each.value) for each in own]
    for each in faults_of(node.implementation, arms, parameters):
        index = [one.name for one in node.parameters].index(each.parameter) if each.parameter else 0
        if each.about == "parameters":
            yield (*path, "parameters", index), each.message
        elif len(arms) > 1:
            yield (*path, "children"), each.message


def _check_known(
    node: PredictiveUnit, name: str, value: str | int | float | bool, path: Path
) -> Iterator[Finding]:
    if node.implementation == "RANDOM_ABTEST" and name == "ratioA":
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            yield path, f"must be a number from 0 to 1, found {quoted(str(value))}"
    is_router = node.type == "ROUTER" or node.implementation in LEARNING_ROUTERS
    if is_router and name == "n_branches" and str(value) != str(len(node.children)):
        count = len(node.children)
        yield path, f"is {value}, but the node has {count} {'child' if count == 1 else 'children'}"


def _check_logger(node: PredictiveUnit, path: Path) -> Iterator[Finding]:
    logger = node.logger
    if logger is None:
        return
    if not logger.mode:
        yield (*path, "logger", "mode"), "is required: all, request or response"
    if logger.url and not logger.url.startswith(("http://", "https://", "file:///")):
        message = f"must begin with http://, https:// or file:///, found {quoted(logger.url)}"
        yield (*path, "logger", "url"), message
