"""A service elsewhere that speaks V1 and V2 over HTTP: what it is never asked."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.calls import RecordingCall

from salver.backends.remote.model import RemoteModel, RemoteOptions
from salver.errors import ErrorKind
from salver.protocol.wire_codes import Codec
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry


@pytest.mark.parametrize("codec", [Codec.V2_GRPC, Codec.SELDON_JSON, Codec.SELDON_GRPC])
def test_what_the_process_does_not_speak_is_refused_with_what_to_do(codec: Codec) -> None:
    async def scenario() -> RecordingCall:
        metrics = ModelMetrics(Registry(), "m", "1")
        model = RemoteModel("m", "1", RemoteOptions(), metrics, clock=time.monotonic)
        call = RecordingCall(b"", codec)
        model.submit(call)
        await call.wait()
        model.close()
        return call

    call = asyncio.run(scenario())
    assert call.error is not None
    assert call.error[0] is ErrorKind.UNSUPPORTED
    assert "speaks V1 and V2 over HTTP only: ask it, or the graph" in call.error[1]
