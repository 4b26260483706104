"""Feedback on a graph's answer: it reaches the nodes that made the answer, and no others.

A Seldon Feedback message says by `response.meta.routing` which branches were taken. Components on
that path get the message, routers that learn the reward.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from salver.engine.call import Call
from salver.engine.chain import SubCall
from salver.engine.flow_ports import Message
from salver.errors import ErrorKind, RequestError, Unsupported
from salver.graphs.flow import ALL_BRANCHES, Flow, Learned, SeldonNode
from salver.protocol.bundle import Invocation, MessageHead, StepCall, pack, unpack_reply
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import Codec

if TYPE_CHECKING:
    from salver.engine.executor import GraphModel

logger = logging.getLogger("salver.graphs")

_SELDON = (Codec.SELDON_JSON, Codec.SELDON_GRPC)


def give_feedback(model: GraphModel, call: Call) -> None:
    """Hands the feedback on; the caller's answer is an empty message once all have taken it."""
    try:
        _Feedback(model, call).begin()
    except RequestError as error:
        call.fail(error.kind, str(error))


class _Feedback:
    """One Feedback message on its way to those who hear of it."""

    def __init__(self, model: GraphModel, call: Call) -> None:
        from salver.protocol.seldon_meta import read_feedback

        codec = call.codec & 0xFF
        if codec not in _SELDON:
            raise Unsupported("feedback is taken in Seldon's protocol: POST /api/v1.0/feedback")
        self._model = model
        self._call = call
        coding = call.codec >> 8 & 0xFF
        sent = Message(codec, 0, call.body, is_request=True, coding=coding)
        self._body = bytes(model.plain(sent).body if coding else call.body)
        self._parts = read_feedback(codec, self._body)
        self._waiting = 1
        self._is_over = False
        self._timer: Any = None

    def begin(self) -> None:
        """Asks everybody on the path, at once."""
        routing = self._parts.facts.routing
        try:
            self._reward(routing)
            for node in on_path(self._model.flow.tree, routing):
                if node.hears_feedback:
                    self._tell(node, routing.get(node.name))
        except RequestError as error:
            self.fail(error.kind, str(error))
        except Exception as error:
            logger.exception("graph '%s': feedback cannot go on", self._model.name)
            self.fail(ErrorKind.MODEL_FAILED, f"a fault of the server: {error}")
        self._done()

    def _reward(self, routing: Mapping[str, int]) -> None:
        parts, call = self._parts, self._call
        context = Message(call.codec & 0xFF, 0, parts.request, is_request=True)
        for name, chooser in self._model.bindings.choosers.items():
            arm = routing.get(_title(self._model.flow, name))
            if arm is not None or parts.facts.puid:
                chooser.reward(parts.facts.puid, parts.reward, arm=arm, context=context)
                self._waiting += 1
                chooser.when_durable(self._on_durable)
        if self._waiting > 1:
            left_s = call.deadline_s - self._model.clock()
            self._timer = self._model.scheduler.call_later(max(0.0, left_s), self._on_deadline)

    def _tell(self, node: SeldonNode, branch: int | None) -> None:
        call = self._call
        unit = self._model.bindings.units[node.unit]
        codec = call.codec & 0xFF
        head = StepCall(
            [Invocation(node.name, node.function, "send_feedback")],
            [MessageHead("feedback", codec, 0, 0, len(self._body), True)],
            routing=branch,
        )
        body = pack(head, [self._body])
        tag = marked(codec, Operation.STEP)
        step = _Telling(call, tag, 0, body, self._model.clock())
        step.feedback = self
        self._waiting += 1
        unit.submit(step.then(f"step '{node.name}'", self._on_told))

    def _on_told(self, body: bytes, aux: int, coding: int) -> None:
        reported = self._model.bindings.reported
        if reported is not None:
            for name, meta in _meta_in(body).items():
                reported(name, meta.get("metrics") or ())
        self._done()

    def _on_durable(self, problem: str) -> None:
        if problem:
            self.fail(ErrorKind.UNAVAILABLE, problem)
        else:
            self._done()

    def _on_deadline(self) -> None:
        text = "the reward was not on disk in time: see that the state directory's disk works"
        self.fail(ErrorKind.DEADLINE_EXCEEDED, text)

    def fail(self, kind: ErrorKind, message: str) -> None:
        """Tells the caller what went wrong, if it has not been told anything yet."""
        if self._ends():
            self._call.fail(kind, message)

    def _ends(self) -> bool:
        if self._is_over:
            return False
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        return True

    def _done(self) -> None:
        from salver.protocol.seldon_meta import SeldonFacts, finish

        self._waiting -= 1
        if self._waiting or not self._ends():
            return
        codec = self._call.codec & 0xFF
        empty = b"{}" if codec == Codec.SELDON_JSON else b""
        try:
            body = finish(codec, empty, SeldonFacts(puid=self._parts.facts.puid))
        except RequestError as error:
            self._call.fail(ErrorKind.MODEL_FAILED, str(error))
            return
        self._call.deliver(body, 0)


class _Telling(SubCall):
    """The feedback on its way to one component: of several failures the caller gets the first."""

    __slots__ = ("feedback",)
    feedback: _Feedback

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self.feedback.fail(kind, f"{self._step}: {message}")


def _meta_in(body: bytes) -> Mapping[str, Mapping[str, Any]]:
    """What components say along with their reply."""
    try:
        return unpack_reply(body)[0].meta
    except RequestError:
        return {}  # It has heard; what else it says is of no use to the caller.


def on_path(tree: SeldonNode | None, routing: Mapping[str, int]) -> Iterator[SeldonNode]:
    """The nodes that an answer came by. A router that says nothing took all of its branches."""
    if tree is None:
        return
    yield tree
    branch = routing.get(tree.name, ALL_BRANCHES)
    children: Sequence[SeldonNode] = tree.children
    if branch >= 0:
        children = children[branch : branch + 1]
    elif branch != ALL_BRANCHES:
        children = ()
    for child in children:
        yield from on_path(child, routing)


def _title(flow: Flow, name: str) -> str:
    """What a choosing step is called in `meta.routing`."""
    step = next(each for each in flow.steps if each.name == name)
    assert isinstance(step.action, Learned)
    return step.title or step.name
