"""Which front the listener takes, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

from salver.server.grpc.grpcio_front import GrpcioFront
from salver.server.grpc.listener import front_for
from salver.server.grpc.native import NativeFront
from salver.settings import ServeSettings


def test_the_native_front_serves_plain_connections_and_grpcio_serves_tls() -> None:
    assert isinstance(front_for(ServeSettings()), NativeFront)
    assert isinstance(front_for(ServeSettings(tls_cert="c", tls_key="k")), GrpcioFront)


def test_the_running_listener_has_imported_neither_grpcio_nor_protobuf_nor_numpy() -> None:
    code = """
import asyncio, sys
from salver.server.grpc.listener import serve_grpc
from salver.settings import ServeSettings
async def main():
    listener = await serve_grpc(object(), ServeSettings(grpc_port=0))
    assert listener.port > 0
    assert await listener.drain(1.0)
    await listener.stop()
asyncio.run(main())
print(sorted({"grpc", "google.protobuf", "numpy"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("[]", "", 0)
