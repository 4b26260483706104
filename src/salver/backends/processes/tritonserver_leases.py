"""The Triton servers of this machine, and who needs which model of them.

A worker of a model that Triton runs asks for it over a socket and holds it for as long as it is
connected (`runtimes/tritonserver_lease.py`). One Triton has all models, since each process costs
hundreds of megabytes on a GPU; only a model whose name is taken by another folder, as in a canary,
gets a second one. A model that nobody holds is unloaded after a moment, a Triton without models
ended. No Triton runs before the first model is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from salver.backends.processes.output import OutputLog
from salver.backends.processes.tritonserver import TritonChild, TritonOptions
from salver.engine.queue import Clock
from salver.errors import ArtifactError, LoadFailed, MissingFramework

logger = logging.getLogger("salver.processes")

_LINGER_S = 5.0
"""How long a model is kept that nobody holds: a worker that has died is soon replaced."""
_LEAVE_S = 1.0
"""How long workers, which have been told to end, may take to let go of their models."""
_MOST_LINE_BYTES = 1 << 16
_MOST_FILES = 10_000


class Wish(msgspec.Struct, frozen=True):
    """What a worker asks for: Triton's `name` for the model, its folder, and what people call it.

    `backend` is what the configuration names, for the error where there is no Triton; `lost` is
    the generation of Triton that did not answer it, 0 if it has asked none.
    """

    name: str
    folder: str
    backend: str = ""
    model: str = ""
    lost: int = 0


class _Model:
    """A model that a Triton has, or is to have."""

    def __init__(self, name: str, folder: str, child: TritonChild) -> None:
        self.name = name
        self.folder = folder
        self.child = child
        self.holders = 0
        self.loading = asyncio.Lock()
        self.loaded: tuple[int, str] = (0, "")
        """The child's generation and the state of the files that it has loaded."""


