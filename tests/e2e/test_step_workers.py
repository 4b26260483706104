"""A graph's functions in a real worker: those that raise, hang, exit or hoard hurt nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from salver.backends.local.catalog import LocalCatalog, options_of
from salver.backends.local.model import LocalModel
from salver.backends.local.own_workers import OwnWorkers
from salver.control.ports import RevisionOrder
from salver.errors import ErrorKind, LoadFailed
from salver.graphs.plan import ComponentPlan, ModelRunner
from salver.protocol.bundle import Invocation, MessageHead, StepCall, pack, unpack_reply
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import Codec
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry
from tests.calls import RecordingCall

pytestmark = pytest.mark.e2e

FILE = """
import os, sys, time
def nasty(x):
    what = x.ravel()[0]
    if what == 1: time.sleep(60)
    if what == 2: raise RuntimeError("no luck")
    if what == 3: return object()
    if what == 4: os._exit(3)
    if what == 5:
        hoard = []
        while True: hoard.append(bytearray(16 << 20))
    if what == 6: sys.exit(4)
    return x
"""
ONCE = """
def once(x):
    with pathlib.Path(__file__).with_name("calls").open("a") as calls:
        calls.write("x")
    os._exit(3)
once.idempotent = False
"""


@asynccontextmanager
async def unit(path: str, **functions: Any) -> AsyncIterator[LocalModel]:
    """The functions, in a worker."""
    settings = ServeSettings(worker_memory=600 << 20, request_timeout=5.0)
    catalog = LocalCatalog(list, settings, Registry())
    workers = OwnWorkers(catalog, options_of(settings))
    options = json.dumps({"functions": functions})
    runner = ModelRunner(path, runtime="steps", options=options)
    order = RevisionOrder("unit-1", "default", "unit", 1, ComponentPlan("predictor", runner))
    try:
        catalog.start_checks()
        model = await asyncio.wait_for(
            workers.bring_up(order, runner, Path(path), "", lambda *_: None), 60
        )
        yield model
    finally:
        catalog.close()
        await asyncio.sleep(0)


def bundle(function: str, value: float, timeout_s: float = 20.0) -> RecordingCall:
    body = json.dumps({"instances": [[value]]}).encode()
    head = MessageHead("request", int(Codec.V1_JSON), 0, 0, len(body), True)
    call = StepCall([Invocation("s", function, "call")], [head])
    tag = marked(int(Codec.V1_JSON), Operation.STEP)
    return RecordingCall(pack(call, [body]), tag, timeout_s=timeout_s)  # type: ignore[arg-type]


async def ask(model: LocalModel, function: str, value: float, **more: Any) -> Any:
    """The predictions, or kind and text of the failure."""
    call = bundle(function, value, **more)
    model.submit(call)
    await call.wait(40)
    if call.error is not None:
        return call.error
    assert call.answer is not None
    _, bodies = unpack_reply(call.answer[0])
    return json.loads(bytes(bodies[0]))["predictions"]


def played(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        (tmp_path / "f.py").write_text(FILE)
        asyncio.run(test(tmp_path))

    run.__name__ = test.__name__
    return run


@played
async def test_whatever_a_function_does_the_next_request_is_answered(path: Path) -> None:
    async with unit(str(path), nasty={"python": "f.py:nasty"}) as model:
        assert model.metadata.operations == ("step",)
        expected = {
            2: (ErrorKind.MODEL_FAILED, "step 's' (function nasty, input [1, 1] INT64): RuntimeEr"),
            3: (ErrorKind.MODEL_FAILED, "step 's' (function nasty"),
            4: (ErrorKind.MODEL_FAILED, "worker exited with code 3"),
            5: (ErrorKind.MODEL_FAILED, "ran out of memory"),
            6: (ErrorKind.MODEL_FAILED, "worker exited with code 4"),
        }
        for value, (kind, text) in expected.items():
            found = await ask(model, "nasty", value)
            assert found[0] == kind
            assert text in found[1]
            assert await ask(model, "nasty", 9) == [[9]]


@played
async def test_a_function_that_hangs_is_ended_at_its_deadline(path: Path) -> None:
    async with unit(str(path), nasty={"python": "f.py:nasty"}) as model:
        assert model.queue.is_idempotent
        kind, _ = await ask(model, "nasty", 1, timeout_s=1.0)
        assert kind == ErrorKind.DEADLINE_EXCEEDED
        assert await ask(model, "nasty", 9) == [[9]]


@played
async def test_a_function_that_cannot_be_repeated_is_called_once(path: Path) -> None:
    (path / "f.py").write_text("import os, pathlib\n" + ONCE)
    async with unit(str(path), once={"python": "f.py:once"}) as model:
        assert not model.queue.is_idempotent
        kind, _ = await ask(model, "once", 1)
        assert kind == ErrorKind.MODEL_FAILED
    assert (path / "calls").read_text() == "x"


@played
async def test_a_unit_needs_no_artifact_for_what_comes_with_salver(path: Path) -> None:
    async with unit("", same={"builtin": "identity"}) as model:
        assert await ask(model, "same", 3) == [[3]]


@played
async def test_functions_that_cannot_be_loaded_say_why(path: Path) -> None:
    with pytest.raises(LoadFailed, match="has no 'gone'"):
        async with unit(str(path), f={"python": "f.py:gone"}):
            raise AssertionError("unreachable")
