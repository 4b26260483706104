"""One address of a service: its connections, how busy it is, and whether it is ready."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import msgspec

from salver.backends.remote.http_client import Answer, HttpClient, Origin, Request
from salver.errors import SalverError
from salver.inference.metadata import DATATYPES, ModelMetadata, TensorMetadata

PROBE_TIMEOUT_S = 5.0
_HEALTH = "/health/status"


class Probe(msgspec.Struct, frozen=True):
    """How to see that a service is ready. `path` set: any 2xx there; else by the protocol.

    `is_external`: the service is run by others, and one that answers at all is taken for ready
    if it has no readiness route.
    """

    name: str
    protocol: str = "v1"
    path: str = ""
    is_external: bool = False


class Endpoint:
    """One process or one URL. `in_flight` counts the requests it has."""

    def __init__(self, origin: Origin, *, max_idle: int, max_body_bytes: int) -> None:
        self.origin = origin
        self.client = HttpClient(origin, max_idle=max_idle, max_body_bytes=max_body_bytes)
        self.in_flight = 0
        self.is_ready = False
        self.is_leaving = False
        self.reason = "not asked yet"

    async def probe(self, probe: Probe) -> None:
        """Asks whether it is ready; `reason` says why not, and is empty if it is."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                self.reason = await self._why_not_ready(probe)
        except (SalverError, OSError, TimeoutError) as error:
            self.reason = str(error) or f"{self.origin.authority} does not answer"

    async def metadata(self, name: str) -> ModelMetadata | None:
        """What it says of the model in V2; None if it says nothing."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                answer = await self._get(f"/v2/models/{quote(name, safe='')}")
        except (SalverError, OSError, TimeoutError):
            return None
        return metadata_of(answer.body) if answer.status == 200 else None

    async def _why_not_ready(self, probe: Probe) -> str:
        if probe.path:
            return _refusal(await self._get(probe.path), probe.path)
        if probe.protocol in ("http", "grpc-v2"):
            return await self._why_not_open()
        if probe.protocol == "seldon":
            return await self._why_not_well()
        quoted = quote(probe.name, safe="")
        paths = [f"/v2/models/{quoted}/ready", f"/v1/models/{quoted}"]
        if probe.protocol == "v1":
            paths.reverse()
        reason = ""
        for path in paths:
            answer = await self._get(path)
            if answer.status in (404, 405, 501):
                reason = reason or _refusal(answer, path)
                continue
            if b'"ready":false' in answer.body.replace(b" ", b"").lower():
                return f"{self.origin.authority} says that the model is not ready"
            return _refusal(answer, path)
        # It has neither route, yet it answers: that is all that can be asked of plain HTTP.
        return "" if probe.is_external else await self._why_not_open()

    async def _why_not_well(self) -> str:
        """As Seldon's components say; one without that route is ready if it answers."""
        answer = await self._get(_HEALTH)
        return "" if answer.status in (404, 405, 501) else _refusal(answer, _HEALTH)

    async def _why_not_open(self) -> str:
        _, writer = await asyncio.open_connection(self.origin.host, self.origin.port)
        writer.close()
        return ""

    async def _get(self, path: str) -> Answer:
        return await self.client.ask(Request("GET", path))


def _refusal(answer: Answer, path: str) -> str:
    return "" if 200 <= answer.status < 300 else f"GET {path} is answered {answer.status}"


class _WireTensorMetadata(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int] = []


class _WireMetadata(msgspec.Struct):
    platform: str = "remote"
    inputs: list[_WireTensorMetadata] = []
    outputs: list[_WireTensorMetadata] = []


def metadata_of(body: bytes) -> ModelMetadata | None:
    """A V2 metadata response as far as it makes sense, None if it is none."""
    try:
        found = msgspec.json.decode(body, type=_WireMetadata)
    except msgspec.MsgspecError:
        return None
    return ModelMetadata(
        platform=found.platform or "remote",
        inputs=_tensors(found.inputs),
        outputs=_tensors(found.outputs),
        batchable=False,
    )


def _tensors(listed: list[_WireTensorMetadata]) -> tuple[TensorMetadata, ...]:
    return tuple(
        msgspec.convert(
            {"name": each.name, "datatype": each.datatype, "shape": tuple(each.shape)},
            TensorMetadata,
        )
        for each in listed
        if each.datatype in DATATYPES
    )
