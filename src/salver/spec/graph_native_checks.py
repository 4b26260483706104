"""What is wrong with a `Graph` beyond the types of its fields.

Steps that are not there, cycles, steps that nobody uses, actions and fields that contradict each
other. Pure: a graph in, findings with their paths out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from salver.spec.graph import (
    REQUEST,
    STEP_NAME,
    Graph,
    GraphSpec,
    GraphStep,
    Source,
    branch_number,
    branches_of,
    outputs_of,
    source_of,
)
from salver.spec.graph_native_choices import check_choice, check_weights
from salver.spec.graph_native_order import check_cycle, check_use
from salver.spec.names import plain_letters
from salver.spec.problems import Finding, Path, did_you_mean, quoted
from salver.spec.steps import count_fault, known_text, served_name_fault

_ACTIONS = (
    ("model", "model"),
    ("modelUri", "model_uri"),
    ("python", "python"),
    ("url", "url"),
    ("combine", "combine"),
    ("decide", "decide"),
    ("choose", "choose"),
)
_NEEDS = (
    ("runtime", "runtime", "modelUri"),
    ("runtimeVersion", "runtime_version", "modelUri"),
    ("minReplicas", "min_replicas", "modelUri"),
    ("maxReplicas", "max_replicas", "modelUri"),
    ("weights", "weights", "combine"),
    ("soft", "soft", "combine"),
    ("threshold", "threshold", "decide"),
    ("tensor", "tensor", "decide"),
)
"""Fields that mean nothing without an action: the name, the attribute, the action."""
MOST_CHARACTERS = 63
_PYTHON = re.compile(r".+\.py:[A-Za-z_]\w*")


def check_graph(graph: Graph) -> Iterator[Finding]:
    """Everything that is wrong with it."""
    spec = graph.spec
    if not spec.steps:
        yield ("spec", "steps"), "has no steps: name at least one"
        return
    if message := count_fault(len(spec.steps)):
        yield ("spec", "steps"), message
        return
    steps: dict[str, GraphStep] = {}
    for index, step in enumerate(spec.steps):
        yield from _check_name(step, steps, ("spec", "steps", index, "name"))
        steps.setdefault(step.name, step)
    for index, step in enumerate(spec.steps):
        path: Path = ("spec", "steps", index)
        yield from _check_action(step, graph.metadata.name, path)
        yield from _check_inputs(step, spec, steps, path)
        yield from _check_when(step, spec, steps, path)
        yield from _check_join(step, path)
    yield from _check_output(spec, steps)
    yield from check_cycle(spec, steps)
    yield from check_use(spec, steps)


def _check_name(step: GraphStep, before: Mapping[str, GraphStep], path: Path) -> Iterator[Finding]:
    if step.name == REQUEST:
        yield path, "'request' is what the graph is asked with: call the step something else"
    elif len(step.name) > MOST_CHARACTERS:
        yield path, f"has {len(step.name)} characters; at most {MOST_CHARACTERS} are allowed"
    elif not STEP_NAME.fullmatch(step.name):
        proposal = re.sub(r"[^A-Za-z0-9_]+", "-", plain_letters(step.name)).strip("-_")
        advice = f"; try {quoted(proposal)}" if proposal else ""
        message = "may have letters, digits, '-' and '_' only, a letter or digit first"
        yield path, f"{message}, found {quoted(step.name)}{advice}"
    elif step.name in before:
        first = list(before).index(step.name)
        yield path, f"two steps are named {quoted(step.name)}; the first is steps[{first}]"


# Actions.


def action_of(step: GraphStep) -> str:
    """The name of the field that says what the step does; empty if there is none."""
    return next((name for name, attribute in _ACTIONS if getattr(step, attribute)), "")


def _check_action(step: GraphStep, graph: str, path: Path) -> Iterator[Finding]:
    given = [name for name, attribute in _ACTIONS if getattr(step, attribute)]
    if not given:
        yield path, "does nothing; give it one of " + ", ".join(name for name, _ in _ACTIONS)
    for other in given[1:]:
        yield (*path, other), f"contradicts '{given[0]}'; keep one of the two"
    if len(given) == 1:
        for name, attribute, needed in _NEEDS:
            if getattr(step, attribute) and given != [needed]:
                yield (*path, name), f"has a meaning only with '{needed}', not with '{given[0]}'"
    if step.model and step.model == graph:
        yield (*path, "model"), f"{quoted(graph)} is this graph itself: name another model"
    elif step.model and (message := served_name_fault(step.model)):
        advice = "; write 'url' instead of 'model'" if "://" in step.model else ""
        yield (*path, "model"), message + advice
    if step.python and not _PYTHON.fullmatch(step.python):
        yield (*path, "python"), f"must be FILE.py:FUNCTION, found {quoted(step.python)}"
    if step.url and not step.url.startswith(("http://", "https://")):
        yield (*path, "url"), f"must begin with http:// or https://, found {quoted(step.url)}"
    if step.combine is not None:
        yield from _check_combination(step, path)
    if step.choose is not None:
        yield from check_choice(step.choose, (*path, "choose"))


def _check_combination(step: GraphStep, path: Path) -> Iterator[Finding]:
    if step.soft and step.combine != "vote":
        yield (*path, "soft"), f"has a meaning only with 'combine: vote', not {step.combine}"
    if step.combine != "weighted":
        if step.weights:
            message = f"have a meaning only with 'combine: weighted', not {step.combine}"
            yield (*path, "weights"), message
        return
    count = max(1, len(step.inputs))
    if len(step.weights) != count:
        yield (*path, "weights"), f"has {len(step.weights)} for {count} inputs: give one for each"
    yield from check_weights(step.weights, (*path, "weights"))
    if step.quorum:
        message = "has no meaning with 'combine: weighted': an input left out has its weight"
        yield (*path, "quorum"), message


# What steps have to do with each other.


def _check_inputs(
    step: GraphStep, spec: GraphSpec, steps: Mapping[str, GraphStep], path: Path
) -> Iterator[Finding]:
    for index, text in enumerate(step.inputs):
        here = (*path, "inputs", index)
        source = source_of(text)
        if source is None:
            message = f"must be STEP, STEP.TENSOR or STEP.TENSOR as NAME, found {quoted(text)}"
            yield here, message
        elif source.rename and not source.tensor:
            message = f"'as' gives a name to one tensor: {source.step}.TENSOR as {source.rename}"
            yield here, message
        elif source.step != REQUEST:
            yield from _check_source(source, step, spec, steps, here)
    if action_of(step) in ("decide", "choose") and len(step.inputs) > 1:
        message = f"a step that decides has one input, not {len(step.inputs)}"
        yield (*path, "inputs"), message


def _check_source(
    source: Source, step: GraphStep, spec: GraphSpec, steps: Mapping[str, GraphStep], path: Path
) -> Iterator[Finding]:
    other = steps.get(source.step)
    if other is None:
        yield path, _no_step(source.step, steps, step.name, or_request=True)
    elif other.decide is not None or (other.python and is_numbered(other, spec)):
        yield path, f"{quoted(source.step)} decides and answers nothing: take what it is given"
    elif other.choose is not None and (step.when is None or step.when.step != source.step):
        yield (
            path,
            f"{quoted(source.step)} chooses: say with 'when' for which of its branches this is",
        )


def is_numbered(step: GraphStep, spec: GraphSpec) -> bool:
    """Whether branches of a function are called by numbers, so that it has to answer one."""
    whens = [each.when for each in spec.steps if each.when and each.when.step == step.name]
    return any(type(each.branch) is int for each in whens)


def _check_when(
    step: GraphStep, spec: GraphSpec, steps: Mapping[str, GraphStep], path: Path
) -> Iterator[Finding]:
    if step.when is None:
        return
    decider = steps.get(step.when.step)
    if decider is None:
        message = _no_step(step.when.step, steps, step.name, or_request=False)
        yield (*path, "when", "step"), message
        return
    number = branch_number(decider, step.when.branch)
    is_truth = not (branches_of(decider) or (decider.python and is_numbered(decider, spec)))
    if number is not None and not (is_truth and number > 1):
        return
    names = ("false", "true") if is_truth else branches_of(decider)
    known = f"it has {', '.join(names)}" if names else "write a number from 0 on"
    advice = did_you_mean(str(step.when.branch), names)
    message = f"{quoted(decider.name)} has no branch {step.when.branch!r}{advice or '; ' + known}"
    yield (*path, "when", "branch"), message


def _no_step(name: str, steps: Mapping[str, GraphStep], own: str, *, or_request: bool) -> str:
    others = [each for each in steps if each not in (own, REQUEST)]
    known = [*others, REQUEST] if or_request else others
    advice = did_you_mean(name, known) or f"; there are {known_text(known) or 'no others'}"
    return f"there is no step {quoted(name)}{advice}"


def _check_join(step: GraphStep, path: Path) -> Iterator[Finding]:
    count = max(1, len(step.inputs))
    if step.quorum > count and step.combine != "weighted":
        yield (*path, "quorum"), f"is {step.quorum}, more than the {count} inputs there are"
    if step.quorum and step.join not in (None, "inner"):
        yield (*path, "quorum"), f"contradicts 'join: {step.join}'; keep one of the two"
    if step.quorum and step.combine in ("first", "fastest"):
        yield (*path, "quorum"), f"has no meaning with 'combine: {step.combine}'"
    if step.window_seconds and step.join != "outer" and step.combine != "first":
        yield (*path, "windowSeconds"), "has a meaning only with 'join: outer'"


def _check_output(spec: GraphSpec, steps: Mapping[str, GraphStep]) -> Iterator[Finding]:
    for index, name in enumerate(spec.output):
        path: Path = ("spec", "output", index)
        if name not in steps:
            advice = did_you_mean(name, steps) or f"; there are {known_text(list(steps))}"
            yield path, f"there is no step {quoted(name)}{advice}"
        elif name in spec.output[:index]:
            yield path, f"{quoted(name)} is named twice"
    for name in outputs_of(spec):
        step = steps.get(name)
        if step is not None and _answers_nothing(step, spec):
            index = next(at for at, each in enumerate(spec.steps) if each.name == name)
            place: Path = ("spec", "output") if spec.output else ("spec", "steps", index)
            yield place, f"{quoted(name)} decides and answers nothing: name steps that answer"


def _answers_nothing(step: GraphStep, spec: GraphSpec) -> bool:
    is_decision = step.decide is not None or step.choose is not None
    return is_decision or (bool(step.python) and is_numbered(step, spec))
