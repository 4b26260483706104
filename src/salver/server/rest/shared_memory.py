"""Triton's shared-memory routes: which regions there are, and registering them.

Thin: a port keeps the regions. CUDA's memory is answered for what it is here: there is none.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.shared_memory import ClientRegions, Region
from salver.errors import InvalidInput, ModelNotFound, Unsupported
from salver.server.apis.access import why_no_own_program
from salver.server.rest.answers import json_answer, read_json_object
from salver.server.shared_memory import NO_CUDA, NOT_LOCAL, SWITCHED_OFF

_MOST_BODY = 1 << 16


class SharedMemoryRoutes:
    """The endpoints; without `regions` they say that the server takes none."""

    def __init__(self, regions: ClientRegions | None) -> None:
        self._regions = regions

    def routes(self) -> list[Route]:
        """All under `/v2/systemsharedmemory` and `/v2/cudasharedmemory`."""
        system, cuda = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
        one = "/region/{region}"
        return [
            *(Route(path + "/status", self.status) for path in (system, system + one)),
            Route(system + one + "/register", self.register, methods=["POST"]),
            *(
                Route(path + "/unregister", self.unregister, methods=["POST"])
                for path in (system, system + one)
            ),
            *(Route(path + "/status", self.cuda_status) for path in (cuda, cuda + one)),
            Route(cuda + one + "/register", self.cuda_register, methods=["POST"]),
            *(
                Route(path + "/unregister", self.cuda_unregister, methods=["POST"])
                for path in (cuda, cuda + one)
            ),
        ]

    async def status(self, request: Request) -> Response:
        """`GET /v2/systemsharedmemory[/region/NAME]/status`."""
        found = self._of_caller(request).regions(_name(request))
        return json_answer(list(found))

    async def register(self, request: Request) -> Response:
        """`POST /v2/systemsharedmemory/region/NAME/register`."""
        regions = self._of_caller(request)
        body = await read_json_object(request, _MOST_BODY)
        name = _name(request)
        key = body.get("key")
        if not isinstance(key, str):
            raise InvalidInput(f"region '{name[:64]}' has no 'key' that is a string: give one")
        offset = _number(body.get("offset", 0), "offset", name)
        regions.register(
            Region(name, key, offset, _number(body.get("byte_size"), "byte_size", name))
        )
        return Response(status_code=200)

    async def unregister(self, request: Request) -> Response:
        """`POST /v2/systemsharedmemory[/region/NAME]/unregister`."""
        self._of_caller(request).unregister(_name(request))
        return Response(status_code=200)

    async def cuda_status(self, request: Request) -> Response:
        """None of all; and the one asked for is not there."""
        name = _name(request)
        if name:
            raise ModelNotFound(
                f"Unable to find cuda shared memory region: '{name[:64]}': {NO_CUDA}"
            )
        return json_answer([])

    async def cuda_register(self, request: Request) -> Response:
        """Refused."""
        raise InvalidInput(
            f"failed to register CUDA shared memory region: '{_name(request)[:64]}', GPUs not "
            f"supported: {NO_CUDA}"
        )

    async def cuda_unregister(self, request: Request) -> Response:
        """There is none that could stay registered."""
        return Response(status_code=200)

    def _of_caller(self, request: Request) -> ClientRegions:
        if self._regions is None:
            raise Unsupported(SWITCHED_OFF)
        client = request.client.host if request.client is not None else ""
        reason = why_no_own_program(client, request.headers)
        if reason:
            raise Unsupported(f"{NOT_LOCAL} ({reason})")
        return self._regions


def _name(request: Request) -> str:
    name: str = request.path_params.get("region", "")
    return name


def _number(value: Any, field: str, name: str) -> int:
    if type(value) is not int or value < 0:
        raise InvalidInput(
            f"region '{name[:64]}' has no '{field}' that is a number of bytes: give one from 0 on"
        )
    return value
