"""What the executor of graphs asks of others, and what it hands around: messages.

`executor.py` walks a flow; who answers a step, who chooses a branch that was learned, and who
watches are given to it as these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from salver.engine.call import Call
from salver.engine.ports import ServedModel
from salver.errors import ErrorKind
from salver.protocol.messages import Message as Message
from salver.telemetry.trace import TraceContext


class Failure(msgspec.Struct):
    """Why a step has no answer. `status` and `body` are a service's own, where it gave them."""

    kind: ErrorKind
    message: str
    status: int = 0
    body: bytes = b""


class Choosing(msgspec.Struct):
    """What a router that learns is asked with. `run_id` tells the request from all others: it is
    what rewards name it by."""

    run_id: str
    message: Message
    call: Call


class Chooser(Protocol):
    """A router that learns: see `engine/learning.py`."""

    def choose(self, choosing: Choosing) -> int:
        """The index of the arm. Raises `RequestError`."""

    def reward(
        self, run_id: str, reward: float, *, arm: int | None = None, context: Message | None = None
    ) -> None:
        """Feedback on a choice, once: a second one for the same run is ignored. `arm` and
        `context` are those of the feedback, for choices that are not on record. Raises
        `RequestError` for a reward that cannot be learned from, or cannot be kept."""

    def when_durable(self, done: Callable[[str], object]) -> None:
        """Calls back from the event loop once all rewards so far are on disk, with an empty text,
        or with why they are not."""


class Poster(Protocol):
    """Posts to a URL that is no service of this machine."""

    def post(self, url: str, call: Call) -> None:
        """The call's body and headers go there as they are; any 2xx is delivered, anything else
        refused with status and body. Never raises, never blocks."""


class FlowObserver(Protocol):
    """Sees what happens in a graph, step by step. Must be quick and never raise.

    `step` is the step's index in its flow.
    """

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver | None:
        """A request comes in. Gives who sees what happens to it: itself, one for this run, or
        nobody."""

    def span(self, step: int) -> TraceContext | None:
        """The span of the step that is being asked, for what it asks in turn; None if there is
        none of its own."""

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        """The caller has the graph's answer, or why there is none, so long after it has asked;
        None: it has left."""

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        """The step has answered; `given` are its inputs. Where steps were asked as one, what went
        between them was never written: the first has no answer, the others are given nothing."""

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        """The step has failed."""

    def on_choice(self, step: int, branch: int) -> None:
        """The step has chosen."""

    def on_skipped(self, step: int) -> None:
        """The step was not run: an input or trigger is absent."""


class Bindings(msgspec.Struct):
    """Who answers a flow's steps. `units` are the graph's own; `find` raises `ModelNotFound`."""

    units: Mapping[str, ServedModel]
    find: Any
    """Takes namespace and name of a service, gives its `ServedModel`."""
    choosers: Mapping[str, Chooser] = {}
    """Routers that learn, by step."""
    poster: Poster | None = None
    observer: FlowObserver | None = None
    reported: Callable[[str, Sequence[Any]], object] | None = None
    """Takes the metrics that a component, by its name, reports of itself. Never raises."""
