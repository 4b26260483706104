"""What a step does when its turn comes: ask, call, gather, choose.

One function for each kind of action (`graphs/flow.py`). They raise `RequestError`, which is the
step's failure; what comes of asking is told to the run later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from salver.engine.flow_calls import FlowCall
from salver.engine.flow_ports import Choosing, Failure, Message
from salver.engine.flow_program import Node
from salver.engine.ports import ServedModel
from salver.engine.traffic import sticky_value
from salver.errors import ErrorKind, ModelFailed, RequestError
from salver.graphs.flow import (
    NO_BRANCH,
    OTHERWISE,
    Address,
    Answered,
    Conditions,
    Edge,
    Function,
    Gather,
    Learned,
    Pass,
    Service,
    Succeeded,
    Unit,
    Weights,
)
from salver.protocol.bundle import ABSENT_CODEC, Invocation, MessageHead, StepCall, pack
from salver.protocol.messages import as_request, fitted, gathered, json_view
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import Codec

if TYPE_CHECKING:
    from salver.engine.flow_run import FlowRun

_V2 = (Codec.V2_JSON, Codec.V2_GRPC)
_POSITIONAL = ("call", "branch")
"""Methods of functions whose arguments have places; what Seldon's components get is a list."""


def _ask_model(run: FlowRun, node: Node, model: ServedModel) -> None:
    message = run.joined(node)
    if not message.is_request:
        message = _requested(run, node, message, model)
    elif message is not run.request:
        message = fitted(message, _input_names(model), run.request, is_binary=run.wants_binary)
    _note_given(run, node, message)
    _submit(run, node, model, message.codec | message.coding << 8, message.aux, message.body)


def _requested(run: FlowRun, node: Node, message: Message, model: ServedModel) -> Message:
    """An answer as the next request."""
    how = node.step.as_request
    if how == "raw":
        return msgspec.structs.replace(message, is_request=True, parts=None)
    return as_request(
        message,
        run.request,
        is_mapped=how == "mapped" or _is_ours(model),
        is_binary=run.wants_binary,
        names=_input_names(model) if message.codec in _V2 else (),
    )


def _submit(
    run: FlowRun,
    node: Node,
    model: ServedModel,
    tag: int,
    aux: int,
    body: bytes | bytearray | memoryview,
) -> None:
    ask = _opened(run, node, tag, aux, body)
    batch = run.model.batches.get(node.number)
    if batch is None:
        model.submit(ask)
    else:
        batch.add(model, ask)


def _opened(
    run: FlowRun, node: Node, tag: int, aux: int, body: bytes | bytearray | memoryview
) -> FlowCall:
    plain = bytes(body) if isinstance(body, memoryview) else body
    ask = FlowCall(run, node, tag, aux, plain, run.model.clock())
    run.opened(ask)
    return ask


def _note_given(run: FlowRun, node: Node, message: Message, *more: Message) -> None:
    """Keeps what the step is given; of several messages the first is what others get of it."""
    run.given[node.number] = (message, *more)
    for number, at in node.targets:
        target = run.model.program.nodes[number]
        edge = target.edges[at][1]
        if edge.end == "inputs":
            source = f"the input of step '{node.step.name}'"
            run.decide(target, at, run.through(edge, message, source))


def _start_service(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Service)
    _ask_model(run, node, run.model.bindings.find(action.namespace, action.name))


def _start_unit(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Unit)
    _ask_model(run, node, run.model.bindings.units[action.unit])


def _start_address(run: FlowRun, node: Node) -> None:
    action, poster = node.step.action, run.model.bindings.poster
    assert isinstance(action, Address)
    if poster is None:
        raise ModelFailed("this server posts to no URLs")
    message = run.joined(node)
    if not message.is_request and node.step.as_request != "raw":
        is_mapped = node.step.as_request == "mapped"
        message = as_request(message, run.request, is_mapped=is_mapped, is_binary=run.wants_binary)
    _note_given(run, node, message)
    tag = message.codec | message.coding << 8
    poster.post(action.url, _opened(run, node, tag, message.aux, message.body))


def _start_function(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Function)
    given = _given_by_source(run, node)
    present = [each for _, each in given if each is not None]
    if not present:
        raise ModelFailed("nothing has come to it")
    _note_given(run, node, *present)
    is_positional = action.method in _POSITIONAL and node.step.join != "any"
    heads = [_head(name, each) for name, each in given if each is not None or is_positional]
    unit = run.model.bindings.units[action.unit]
    head = StepCall(_invocations(node), heads, headers=_headers(run, unit))
    body = pack(head, [each.body for each in present])
    tag = marked(run.request.codec, Operation.STEP)
    _submit(run, node, unit, tag, 0, body)


def _head(name: str, message: Message | None) -> MessageHead:
    if message is None:
        return MessageHead(name, ABSENT_CODEC, 0, 0, 0, True)
    size, is_request = len(message.body), message.is_request
    return MessageHead(name, message.codec, message.aux, message.coding, size, is_request)


