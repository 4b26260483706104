"""Asking the ASGI application, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from starlette.routing import BaseRoute

from salver.engine.directory import ModelDirectory
from salver.server.rest.app import build_app
from salver.settings import ServeSettings
from tests.fakes import FakeCatalog


def ask(
    catalog: FakeCatalog,
    method: str,
    path: str,
    routes: Sequence[BaseRoute] = (),
    **options: Any,
) -> httpx.Response:
    """One request; an exception that the app lets out after its answer is the server's to log.

    `routes` are there besides the application's own.
    """
    app = build_app(
        ModelDirectory(catalog),
        ServeSettings(),
        render_metrics=lambda: b"salver_up 1\n",
        more_routes=routes,
    )

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://host:8080") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())
