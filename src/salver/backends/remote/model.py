"""A model behind HTTP as a `ServedModel`: one or more endpoints, a bounded queue before them.

Requests go to the endpoint with the least in flight, raw as they came; an endpoint gets no
more at a time than `concurrency`. Who starts the endpoints, if anybody here does, is
`processes/`'s affair: this adds and removes them, and asks them whether they are ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from salver.backends.remote.endpoint import Endpoint, Probe
from salver.backends.remote.forwarding import (
    PROPAGATED,
    Outcome,
    headers_of,
    names_memory,
    outcome_of,
    target_of,
)
from salver.backends.remote.http_client import (
    Answer,
    NoAnswer,
    Origin,
    Request,
    StreamedAnswer,
    Unreachable,
)
from salver.engine.call import Call
from salver.engine.ports import ForwardedAnswer, ForwardedRequest, ModelStatus
from salver.engine.queue import Clock
from salver.errors import (
    DeadlineExceeded,
    ErrorKind,
    InvalidInput,
    ModelFailed,
    ModelNotReady,
    QueueFull,
    SalverError,
    Unavailable,
    Unsupported,
)
from salver.inference.metadata import ModelMetadata
from salver.protocol.wire_codes import Codec
from salver.telemetry.metrics import ModelMetrics

logger = logging.getLogger("salver.remote")

_POLL_READY_S = 10.0
_POLL_STARTING_S = 0.1
_SWEEP_S = 0.1
_NOT_SPOKEN = frozenset(Codec) - {Codec.V1_JSON, Codec.V2_JSON}
_UNKNOWN = ModelMetadata(platform="remote", inputs=(), outputs=(), batchable=False)


class RemoteOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the service is asked. `concurrency` 0: as many at a time per endpoint as the default."""

    protocol: str = "v1"
    remote_name: str = ""
    """The model's name at the service; empty: its name here."""
    readiness_path: str = ""
    is_external: bool = True
    concurrency: int = 0
    max_queued: int = 2048
    request_timeout_s: float = 30.0
    max_body_bytes: int = 1 << 30
    propagated: tuple[bytes, ...] = PROPAGATED
    holds_while_starting: bool = False
    """Calls wait for the first endpoint to be ready, instead of being refused."""


DEFAULT_CONCURRENCY = 128