def _given_by_source(run: FlowRun, node: Node) -> list[tuple[str, Message | None]]:
    """A function's arguments: one message of each source, its tensors as the edges say; None of a
    source from which nothing has come, so that those after it keep their places."""
    values = run.values[node.number]
    by_source: dict[str, list[tuple[Edge, Message]]] = {}
    for (_, edge), value in zip(node.edges[: node.trigger_from], values, strict=False):
        present = by_source.setdefault(edge.source, [])
        if isinstance(value, Message):
            present.append((edge, value))
    found: list[tuple[str, Message | None]] = []
    for source, present in by_source.items():
        message = None
        if present:
            is_whole = len(present) == 1 and not (present[0][0].tensor or present[0][0].renames)
            message = present[0][1] if is_whole else run.merged(present, node)
        found.append((source or "request", message))
    return found


def _start_gather(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Gather)
    present = [
        (key, value)
        for key, value in zip(action.keys, run.values[node.number], strict=False)
        if isinstance(value, Message)
    ]
    keys, messages = [key for key, _ in present], [value for _, value in present]
    _note_given(run, node, *messages)
    run.answer(node, gathered(keys, messages, run.request), messages)


def _start_pass(run: FlowRun, node: Node) -> None:
    message = run.joined(node)
    _note_given(run, node, message)
    run.answer(node, message, (message,))


# Choices.


def _start_conditions(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Conditions)
    message = run.joined(node)
    document = json_view(message)
    for branch, holds in enumerate(run.model.conditions[node.number]):
        if holds(document):
            run.choose(node, branch, message)
            return
    if any(run.edge_of(place).branch == OTHERWISE for place in node.targets):
        run.choose(node, OTHERWISE, message)
        return
    text = "none of the conditions holds for the message"
    body = action.unmatched_body
    failure = Failure(ErrorKind.MODEL_NOT_FOUND, text, 404 if body else 0, body)
    run.on_failure(node, failure, run.model.clock())


def _start_weights(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Weights)
    choose = run.model.weights[node.number]
    caller = sticky_value(run.call, action.sticky) if action.sticky is not None else b""
    run.choose(node, choose(caller), run.joined(node))


def _start_answered(run: FlowRun, node: Node) -> None:
    action = node.step.action
    assert isinstance(action, Answered)
    source = node.edges[node.trigger_from][0]
    branch = run.branches.get(source)
    decider = run.model.program.nodes[source].step.name
    message = run.joined(node)
    run.given[node.number] = (message,)
    it = "it" if decider == (node.step.title or node.step.name) else f"step '{decider}'"
    if branch is None:
        raise ModelFailed(f"{it} has named no branch")
    if not (NO_BRANCH <= branch < action.branches):
        raise ModelFailed(f"{it} named branch {branch}, of 0 to {action.branches - 1}")
    run.choose(node, branch, message)


def _start_learned(run: FlowRun, node: Node) -> None:
    message = run.joined(node)
    chooser = run.model.bindings.choosers[node.step.name]
    branch = chooser.choose(Choosing(run.run_id, message, run.call))
    run.choose(node, branch, message)


def _start_succeeded(run: FlowRun, node: Node) -> None:
    message = run.joined(node)
    run.choose(node, 0 if message.status < 300 else 1, message)


def _invocations(node: Node) -> list[Invocation]:
    found = []
    for each in node.chain:
        action = each.step.action
        assert isinstance(action, Function)
        found.append(Invocation(each.step.title or each.step.name, action.function, action.method))
    return found


def _input_names(model: ServedModel) -> Sequence[str]:
    """What the model's inputs must be called; nothing if any name will do, or none is known."""
    try:
        metadata = model.metadata
    except RequestError:
        return ()
    if metadata.positional_input or metadata.column_names:
        return ()
    return [each.name for each in metadata.inputs if not each.optional]


def _headers(run: FlowRun, unit: ServedModel) -> dict[str, str]:
    """The caller's headers, if a function of the unit wants them."""
    try:
        if not unit.metadata.wants_headers:
            return {}
    except RequestError:
        return {}
    headers = run.call.headers()
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _is_ours(model: ServedModel) -> bool:
    """Whether a worker of ours answers, which knows V1's `instances` only."""
    try:
        return model.metadata.platform != "remote"
    except RequestError:
        return True


STARTS: dict[type, Callable[[FlowRun, Node], None]] = {
    Service: _start_service,
    Unit: _start_unit,
    Address: _start_address,
    Function: _start_function,
    Gather: _start_gather,
    Pass: _start_pass,
    Conditions: _start_conditions,
    Weights: _start_weights,
    Answered: _start_answered,
    Learned: _start_learned,
    Succeeded: _start_succeeded,
}