class TritonLeases:
    """Gives workers what they ask for, by a socket in `folder`, which is its own and has Triton's
    repositories. `find` gives Triton's program; `open_log` a log by name."""

    def __init__(
        self,
        folder: Path,
        find: Callable[[], str],
        open_log: Callable[[str], OutputLog],
        options: TritonOptions,
        *,
        clock: Clock = time.monotonic,
        linger_s: float = _LINGER_S,
    ) -> None:
        self._find = find
        self._open_log = open_log
        self._options = options
        self._clock = clock
        self._linger_s = linger_s
        self._folder = folder
        self._server: asyncio.Server | None = None
        self._children: list[TritonChild] = []
        self._models: dict[tuple[TritonChild, str], _Model] = {}
        self._restoring: set[TritonChild] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()
        """Those that have a model, or ask for one."""
        self._is_closed = False

    @property
    def address(self) -> str:
        """The socket's path, which workers are told."""
        return str(self._folder / "leases")

    @property
    def pids(self) -> list[int]:
        """The guards of the processes that run."""
        return [child.pid for child in self._children if child.pid]

    async def start(self) -> None:
        """Listens from now on."""
        self._server = await asyncio.start_unix_server(
            self._on_worker, self.address, limit=_MOST_LINE_BYTES
        )

    async def close(self) -> None:
        """Ends all Tritons, once the workers have gone; these are not waited for for long."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        if self._workers:
            await asyncio.wait(self._workers, timeout=_LEAVE_S)
        tasks = [*self._workers, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(child.close() for child in self._children))
        shutil.rmtree(self._folder, ignore_errors=True)

    # One worker.

    def _on_worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of its own, since asyncio would log that its own has been cancelled.
        self._spawn(self._serve(reader, writer), self._workers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A worker's connection: it lasts as long as the worker, so it has no deadline."""
        held: _Model | None = None
        try:
            while line := await reader.readline():
                wish = msgspec.json.decode(line, type=Wish)
                if "/" in wish.name or wish.name in ("", ".", ".."):
                    raise ValueError(f"{wish.name!r} cannot be the name of a folder")
                if held is None:
                    held = self._taken(wish)
                writer.write(msgspec.json.encode(await self._answer(wish, held)) + b"\n")
                await writer.drain()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            logger.warning("a worker's wish for a model of Triton's cannot be heard: %s", error)
        finally:
            writer.close()
            if held is not None:
                self._let_go(held)

    async def _answer(self, wish: Wish, held: _Model) -> dict[str, Any]:
        try:
            await self._bring_up(held, wish.lost)
        except MissingFramework as error:
            backend = f" (backend '{wish.backend}')" if wish.backend else ""
            text = f"model '{wish.model}'{backend} is run by NVIDIA's Triton, and {error}"
            return {"error": text, "is_missing": True}
        except ArtifactError as error:
            return {"error": f"model '{wish.model}': {error}; see the log 'tritonserver'"}
        return {"url": held.child.url, "generation": held.loaded[0]}

    # Which models there are.

    def _taken(self, wish: Wish) -> _Model:
        """The model, held once more."""
        model = self._find_model(wish) or self._new_model(wish)
        model.holders += 1
        return model

    def _find_model(self, wish: Wish) -> _Model | None:
        found = (self._models.get((child, wish.name)) for child in self._children)
        return next((each for each in found if each and each.folder == wish.folder), None)

    def _new_model(self, wish: Wish) -> _Model:
        free = [each for each in self._children if (each, wish.name) not in self._models]
        child = free[0] if free else self._new_child()
        model = _Model(wish.name, wish.folder, child)
        self._models[child, wish.name] = model
        return model

    def _new_child(self) -> TritonChild:
        number = len(self._children) + 1
        repository = self._folder / f"repository-{number}"
        repository.mkdir()
        name = "tritonserver" if number == 1 else f"tritonserver-{number}"
        child = TritonChild(
            self._find, repository, self._open_log(name), self._options, clock=self._clock
        )
        child.on_lost = partial(self._on_lost, child)
        self._children.append(child)
        return child

    async def _bring_up(self, model: _Model, lost: int = 0) -> None:
        """Returns once Triton has the model as its files are now. Raises `ArtifactError`."""
        async with model.loading:
            is_doubted = lost == model.child.generation
            generation = await model.child.ready(is_doubted=is_doubted)
            state = await asyncio.to_thread(_state_of, Path(model.folder))
            if model.loaded == (generation, state) and not is_doubted:
                return
            _link(model.child.repository / model.name, model.folder)
            await model.child.load(model.name)
            model.loaded = (generation, state)

    def _on_lost(self, child: TritonChild) -> None:
        if child not in self._restoring:
            self._restoring.add(child)
            self._spawn(self._restore(child))

    async def _restore(self, child: TritonChild) -> None:
        """Brings it and the models that somebody holds back, so that whoever asks finds them."""
        try:
            while not child.is_running and not child.is_given_up and self._held_of(child):
                try:
                    for model in self._held_of(child):
                        await self._bring_up(model)
                except MissingFramework as error:
                    logger.error("Triton cannot be started again: %s", error)
                    return
                except ArtifactError as error:
                    logger.warning("Triton, started again: %s", error)
        finally:
            self._restoring.discard(child)
        if child.is_given_up:
            logger.error("Triton ends again and again: it is started when a model needs it")

    def _held_of(self, child: TritonChild) -> list[_Model]:
        return [each for each in self._models.values() if each.child is child and each.holders]

    # Models that nobody needs any more.

    def _let_go(self, model: _Model) -> None:
        model.holders -= 1
        if not model.holders and not self._is_closed:
            self._spawn(self._drop_later(model))

    async def _drop_later(self, model: _Model) -> None:
        await asyncio.sleep(self._linger_s)
        async with model.loading:
            if model.holders or self._models.get((model.child, model.name)) is not model:
                return
            model.loaded = (0, "")
            if any(
                each is not model and each.child is model.child for each in self._models.values()
            ):
                await model.child.unload(model.name)
            else:
                await model.child.stop()
            # Somebody may have asked for it meanwhile, and waits for his turn.
            if not model.holders:
                del self._models[model.child, model.name]
                with contextlib.suppress(OSError):
                    (model.child.repository / model.name).unlink()

    def _spawn(
        self, work: Coroutine[None, None, None], among: set[asyncio.Task[None]] | None = None
    ) -> None:
        tasks = self._tasks if among is None else among
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _link(place: Path, folder: str) -> None:
    """The repository's entry for a model. Raises `LoadFailed`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        place.symlink_to(folder, target_is_directory=True)
    except OSError as error:
        raise LoadFailed(f"{place} cannot be linked to {folder}: {error.strerror}") from error


def _state_of(folder: Path) -> str:
    """What changes when the model's files do. Looks at the first ten thousand of them."""
    digest = hashlib.sha256()
    count = 0
    for parent, folders, files in os.walk(folder):
        # Triton's Python backend writes what Python keeps of a module beside it.
        folders[:] = sorted(each for each in folders if each != "__pycache__")
        for name in sorted(files):
            count += 1
            if count > _MOST_FILES:
                return digest.hexdigest()
            with contextlib.suppress(OSError):
                facts = (Path(parent) / name).stat()
                digest.update(f"{parent}/{name}/{facts.st_mtime_ns}/{facts.st_size}\n".encode())
    return digest.hexdigest()