class RemoteModel:
    """Implements the engine's `ServedModel` over HTTP/1.1."""

    def __init__(
        self,
        name: str,
        version: str,
        options: RemoteOptions,
        metrics: ModelMetrics,
        *,
        clock: Clock,
    ) -> None:
        self.name = name
        self.version = version
        self.options = options
        self.metrics = metrics
        self.reason = "no endpoint"
        self.on_ready: Callable[[Endpoint], object] | None = None
        """Called when an endpoint becomes ready."""
        self._clock = clock
        self._metadata: ModelMetadata | None = None
        self._endpoints: list[Endpoint] = []
        self._waiting: deque[Call] = deque()
        self._exchanges: dict[asyncio.Task[None], Call] = {}
        self._watchers: dict[Endpoint, asyncio.Task[None]] = {}
        self._forwards_waiting = 0
        self._is_closed = False
        self._free = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._limit = options.concurrency or DEFAULT_CONCURRENCY

    # What callers may know.

    @property
    def status(self) -> ModelStatus:
        state = "READY" if self.is_ready else "LOADING" if self._endpoints else "UNAVAILABLE"
        return ModelStatus(self.name, self.version, state, "" if self.is_ready else self._why())

    @property
    def is_ready(self) -> bool:
        return any(each.is_ready and not each.is_leaving for each in self._endpoints)

    @property
    def metadata(self) -> ModelMetadata:
        """What the service says in V2, once it is ready; else nothing is known of tensors."""
        return self._metadata or _UNKNOWN

    @property
    def queued(self) -> int:
        """Calls, and requests to be forwarded, that wait for an endpoint."""
        return len(self._waiting) + self._forwards_waiting

    @property
    def in_flight(self) -> int:
        """Calls, and forwarded requests, that an endpoint has."""
        return sum(each.in_flight for each in self._endpoints)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(self._endpoints)

    def _why(self) -> str:
        return next((each.reason for each in self._endpoints if each.reason), self.reason)

    # Endpoints.

    def add(self, origin: Origin) -> Endpoint:
        """An address more; it takes requests once it is ready."""
        endpoint = Endpoint(
            origin, max_idle=self._limit, max_body_bytes=self.options.max_body_bytes
        )
        self._endpoints.append(endpoint)
        self._watchers[endpoint] = asyncio.get_running_loop().create_task(self._watch(endpoint))
        if self._sweeper is None:
            self._sweep()
        return endpoint

    def remove(self, endpoint: Endpoint) -> None:
        """The address takes no more requests; those it has may finish."""
        endpoint.is_leaving = True
        endpoint.is_ready = False
        watcher = self._watchers.pop(endpoint, None)
        if watcher is not None:
            watcher.cancel()
        if endpoint in self._endpoints:
            self._endpoints.remove(endpoint)
        endpoint.client.close()
        self._note_readiness()

    async def wait_ready(self, timeout_s: float) -> None:
        """Returns once an endpoint is ready. Raises `ModelNotReady` with the reason."""
        deadline_s = self._clock() + timeout_s
        while not self.is_ready:
            if self._clock() >= deadline_s:
                raise ModelNotReady(f"model '{self.name}' is not ready: {self._why()}")
            await asyncio.sleep(0.01)

    async def _watch(self, endpoint: Endpoint) -> None:
        options = self.options
        probe = Probe(
            options.remote_name or self.name,
            options.protocol,
            options.readiness_path,
            options.is_external,
        )
        while not endpoint.is_leaving:
            was_ready = endpoint.is_ready
            await endpoint.probe(probe)
            is_new = not endpoint.reason and not was_ready
            if is_new and self._metadata is None and options.protocol not in ("http", "seldon"):
                self._metadata = await endpoint.metadata(probe.name)
            endpoint.is_ready = not endpoint.reason
            if is_new and self.on_ready is not None:
                self.on_ready(endpoint)
            self._note_readiness()
            self._pump()
            await asyncio.sleep(_POLL_READY_S if endpoint.is_ready else _POLL_STARTING_S)

    def _note_readiness(self) -> None:
        self.metrics.ready.value = 1 if self.is_ready else 0

    # Calls.

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        self.metrics.requests.value += 1
        if call.codec & 0xFF in _NOT_SPOKEN:
            self._refuse(
                call,
                ErrorKind.UNSUPPORTED,
                f"model '{self.name}' is served by a process that speaks V1 and V2 over HTTP only: "
                "ask it, or the graph that it is a step of, over REST (V1 or V2)",
            )
        elif names_memory(call):
            self._refuse(
                call,
                ErrorKind.UNSUPPORTED,
                f"model '{self.name}' is served by a process of its own or by a URL, which does "
                "not see shared memory that is registered here: send the tensors in the request",
            )
        else:
            self._enqueue(call)

    def _enqueue(self, call: Call) -> None:
        if not self._may_wait:
            self._refuse(
                call,
                ErrorKind.MODEL_NOT_READY,
                f"model '{self.name}' is not ready: {self._why()}",
            )
        elif self.queued >= self.options.max_queued:
            self._refuse(call, ErrorKind.QUEUE_FULL, self._full())
        else:
            self._waiting.append(call)
            self._pump()

    def _pump(self) -> None:
        while self._waiting and (endpoint := self._next_endpoint()) is not None:
            call = self._waiting.popleft()
            if call.is_abandoned:
                continue
            now_s = self._clock()
            if call.deadline_s <= now_s:
                self._expire(call, now_s)
                continue
            self.metrics.observe_queue_time(now_s - call.arrived_s)
            endpoint.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._exchange(call, endpoint))
            self._exchanges[task] = call
            task.add_done_callback(self._exchanges.pop)
        if self._waiting or self._next_endpoint() is None:
            self._free.clear()
        else:
            self._free.set()

    def _next_endpoint(self) -> Endpoint | None:
        """The ready endpoint with the least to do, if it may have one more."""
        ready = [each for each in self._endpoints if each.is_ready]
        least = min(ready, key=lambda each: each.in_flight, default=None)
        return None if least is None or least.in_flight >= self._limit else least

    async def _exchange(self, call: Call, endpoint: Endpoint) -> None:
        now_s = self._clock()
        try:
            async with asyncio.timeout(max(call.deadline_s - now_s, 0.0)):
                answer = await self._ask(call, endpoint)
        except TimeoutError:
            self._expire(call, self._clock())
        except (Unreachable, NoAnswer) as error:
            if isinstance(error, Unreachable) or not self.options.is_external:
                endpoint.is_ready = False
            self._ask_again(endpoint)
            self._retry(call, error)
        except (InvalidInput, ModelFailed, Unsupported) as error:
            self._fail(call, error.kind, f"model '{self.name}': {error}")
        except (SalverError, OSError) as error:
            self._ask_again(endpoint)
            self._fail(call, ErrorKind.UNAVAILABLE, f"model '{self.name}': {error}")
        except Exception as error:
            logger.exception("model '%s': a call failed", self.name)
            self._ask_again(endpoint)
            self._fail(call, ErrorKind.MODEL_FAILED, f"model '{self.name}': {error}")
        else:
            self._answer(call, answer)
        finally:
            endpoint.in_flight -= 1
            self._pump()

    def _retry(self, call: Call, error: Exception) -> None:
        """Queues it once more where that is safe; `_exchange` sends it.

        Safe is what was never sent, and, as with workers, what a process of this machine died
        on; whether a service elsewhere has acted on a request, nobody knows.
        """
        is_safe = isinstance(error, Unreachable) or not self.options.is_external
        call.attempts += 1
        if not is_safe or call.attempts > 1 or not self._may_wait:
            self._fail(call, ErrorKind.UNAVAILABLE, f"model '{self.name}': {error}")
        else:
            self.metrics.retries.value += 1
            self._waiting.appendleft(call)

    @property
    def _may_wait(self) -> bool:
        return self.is_ready or self.options.holds_while_starting

    def _ask_again(self, endpoint: Endpoint) -> None:
        watcher = self._watchers.get(endpoint)
        if watcher is not None:
            watcher.cancel()
            loop = asyncio.get_running_loop()
            self._watchers[endpoint] = loop.create_task(self._watch(endpoint))

    async def _ask(self, call: Call, endpoint: Endpoint) -> Answer:
        """The endpoint's answer to a call."""
        return await endpoint.client.ask(self._request(call))

    def _request(self, call: Call) -> Request:
        target = target_of(call, self.options.remote_name or self.name)
        return Request("POST", target, headers_of(call, self.options.propagated), call.body)

    def _answer(self, call: Call, answer: Answer) -> None:
        self.metrics.observe_latency(self._clock() - call.arrived_s)
        outcome = outcome_of(call, answer, self.name, self.options.protocol)
        if outcome.is_own:
            self._reject(call, answer, outcome)
        elif outcome.kind:
            self._fail(call, outcome.kind, outcome.message)
        else:
            call.coding = outcome.coding
            call.deliver(answer.body, outcome.json_length)

    def _refuse(self, call: Call, kind: ErrorKind, message: str) -> None:
        self.metrics.count_refusal(kind)
        call.fail(kind, message)

    def _fail(self, call: Call, kind: ErrorKind, message: str) -> None:
        if not call.is_abandoned:
            self.metrics.count_error(kind)
            call.fail(kind, message)

    def _reject(self, call: Call, answer: Answer, outcome: Outcome) -> None:
        """The service's own refusal, for those who hand it on as it is."""
        if not call.is_abandoned:
            self.metrics.count_error(outcome.kind)
            call.reject(answer.status, answer.body, outcome.kind, outcome.message)

    def _expire(self, call: Call, now_s: float) -> None:
        self._fail(
            call,
            ErrorKind.DEADLINE_EXCEEDED,
            f"model '{self.name}' did not answer within {now_s - call.arrived_s:.3f} s, the time "
            "limit",
        )

    def _full(self) -> str:
        return (
            f"model '{self.name}' has {self.options.max_queued} requests waiting, its limit: "
            "retry later"
        )

    def _sweep(self) -> None:
        """Drops what nobody waits for, in the queue and at the endpoints."""
        for task, call in list(self._exchanges.items()):
            if call.is_abandoned:
                task.cancel()
        now_s = self._clock()
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if call.is_abandoned:
                continue
            if call.deadline_s <= now_s:
                self._expire(call, now_s)
            else:
                self._waiting.append(call)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    # Any other request.

    @contextlib.asynccontextmanager
    async def forward(self, request: ForwardedRequest) -> AsyncIterator[ForwardedAnswer]:
        """Hands a request on to an endpoint, whatever its path; the answer comes in pieces.

        Raises `QueueFull`, `ModelNotReady`, `DeadlineExceeded` or `Unavailable`.
        """
        self.metrics.requests.value += 1
        endpoint, streamed = await self._begin_forward(request)
        try:
            yield _TimedAnswer(streamed, self.options.request_timeout_s, self._late)
        finally:
            endpoint.in_flight -= 1
            await streamed.__aexit__()
            self._pump()

    async def _begin_forward(self, request: ForwardedRequest) -> tuple[Endpoint, StreamedAnswer]:
        """The endpoint that has the request, counted as in flight, and its answer's head."""
        sent = Request(request.method, request.target, request.headers, request.body)
        try:
            async with asyncio.timeout(self.options.request_timeout_s):
                while True:
                    endpoint = await self._wait_for_endpoint()
                    endpoint.in_flight += 1
                    try:
                        return endpoint, await endpoint.client.stream(sent).__aenter__()
                    except Unreachable:
                        # Nothing was sent: another endpoint, or the one in its place, may do.
                        endpoint.in_flight -= 1
                        endpoint.is_ready = False
                        self._ask_again(endpoint)
                    except BaseException:
                        endpoint.in_flight -= 1
                        self._pump()
                        raise
        except TimeoutError as error:
            raise self._late() from error

    async def _wait_for_endpoint(self) -> Endpoint:
        if not self._may_wait:
            raise ModelNotReady(f"model '{self.name}' is not ready: {self._why()}")
        if self.queued >= self.options.max_queued:
            raise QueueFull(self._full())
        self._forwards_waiting += 1
        try:
            while (endpoint := self._next_endpoint()) is None:
                if self._is_closed:
                    raise Unavailable(f"model '{self.name}' is being stopped")
                if not self._may_wait:
                    raise ModelNotReady(f"model '{self.name}' is not ready: {self._why()}")
                self._free.clear()
                await self._free.wait()
        finally:
            self._forwards_waiting -= 1
        return endpoint

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"model '{self.name}' did not answer within {self.options.request_timeout_s:g} s"
        )

    def close(self) -> None:
        """Ends everything at once; calls that are left are refused."""
        self._is_closed = True
        self._free.set()
        for endpoint in list(self._endpoints):
            self.remove(endpoint)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task in self._exchanges:
            task.cancel()
        for call in (*self._exchanges.values(), *self._waiting):
            self._fail(call, ErrorKind.UNAVAILABLE, f"model '{self.name}' is being stopped")
        self._waiting.clear()


class _TimedAnswer:
    """An answer whose every piece has to come within the time limit."""

    def __init__(
        self, streamed: StreamedAnswer, timeout_s: float, late: Callable[[], DeadlineExceeded]
    ) -> None:
        self.status = streamed.status
        self.headers = streamed.headers
        self._streamed = streamed
        self._timeout_s = timeout_s
        self._late = late

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `ForwardedAnswer`."""
        pieces = self._streamed.chunks()
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    piece = await anext(pieces, None)
            except TimeoutError as error:
                raise self._late() from error
            if piece is None:
                return
            yield piece
