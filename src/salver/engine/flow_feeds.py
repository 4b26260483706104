"""Data of graphs that is other graphs' input: Seldon v2's Pipelines of Pipelines.

What one graph was given or gave is handed to those that take it, beside its request: in a later
turn of the event loop, through queues with bounds that count what they drop. What comes of one
request is joined by its id, as the taking graph says; each takes a request's data once, so that
graphs which feed each other come to an end. Answers are nobody's but the inspection's.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from salver.engine.call import Call
from salver.engine.flow_ports import Message
from salver.engine.ports import ServedModel
from salver.engine.queue import Clock, Scheduler
from salver.errors import ErrorKind, RequestError
from salver.graphs.flow import Edge, FeedJoin, GraphDesire
from salver.protocol.messages import Tensor, assemble, find_tensor, tensors_of

logger = logging.getLogger("salver.graphs")

MOST_WAITING = 1024
"""Messages, requests half joined, and joined requests that wait: so many of each, for a graph."""
MOST_AT_WORK = 64
"""Requests of one graph that are worked on at once."""
_WINDOW_S = 1.0
"""How long an outer join waits for what may not come, unless told."""
_PIPELINE = ".pipeline"

Find = Callable[[str, str], ServedModel]
"""The graph of a namespace and name. Raises `RequestError`."""
OnDropped = Callable[[str, str], None]
"""Told the namespace and name of a graph that had to let go of a message."""
_Place = tuple[str, str, str, str]
"""Namespace, graph, step and end of data."""


class FeedCall(Call):
    """A request that a graph gets from another one."""

    __slots__ = ("_on_done", "_run_id")

    def __init__(
        self,
        message: Message,
        run_id: str,
        now_s: float,
        deadline_s: float,
        on_done: Callable[[str], None],
    ) -> None:
        tag = message.codec | message.coding << 8
        body = bytes(message.body) if isinstance(message.body, memoryview) else message.body
        super().__init__(tag, message.aux, body, arrived_s=now_s, deadline_s=deadline_s)
        self._run_id = run_id
        self._on_done = on_done

    def deliver(self, body: bytes, aux: int) -> None:
        self._on_done("")

    def fail(self, kind: ErrorKind, message: str) -> None:
        self._on_done(message)

    def header(self, name: bytes) -> bytes:
        return self._run_id.encode() if name == b"x-request-id" else b""

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return ((b"x-request-id", self._run_id.encode()),)


class FlowFeeds:
    """The graphs that take others' data. Its `publish` is the inspection's."""

    def __init__(
        self,
        find: Find,
        *,
        clock: Clock,
        scheduler: Scheduler,
        on_dropped: OnDropped,
        timeout_s: float,
    ) -> None:
        self.find = find
        self.clock = clock
        self.scheduler = scheduler
        self.on_dropped = on_dropped
        self.timeout_s = timeout_s
        self._takers: dict[tuple[str, str], _Taker] = {}
        self._by_place: dict[_Place, list[tuple[_Taker, int]]] = {}
        self._is_due = False

    def connect(self, desire: GraphDesire) -> None:
        """The graph takes what its plan says, from now on."""
        self.disconnect(desire.namespace, desire.name)
        if not desire.feeds:
            return
        taker = _Taker(self, desire)
        self._takers[desire.namespace, desire.name] = taker
        for number, place in enumerate(_places(desire)):
            self._by_place.setdefault(place, []).append((taker, number))

    def disconnect(self, namespace: str, name: str) -> None:
        """The graph takes nothing any more."""
        former = self._takers.pop((namespace, name), None)
        if former is None:
            return
        kept = {
            place: [each for each in takers if each[0] is not former]
            for place, takers in self._by_place.items()
        }
        self._by_place = {place: takers for place, takers in kept.items() if takers}

    def publish(
        self, namespace: str, graph: str, step: str, end: str, run_id: str, message: Message
    ) -> None:
        """See `flow_inspection.Publish`. Only notes it: the work is done in a later turn."""
        for taker, number in self._by_place.get((namespace, graph, step, end), ()):
            taker.note(number, run_id, message)
            if not self._is_due:
                self._is_due = True
                self.scheduler.call_soon(self._work)

    def _work(self) -> None:
        self._is_due = False
        for taker in list(self._takers.values()):
            taker.work()


def _places(desire: GraphDesire) -> Iterator[_Place]:
    for feed in desire.feeds:
        graph = feed.graph.removesuffix(_PIPELINE)
        yield feed.namespace, graph, feed.edge.source, feed.edge.end


class _Taker:
    """One graph that takes data: what has come for it, joined by request."""

    def __init__(self, feeds: FlowFeeds, desire: GraphDesire) -> None:
        self._feeds = feeds
        self._namespace, self._name = desire.namespace, desire.name
        self._edges = [feed.edge for feed in desire.feeds]
        self._triggers = [feed.is_trigger for feed in desire.feeds]
        self._join: FeedJoin = desire.feeds_join
        self._come: deque[tuple[int, str, Message]] = deque()
        self._partial: OrderedDict[str, dict[int, Message]] = OrderedDict()
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._joined: deque[tuple[str, Message]] = deque()
        self._at_work = 0

    def note(self, number: int, run_id: str, message: Message) -> None:
        if len(self._come) >= MOST_WAITING:
            self._drop()
            return
        self._come.append((number, run_id, message))

    def _drop(self) -> None:
        self._feeds.on_dropped(self._namespace, self._name)

    def work(self) -> None:
        """Joins what has come, and asks the graph for as much of it as may be at once."""
        while self._come:
            number, run_id, message = self._come.popleft()
            if run_id not in self._taken and self._is_there(self._edges[number], message):
                self._add(number, run_id, message)
        self._ask()

    def _is_there(self, edge: Edge, message: Message) -> bool:
        try:
            return not edge.tensor or find_tensor(message, edge.tensor) is not None
        except RequestError:
            return False

    def _add(self, number: int, run_id: str, message: Message) -> None:
        is_first = run_id not in self._partial
        given = self._partial.setdefault(run_id, {})
        given[number] = message
        if self._is_complete(given, is_over=False):
            self._take(run_id)
        elif is_first:
            if len(self._partial) > MOST_WAITING:
                self._partial.popitem(last=False)
                self._drop()
            if self._join.join == "outer" or self._join.triggers_join == "outer":
                window_s = self._join.window_s or _WINDOW_S
                self._feeds.scheduler.call_later(window_s, lambda: self._close(run_id))

    def _close(self, run_id: str) -> None:
        """The window of an outer join is over."""
        given = self._partial.get(run_id)
        if given is not None and self._is_complete(given, is_over=True):
            self._take(run_id)
            self._ask()

    def _is_complete(self, given: Mapping[int, Message], *, is_over: bool) -> bool:
        inputs = [n in given for n, is_trigger in enumerate(self._triggers) if not is_trigger]
        triggers = [n in given for n, is_trigger in enumerate(self._triggers) if is_trigger]
        return _holds(inputs, self._join.join, is_over) and (
            not triggers or _holds(triggers, self._join.triggers_join, is_over)
        )

    def _take(self, run_id: str) -> None:
        given = self._partial.pop(run_id)
        self._taken[run_id] = None
        if len(self._taken) > MOST_WAITING:
            self._taken.popitem(last=False)
        present = [(self._edges[n], given[n]) for n in sorted(given) if not self._triggers[n]]
        try:
            message = joined(present)
        except RequestError as error:
            logger.warning("graph %s/%s cannot take: %s", self._namespace, self._name, error)
            return
        if len(self._joined) >= MOST_WAITING:
            self._drop()
            return
        self._joined.append((run_id, message))

    def _ask(self) -> None:
        while self._joined and self._at_work < MOST_AT_WORK:
            run_id, message = self._joined.popleft()
            now_s = self._feeds.clock()
            deadline_s = now_s + self._feeds.timeout_s
            call = FeedCall(message, run_id, now_s, deadline_s, self._on_done)
            self._at_work += 1
            try:
                model = self._feeds.find(self._namespace, self._name)
            except RequestError as error:
                self._on_done(str(error))
                continue
            model.submit(call)

    def _on_done(self, error: str) -> None:
        self._at_work -= 1
        if error:
            logger.debug("graph %s/%s, fed: %s", self._namespace, self._name, error)
        if self._joined:
            self._feeds.scheduler.call_soon(self._ask)


def _holds(there: Sequence[bool], join: str, is_over: bool) -> bool:
    if all(there):
        return True
    return any(there) and (join == "any" or (join == "outer" and is_over))


def joined(present: Sequence[tuple[Edge, Message]]) -> Message:
    """One request with the tensors that the edges bring, under their new names."""
    tensors: list[Tensor] = []
    for edge, message in present:
        renames = dict(edge.renames)
        for tensor in tensors_of(message):
            if edge.tensor and tensor.name != edge.tensor:
                continue
            name = edge.rename or renames.get(tensor.name, tensor.name)
            tensors.append(msgspec.structs.replace(tensor, name=name))
    return assemble(tensors, present[0][1], is_request=True)
