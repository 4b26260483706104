"""The gRPC listener: picks a front, puts the service on it, and ends it in good order."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

from salver.engine.directory import ModelDirectory
from salver.engine.ports import ModelCatalog
from salver.engine.shared_memory import ClientRegions
from salver.server.controls import ServerControls
from salver.server.grpc.ports import FrontSettings, GrpcFront
from salver.server.grpc.seldon import SeldonMethods
from salver.server.grpc.service import InferenceService, OnRefused, ignore_refusal
from salver.server.grpc.tfs import TfsMethods
from salver.server.observe import RequestObserver
from salver.settings import ServeSettings

_FRAMING_BYTES = 1 << 20
"""How far over `max_body_size` a front lets a message be, so that the service refuses it."""


class GrpcListener:
    """A running gRPC server."""

    def __init__(self, front: GrpcFront, service: InferenceService) -> None:
        self._front = front
        self._service = service

    @property
    def port(self) -> int:
        return self._front.port

    @property
    def open_calls(self) -> int:
        """ModelInfer calls that wait for their answer, streams not counted."""
        return self._service.open_calls

    async def drain(self, timeout_s: float) -> bool:
        """Refuses new calls and waits for the open ones; True if all ended in time."""
        return await self._front.drain(timeout_s)

    async def stop(self) -> None:
        """Closes every connection at once; call `drain` first for a graceful end."""
        await self._front.stop()


async def serve_grpc(
    catalog: ModelCatalog,
    settings: ServeSettings,
    *,
    on_refused: OnRefused = ignore_refusal,
    clock: Callable[[], float] = time.monotonic,
    front: GrpcFront | None = None,
    observer: RequestObserver | None = None,
    regions: ClientRegions | None = None,
    controls: ServerControls | None = None,
) -> GrpcListener:
    """Serves the catalog on `settings.grpc_port`; must run on the loop that is to serve.

    `front` is for tests; by default `front_for(settings)`. `observer` logs and traces. Raises
    `StartupError` if the port is taken or the TLS files are unreadable.
    """
    front = front_for(settings) if front is None else front
    service = InferenceService(
        front,
        catalog,
        settings,
        on_refused=on_refused,
        clock=clock,
        observer=observer,
        regions=regions,
        controls=controls,
    )
    if isinstance(catalog, ModelDirectory):
        seldon = SeldonMethods(service, catalog, timeout_s=settings.request_timeout)
        tfs = TfsMethods(service, catalog, timeout_s=settings.request_timeout)
        service.more_methods = {**service.more_methods, **seldon.methods(), **tfs.methods()}
    await front.start(service.methods())
    return GrpcListener(front, service)


def front_for(settings: ServeSettings) -> GrpcFront:
    """The native front, unless TLS is asked for or its library has no build for this machine."""
    options = FrontSettings(
        host=settings.host,
        port=settings.grpc_port,
        max_message_bytes=settings.max_body_size + _FRAMING_BYTES,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
    )
    if settings.tls_cert or importlib.util.find_spec("pygrpc_native") is None:
        from salver.server.grpc.grpcio_front import GrpcioFront

        return GrpcioFront(options)
    from salver.server.grpc.native import NativeFront

    return NativeFront(options)
