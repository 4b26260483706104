"""A worker process: loads one model, then answers batches until its socket closes.

One thread, blocking reads: a prediction blocks anyway, and an event loop here would only
add to every batch. Model code runs nowhere else.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import time
import traceback
from pathlib import Path
from typing import cast

import msgspec

from salver.backends.local.answering import Answerer
from salver.backends.local.arena import ArenaReader, ArenaWriter
from salver.backends.local.channel import WorkerChannel
from salver.backends.local.client_memory import ClientMemory
from salver.backends.local.compiling import Compiling
from salver.backends.local.streaming import first_response
from salver.backends.local.worker_messages import CacheCounts, LoadOrder, LoadReport
from salver.errors import SalverError
from salver.protocol.frame import FrameKind
from salver.protocol.wire import ModelIdentity
from salver.runtimes.overridden import overridden
from salver.runtimes.ports import (
    CachesAnswers,
    CompilesLater,
    LoadedModel,
    ModelSource,
    StreamingModel,
)
from salver.runtimes.registry import runtime_named
from salver.runtimes.warmup import warmup_request
from salver.telemetry import logs

logger = logging.getLogger("salver.worker")

_UNLOAD_S = 10
_RELEASE_S = 1.0
"""How soon memory is let go of that a client has unregistered."""
_WORKER_OOM_SCORE = "500"
"""If the machine itself runs out of memory, workers go before the gateway does."""


def run(connection: socket.socket, requests_fd: int, replies_fd: int) -> None:
    """The worker's whole life; returns when the gateway closes the socket."""
    channel = WorkerChannel(connection, ArenaReader(requests_fd), ArenaWriter(replies_fd))
    frame = channel.receive()
    if frame is None:
        return
    order = msgspec.json.decode(frame.bodies()[0], type=LoadOrder)
    os.environ.update(order.env)
    logs.configure(order.log_level, order.log_format)
    if order.caveat:
        logger.warning("model '%s': %s", order.name, order.caveat)
    _limit_memory(order.memory_bytes)
    try:
        answerer, report = load(order)
    except Exception as error:
        _report_failure(channel, order, error)
        return
    channel.send_text(FrameKind.LOADED, msgspec.json.encode(report))
    memory = ClientMemory(Path(order.regions)) if order.regions else None
    if memory is not None:
        answerer.shares(memory)
    answerer.is_cancelled = channel.is_cancelled
    answerer.parts = channel
    if answerer.compiles is not None:
        compiling = Compiling(answerer.compiles, answerer, channel)
        if answerer.compiles.compile_report.is_pending and not compiling.run():
            return
    caches = answerer.caches
    while (frame := channel.receive()) is not None:
        answers = answerer.answer(channel.items(frame))
        if caches is not None:
            channel.announce(FrameKind.CACHE, msgspec.json.encode(_cache_counts(caches)))
        channel.reply(frame.batch_id, answers)
        if answers.must_recycle:
            return
        if memory is not None and memory.is_in_use:
            _wait_holding(memory, channel)
    _unload(answerer, order.name)


def _wait_holding(memory: ClientMemory, channel: WorkerChannel) -> None:
    """Waits for news, and lets go of memory that is unregistered meanwhile."""
    while memory.is_in_use and not channel.await_news(_RELEASE_S):
        memory.refresh()


def _cache_counts(model: CachesAnswers) -> CacheCounts:
    cache = model.answer_cache
    return CacheCounts(
        cache.hits, cache.misses, cache.hit_ns, cache.miss_ns, cache.evictions, cache.size_bytes
    )


def _unload(answerer: Answerer, name: str) -> None:
    """Lets the model's own code end; if that takes too long, the process does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_UNLOAD_S)
    try:
        answerer.unload()
    except Exception:
        logger.exception("model '%s' did not unload well", name)


def _report_failure(channel: WorkerChannel, order: LoadOrder, error: Exception) -> None:
    """The gateway gets the reason and, for the model's log alone, where it was raised."""
    is_ours = isinstance(error, SalverError)
    cause = error.__cause__ if is_ours else error
    reason = str(error) if is_ours else traceback.format_exception_only(error)[-1].strip()
    if order.caveat:
        reason += f"; {order.caveat}"
    if not is_ours:
        logger.exception("model '%s' could not be loaded", order.name)
    details = "".join(traceback.format_exception(cause)) if is_ours and cause is not None else ""
    text = f"{details}model '{order.name}' could not be loaded: {reason}"
    channel.send_text(FrameKind.LOAD_FAILED, f"{reason}\0{text}".encode())


def load(order: LoadOrder) -> tuple[Answerer, LoadReport]:
    """Loads and warms up the model: afterwards it has answered one request of its own shape.

    Raises `ArtifactError` with the reason if it cannot be loaded.
    """
    started_s = time.perf_counter()
    source = ModelSource(
        name=order.name,
        path=Path(order.path),
        runtime=order.runtime,
        attribute=order.attribute,
        threads=order.threads,
        batch_requested=order.batch_requested,
        predictor_url=order.predictor_url,
        parameters=order.parameters,
        inputs=order.inputs,
        outputs=order.outputs,
        compile=order.compile,
        verdicts=Path(order.verdicts) if order.verdicts else None,
        compiles_later=True,
    )
    model = runtime_named(order.runtime).load(source)
    compiles = cast(CompilesLater, model) if hasattr(model, "compile_on") else None
    compile_report = compiles.compile_report if compiles is not None else None
    caches = cast(CachesAnswers, model) if hasattr(model, "answer_cache") else None
    model = overridden(model, source, order.platform)
    loaded_s = time.perf_counter()
    _warm_up(model, order.name)
    identity = ModelIdentity(order.name, order.version, model.metadata)
    answerer = Answerer(
        model, identity, max_rows=order.max_rows, max_body_bytes=order.max_body_bytes
    )
    answerer.compiles = compiles
    answerer.caches = caches
    if caches is not None:
        # Nobody asked for what warmed it up.
        caches.answer_cache.begin_counting()
    warm_s = time.perf_counter()
    report = LoadReport(model.metadata, loaded_s - started_s, warm_s - loaded_s, compile_report)
    return answerer, report


def _warm_up(model: LoadedModel, name: str) -> None:
    request = warmup_request(model.metadata)
    if request is None:
        return
    try:
        if model.metadata.decoupled:
            first_response(cast(StreamingModel, model), request)
        else:
            model.predict(request)
    except Exception as error:
        # A model may rightly refuse zeros; what counts is that its code has run once.
        logger.warning("model '%s' refused its warm-up request: %s", name, error)


def _limit_memory(memory_bytes: int) -> None:
    if memory_bytes > 0:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    try:
        Path("/proc/self/oom_score_adj").write_text(_WORKER_OOM_SCORE)
    except OSError:
        logger.debug("oom_score_adj cannot be set here")
