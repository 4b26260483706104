"""What contradicts what within an InferenceGraph: whom its steps ask, and whether requests get on.

Pure: a typed graph in, findings with their paths out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from salver.spec.gjson_faults import fault
from salver.spec.graph import LearnedChoice
from salver.spec.kserve_graph import (
    HEADERS,
    ROOT,
    ROUTER,
    InferenceGraph,
    InferenceRouter,
    InferenceStep,
)
from salver.spec.learning import faults_of
from salver.spec.problems import Finding, Path, did_you_mean, nearest, quoted
from salver.spec.steps import MOST_STEPS, count_fault, known_text, served_name_fault, way_text

MOST_NODES_DEEP = 64
_TARGETS = ("nodeName", "serviceName", "serviceUrl")
_DATA = ("$request", "$response")
_MOST_SLIPS = 20
_Nodes = Mapping[str, InferenceRouter]


def check_inference_graph(graph: InferenceGraph) -> Iterator[Finding]:
    """All contradictions of a graph."""
    nodes = graph.spec.nodes
    path: Path = ("spec", "nodes")
    if message := count_fault(len(nodes), "nodes"):
        yield path, message
        return
    for name in nodes:
        if not name.strip() or not name.isprintable():
            yield (*path, name), f"cannot be a node's name: {quoted(name)}; write e.g. 'scoring'"
            return
    if ROOT not in nodes:
        near = nearest(ROOT, nodes)
        advice = f": is it {quoted(near)}?" if near else ""
        yield path, f"has no node 'root', at which requests begin{advice}"
    for name, node in nodes.items():
        yield from _check_node(node, nodes, (*path, name))
        for index, step in enumerate(node.steps):
            if step.service_name and step.service_name == graph.metadata.name:
                here = (*path, name, "steps", index, "serviceName")
                yield here, "is this graph itself: a request would never end"
    loops = list(_check_cycles(nodes))
    yield from loops
    yield from _check_reached(nodes)
    if not loops:
        yield from _check_size(nodes)
    yield from _check_annotations(graph)


def _check_node(node: InferenceRouter, nodes: _Nodes, path: Path) -> Iterator[Finding]:
    if not node.steps:
        yield (*path, "steps"), f"is required: without any, the {node.router_type} asks nobody"
    if message := count_fault(len(node.steps)):
        yield (*path, "steps"), message
        return
    names: dict[str, int] = {}
    for index, step in enumerate(node.steps):
        here = (*path, "steps", index)
        yield from _check_target(step, nodes, here)
        yield from _check_data(step, here)
        if step.name and names.setdefault(step.name, index) != index:
            first = names[step.name]
            yield (*here, "name"), f"two steps are named {quoted(step.name)}; see steps[{first}]"
    if node.router_type == "Splitter":
        yield from _check_weights(node, path)
    elif node.router_type == "Switch":
        for index, step in enumerate(node.steps):
            yield from _check_condition(step, (*path, "steps", index, "condition"))
    elif node.router_type == "Sequence":
        yield from _check_sequence(node, path)


def _check_target(step: InferenceStep, nodes: _Nodes, path: Path) -> Iterator[Finding]:
    values = (step.node_name, step.service_name, step.service_url)
    given = [name for name, value in zip(_TARGETS, values, strict=True) if value]
    if not given:
        yield path, "asks nobody; give it one of nodeName, serviceName, serviceUrl"
    for other in given[1:]:
        yield (*path, other), f"contradicts '{given[0]}'; keep one of the two"
    if step.node_name and step.node_name not in nodes:
        advice = did_you_mean(step.node_name, nodes) or f"; nodes are {known_text(list(nodes))}"
        yield (*path, "nodeName"), f"there is no node {quoted(step.node_name)}{advice}"
    if step.service_name and (message := served_name_fault(step.service_name)):
        advice = "; write 'serviceUrl' instead" if "://" in step.service_name else ""
        yield (*path, "serviceName"), message + advice
    if step.service_url and (message := _url_fault(step.service_url)):
        yield (*path, "serviceUrl"), message


def _url_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_address = False
    if not is_address or re.search(r"[\s\x00-\x1f]", url):
        return f"is no http(s) address: {quoted(url)}; write e.g. http://HOST:PORT/PATH"
    return ""


def _check_data(step: InferenceStep, path: Path) -> Iterator[Finding]:
    if step.data and step.data not in _DATA:
        advice = did_you_mean(step.data, _DATA)
        yield (
            (*path, "data"),
            f"must be '$request' or '$response', found {quoted(step.data)}, which KServe's router "
            f"takes for '$request'{advice}",
        )


def _check_condition(step: InferenceStep, path: Path) -> Iterator[Finding]:
    if step.condition and (message := fault(step.condition)):
        yield path, message


def _check_sequence(node: InferenceRouter, path: Path) -> Iterator[Finding]:
    for index, step in enumerate(node.steps):
        here = (*path, "steps", index, "condition")
        if step.condition and not index:
            yield here, "has no answer to look into: it is the Sequence's first step"
        else:
            yield from _check_condition(step, here)


def _check_weights(node: InferenceRouter, path: Path) -> Iterator[Finding]:
    weights = [step.weight for step in node.steps]
    for index, weight in enumerate(weights):
        if weight is None:
            yield (
                (*path, "steps", index, "weight"),
                "is required in a Splitter: percent of requests",
            )
    known = [weight for weight in weights if weight is not None]
    if len(known) == len(weights) and known and sum(known) != 100:
        shares = " + ".join(map(str, known))
        yield (*path, "steps"), f"the weights add up to {shares} = {sum(known)}, not to 100"


def _check_cycles(nodes: _Nodes) -> Iterator[Finding]:
    """Each step that leads back to a node on the way to it."""
    done: set[str] = set()
    for start in (ROOT, *nodes):
        if start not in nodes or start in done:
            continue
        trail = [start]
        todo = [iter(enumerate(nodes[start].steps))]
        while todo:
            index, step = next(todo[-1], (-1, None))
            if step is None:
                todo.pop()
                done.add(trail.pop())
            elif step.node_name in trail:
                loop = [*trail[trail.index(step.node_name) :], step.node_name]
                here = ("spec", "nodes", trail[-1], "steps", index, "nodeName")
                yield here, f"leads in a circle: {way_text(loop)}; a request would never end"
            elif step.node_name in nodes and step.node_name not in done:
                trail.append(step.node_name)
                todo.append(iter(enumerate(nodes[step.node_name].steps)))


def _check_reached(nodes: _Nodes) -> Iterator[Finding]:
    """Nodes that no request comes to; nothing while it is not known where steps lead."""
    if ROOT not in nodes:
        return
    reached, todo = {ROOT}, [ROOT]
    slips = 0
    while todo:
        node = nodes[todo.pop()]
        if not node.steps or any(not _is_aimed(step) for step in node.steps):
            return
        for step in node.steps:
            name = step.node_name
            if name and name not in nodes:
                slips += 1
                if slips > _MOST_SLIPS:
                    return
                name = nearest(name, nodes)
            if name in nodes and name not in reached:
                reached.add(name)
                todo.append(name)
    for name in nodes:
        if name not in reached:
            yield ("spec", "nodes", name), "is reached by no step; name it in a step, or remove it"


def _is_aimed(step: InferenceStep) -> bool:
    return bool(step.node_name or step.service_name or step.service_url)


def _check_size(nodes: _Nodes) -> Iterator[Finding]:
    """A node that several steps name is part of the graph as often: that can multiply."""
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    todo = [ROOT] if ROOT in nodes else []
    while todo:
        name = todo[-1]
        inner = [step.node_name for step in nodes[name].steps if step.node_name in nodes]
        missing = [each for each in inner if each not in sizes]
        if missing:
            todo += missing[:1]
            continue
        sizes[name] = len(nodes[name].steps) + sum(sizes[each] for each in inner)
        depths[name] = 1 + max((depths[each] for each in inner), default=0)
        todo.pop()
    if depths.get(ROOT, 0) > MOST_NODES_DEEP:
        yield (
            ("spec", "nodes"),
            f"lead from one to the next for {depths[ROOT]} nodes; at most {MOST_NODES_DEEP} are "
            "allowed: put the steps of several Sequences into one",
        )
    if sizes.get(ROOT, 0) > MOST_STEPS:
        yield (
            ("spec", "nodes"),
            f"have {sizes[ROOT]} steps, a node counted for each step that names it; at most "
            f"{MOST_STEPS} are allowed: make a graph of its own of what is repeated",
        )


def _check_annotations(graph: InferenceGraph) -> Iterator[Finding]:
    nodes = graph.spec.nodes
    for key, value in graph.metadata.annotations.items():
        path: Path = ("metadata", "annotations", key)
        if key.startswith(ROUTER):
            name = key.removeprefix(ROUTER)
            if name not in nodes:
                yield path, f"there is no node {quoted(name)}{did_you_mean(name, nodes)}"
            elif nodes[name].router_type != "Splitter":
                kind = nodes[name].router_type
                yield path, f"node {quoted(name)} is of type {kind}; only a Splitter can learn"
            elif isinstance(found := learned_choice(value), str):
                yield path, found
            else:
                arms = _arms(nodes[name])
                faults = faults_of(found.algorithm, arms, list(found.parameters.items()))
                for each in faults if arms else ():
                    yield path, each.message
        elif key == HEADERS:
            for pattern in header_patterns(value):
                try:
                    re.compile(pattern)
                except re.error as error:
                    yield path, f"has {quoted(pattern)}, no regular expression: {error}"


def _arms(node: InferenceRouter) -> tuple[str, ...]:
    return tuple(f"steps[{index}]" for index in range(len(node.steps)))


def header_patterns(value: str) -> tuple[str, ...]:
    """The patterns of the annotation, which has commas between them."""
    return tuple(each.strip() for each in value.split(",") if each.strip())


def learned_choice(text: str) -> LearnedChoice | str:
    """What the annotation of a router says, or what is wrong with it."""
    example = '{"algorithm": "thompson", "parameters": {"min_share": 0.05}}'
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        return f"is no JSON ({error}); write e.g. {example}"
    if not isinstance(found, dict) or not isinstance(found.get("algorithm"), str):
        return f"must be an object with 'algorithm', e.g. {example}"
    parameters = found.get("parameters", {})
    unknown = sorted(found.keys() - {"algorithm", "parameters"})
    if unknown:
        return f"has an unknown field {quoted(unknown[0])}; put it into 'parameters'"
    if not isinstance(parameters, dict) or any(
        not isinstance(each, str | int | float) for each in parameters.values()
    ):
        return f"must have texts or numbers as 'parameters', e.g. {example}"
    return LearnedChoice(
        found["algorithm"], {name: _text(value) for name, value in parameters.items()}
    )


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
