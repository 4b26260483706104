"""One Triton server as a child of the gateway: started, watched, started again, told what to load.

Owns its process, its port and its repository, a folder of links to the models that it is to have.
Whoever needs a model decides when it is loaded and unloaded (`tritonserver_leases.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec

from salver.backends.processes.output import OutputLog
from salver.backends.processes.process import ForeignProcess, Launch
from salver.backends.processes.tritonserver_finding import (
    shared_memory_prefix,
    tritonserver_command,
)
from salver.backends.remote.http_client import Answer, HttpClient, Origin, Request
from salver.control.lifecycle import backoff_s
from salver.engine.queue import Clock
from salver.errors import LoadFailed, Unavailable

logger = logging.getLogger("salver.processes")

_HOST = "127.0.0.1"
_LOOK_S = 0.05
_LIVE_S = 5.0
_SHOWN_LINES = 3
_PROVEN_S = 10.0
"""One that ends after so long was no failed start."""
_MOST_ENDS = 5
"""After so many ends in a row it is started again only when somebody asks for a model."""


class TritonOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How long it may take to start, to load a model, and to stop."""

    start_timeout_s: float = 120.0
    load_timeout_s: float = 300.0
    grace_s: float = 5.0


class TritonChild:
    """A Triton server that is there as long as somebody wants it."""

    def __init__(
        self,
        find: Callable[[], str],
        repository: Path,
        output: OutputLog,
        options: TritonOptions,
        *,
        clock: Clock,
    ) -> None:
        """`find` gives the program, or raises `MissingFramework`. Nothing is started yet."""
        self.repository = repository
        self.generation = 0
        """Counts its processes: what one has loaded, the next has not."""
        self.on_lost: Callable[[], object] = lambda: None
        """Called when a process has ended by itself."""
        self._find = find
        self._output = output
        self._options = options
        self._clock = clock
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind((_HOST, 0))
        self._port: int = self._held.getsockname()[1]
        self._client = HttpClient(Origin(_HOST, self._port), max_idle=4)
        self._process: ForeignProcess | None = None
        self._starting = asyncio.Lock()
        self._is_closed = False
        self._cause = ""
        self._ends = 0
        self._since_s = 0.0
        self._start_at_s = 0.0

    @property
    def url(self) -> str:
        """Where it answers; the same after each start."""
        return f"http://{_HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The guard of the present process, 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_given_up(self) -> bool:
        """It ends again and again: only who needs it starts it now."""
        return self._ends >= _MOST_ENDS

    @property
    def is_running(self) -> bool:
        """There is a process, whether it answers or not."""
        return self._process is not None and not self._process.has_ended

    async def ready(self, *, is_doubted: bool = False) -> int:
        """The generation of the process that answers, which is started if there is none.

        One that is doubted has failed somebody: it may be about to end.
        Raises `MissingFramework`, and `LoadFailed` with why it does not come up.
        """
        async with self._starting:
            if is_doubted and self.is_running:
                await self._settle()
            if self._is_closed:
                raise LoadFailed("Salver is about to end, and starts no Triton")
            if not self.is_running:
                await asyncio.sleep(max(0.0, self._start_at_s - self._clock()))
                await self._start()
            return self.generation

    async def _settle(self) -> None:
        """Returns once the process answers, or has ended; ends one that does neither."""
        process = self._process
        assert process is not None
        deadline_s = self._clock() + _LIVE_S
        while not process.has_ended and not await self._is_live():
            if self._clock() >= deadline_s:
                await process.stop(0.0)
            await asyncio.sleep(_LOOK_S)

    async def load(self, name: str) -> None:
        """Has it load the repository's model anew. Raises `LoadFailed` with Triton's reason."""
        answer = await self._repository(name, "load")
        if answer.status != 200:
            raise LoadFailed(f"Triton could not load '{name}': {_reason(answer)}")

    async def unload(self, name: str) -> None:
        """Has it let go of the model, if it is there to be told so."""
        if not self.is_running:
            return
        try:
            await self._repository(name, "unload")
        except LoadFailed as error:
            logger.warning("model '%s' was not unloaded: %s", name, error)

    async def stop(self) -> None:
        """Ends it; a model that is asked for later starts another."""
        async with self._starting:
            await self._end()

    async def close(self) -> None:
        """Ends it for good, also while it starts."""
        self._is_closed = True
        await self._end()
        self._held.close()

    async def _end(self) -> None:
        process, self._process = self._process, None
        # Triton waits for whoever is still connected.
        self._client.close()
        if process is not None:
            await process.stop(self._options.grace_s)

    async def _repository(self, name: str, what: str) -> Answer:
        target = f"/v2/repository/models/{quote(name, safe='')}/{what}"
        headers = ((b"content-type", b"application/json"),)
        try:
            async with asyncio.timeout(self._options.load_timeout_s):
                return await self._client.ask(Request("POST", target, headers, b"{}"))
        except TimeoutError as error:
            limit_s = self._options.load_timeout_s
            raise LoadFailed(f"Triton did not {what} '{name}' within {limit_s:g} s") from error
        except (Unavailable, OSError) as error:
            raise LoadFailed(f"Triton ended before it had done the {what} of '{name}'") from error

    async def _start(self) -> None:
        program = self._find()
        command = tritonserver_command(program, self.repository, self._port)
        clear = ("/bin/sh", "-c", f"rm -f /dev/shm/{shared_memory_prefix(self._port)}*")
        launch = Launch(command, dict(os.environ), self._port, str(self.repository), clear)
        process = ForeignProcess(launch, self._output, self._on_end)
        logger.info("starting Triton: %s", " ".join(command))
        await process.start()
        self._process, self._since_s = process, self._clock()
        self.generation += 1
        deadline_s = self._since_s + self._options.start_timeout_s
        while not await self._is_live():
            if process.has_ended:
                raise LoadFailed(f"Triton ({program}) did not come up: {self._cause}")
            if self._clock() >= deadline_s:
                process.kill()
                limit_s = self._options.start_timeout_s
                raise LoadFailed(f"Triton ({program}) was not ready within {limit_s:g} s")
            await asyncio.sleep(_LOOK_S)

    async def _is_live(self) -> bool:
        try:
            async with asyncio.timeout(_LIVE_S):
                answer = await self._client.ask(Request("GET", "/v2/health/live"))
        except (Unavailable, OSError, TimeoutError):
            return False
        return answer.status == 200

    def _on_end(self, process: ForeignProcess, cause: str) -> None:
        if process is not self._process:
            return
        now_s = self._clock()
        if now_s - self._since_s >= _PROVEN_S:
            self._ends = 0
        self._ends += 1
        delay_s = backoff_s(self._ends)
        self._start_at_s = now_s + delay_s
        lines = " | ".join(self._output.read(_SHOWN_LINES))
        self._cause = f"it {cause}" + (f": {lines}" if lines else "")
        logger.warning("Triton: it %s; it is started again in %.1f s", cause, delay_s)
        self._client.close()
        self.on_lost()


def _reason(answer: Answer) -> str:
    try:
        text = str(json.loads(answer.body)["error"])
    except (ValueError, KeyError, TypeError):
        text = f"it answered {answer.status}"
    return " ".join(text.split())
