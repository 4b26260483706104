"""Makes, keeps and collects the Python environments of models.

An environment is named by a digest of its packages as solved and of its Python, so models that
agree share one. It is built in a folder of its own and renamed when complete: what is there
under its name is whole, also after a kill -9. What was solved once stays so until it is
collected, which makes a second start quick and independent of any index.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

import msgspec

from salver.backends.environments.index import configured_index
from salver.backends.environments.interpreters import Interpreter, Interpreters
from salver.backends.environments.locks import lock_shared
from salver.backends.environments.needs import code_folder, worker_environ
from salver.backends.environments.solving import (
    digest_of,
    has_unneeded_gpu_code,
    key_of,
    overrides,
    refuse_unusable,
    requirement_lines,
)
from salver.backends.environments.store import BUILDING, SOLVING, EnvironmentStore
from salver.backends.environments.uv import (
    OFFLINE,
    Progress,
    Uv,
    solve_command,
    sync_command,
    venv_command,
)
from salver.errors import EnvironmentFailed
from salver.inference.requirements import Requirements


class PreparedEnvironment(msgspec.Struct, frozen=True):
    """An environment that workers can run in: its Python, and the variables for its processes.

    `digest` is empty for the server's own environment. `packages` are pinned lines.
    """

    python: Path
    environ: dict[str, str]
    digest: str = ""
    packages: tuple[str, ...] = ()


class PythonEnvironments:
    """All environments below `root`. Used from one event loop.

    `python` is the server's own interpreter, `environ` the variables that workers start from.
    With `offline`, uv's cache is used and no index. `cache_limit_bytes`: so much of what is
    unused is kept by `collect`.
    """

    def __init__(
        self,
        root: Path,
        *,
        offline: bool = False,
        timeout_s: float = 600.0,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
        cache_limit_bytes: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root.absolute()
        self._store = EnvironmentStore(self._root, now)
        self._timeout_s = timeout_s
        self._environ = dict(os.environ if environ is None else environ)
        self._cache_limit_bytes = cache_limit_bytes
        self._own = python
        prefix = Path(python).parent.parent
        index = configured_index(self._environ, prefix)
        self._options = (*index.options, OFFLINE) if offline else index.options
        self._uv = Uv(self._environ | index.variables)
        self._interpreters = Interpreters(python, self._uv)
        self._builds: dict[str, _Build] = {}
        self._installs: dict[str, asyncio.Lock] = {}

    async def ensure(
        self, requirements: Requirements, on_progress: Progress = lambda _: None
    ) -> PreparedEnvironment:
        """The environment with these packages, made if it is not there yet.

        Callers that ask for the same share one build, which ends when none of them waits any
        more. Raises `EnvironmentFailed` with the reason.
        """
        if not requirements.is_needed:
            return PreparedEnvironment(Path(self._own), dict(self._environ))
        refuse_unusable(requirements)
        key = key_of(requirements)
        build = self._builds.get(key)
        if build is None:
            build = _Build(lambda told: self._made_in_time(requirements, told))
            self._builds[key] = build
            build.task.add_done_callback(lambda _: self._forget(key, build))
        return await build.joined(on_progress)

    async def collect(self, in_use: set[str]) -> tuple[str, ...]:
        """Removes environments that are neither in `in_use` (digests) nor another server's.

        The last used go last, and as many of them stay as fit into the cache's limit. Also
        clears away what a kill left behind. Returns the digests removed.
        """
        self._store.condemn_leftovers()
        installing = {digest for digest, lock in self._installs.items() if lock.locked()}
        removed, kept_bytes = [], 0
        for digest, content in self._store.unused(in_use | installing):
            kept_bytes += content.size_bytes
            if kept_bytes > self._cache_limit_bytes and self._store.condemn(digest):
                kept_bytes -= content.size_bytes
                removed.append(digest)
        await asyncio.to_thread(self._store.sweep)
        return tuple(removed)

    async def close(self) -> None:
        """Ends the builds, and gives up the hold on the environments handed out."""
        tasks = [build.task for build in self._builds.values()]
        for task in tasks:
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._store.close()

    def _forget(self, key: str, build: _Build) -> None:
        if self._builds.get(key) is build:
            del self._builds[key]

    async def _made_in_time(
        self, requirements: Requirements, on_progress: Progress
    ) -> PreparedEnvironment:
        what = f"the Python environment of {_described(requirements)} cannot be made"
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._made(requirements, on_progress)
        except TimeoutError:
            raise EnvironmentFailed(
                f"{what}: it was not complete after {self._timeout_s:g} s; allow it more time, or "
                "see whether the package index answers"
            ) from None
        except EnvironmentFailed as error:
            raise EnvironmentFailed(f"{what}: {error}") from error
        except OSError as error:
            raise EnvironmentFailed(
                f"{what}: {error.strerror or error} ({error.filename or self._root}); see to the "
                "disk's space and permissions"
            ) from error

    async def _made(self, requirements: Requirements, on_progress: Progress) -> PreparedEnvironment:
        self._root.mkdir(parents=True, exist_ok=True)
        interpreter = await self._interpreters.chosen(requirements, on_progress)
        key = f"{key_of(requirements)}-{interpreter.digest}"
        if (ready := self._ready(self._store.solved(key))) is not None:
            return ready
        on_progress(f"solving {_described(requirements)}")
        lock = await self._solved(requirements, interpreter, on_progress)
        digest = digest_of(lock, interpreter.digest)
        async with self._installs.setdefault(digest, asyncio.Lock()):
            if self._ready(digest) is None:
                await self._install(digest, lock, interpreter, on_progress)
        self._store.remember(key, digest)
        ready = self._ready(digest)
        if ready is None:
            raise EnvironmentFailed("it is not there although it was complete; try again")
        return ready

    def _ready(self, digest: str) -> PreparedEnvironment | None:
        """The environment of that name, if there is one."""
        content = self._store.content(digest) if digest else None
        if content is None:
            return None
        folder = self._store.folder(digest)
        environ = worker_environ(self._environ, folder, code_folder(self._root))
        return PreparedEnvironment(folder / "bin" / "python", environ, digest, content.packages)

    async def _solved(
        self, requirements: Requirements, interpreter: Interpreter, on_progress: Progress
    ) -> tuple[str, ...]:
        lock = await self._solve(requirements, interpreter, (), on_progress)
        if has_unneeded_gpu_code(lock):
            lock = await self._solve(requirements, interpreter, overrides(lock), on_progress)
        return lock

    async def _solve(
        self,
        requirements: Requirements,
        interpreter: Interpreter,
        replaced: tuple[str, ...],
        on_progress: Progress,
    ) -> tuple[str, ...]:
        texts = {
            "requirements": requirement_lines(requirements),
            "constraints": requirements.constraints,
            "overrides": replaced,
        }
        with tempfile.TemporaryDirectory(prefix=SOLVING, dir=self._root) as folder:
            files = {name: Path(folder) / f"{name}.txt" for name, lines in texts.items() if lines}
            for name, path in files.items():
                path.write_text("".join(line + "\n" for line in texts[name]))
            command = solve_command(interpreter.path, files, self._options)
            output = await self._uv.run(command, on_progress)
        lines = (line.strip() for line in output.splitlines())
        return tuple(line for line in lines if line and not line.startswith(("#", "-")))

    async def _install(
        self, digest: str, lock: tuple[str, ...], interpreter: Interpreter, on_progress: Progress
    ) -> None:
        """Builds beside and renames."""
        folder = Path(tempfile.mkdtemp(prefix=BUILDING, dir=self._root))
        descriptor = lock_shared(folder)
        try:
            wanted = folder / "lock.txt"
            wanted.write_text("".join(line + "\n" for line in lock))
            venv = venv_command(interpreter.path, folder / "env")
            await self._uv.run(venv, lambda _: None, held=(descriptor,))
            sync = sync_command(folder / "env", wanted, self._options)
            await self._uv.run(sync, on_progress, held=(descriptor,))
            await asyncio.to_thread(self._store.put, folder / "env", digest, lock)
        finally:
            os.close(descriptor)
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


class _Build:
    """One environment in the making, and those who wait for it."""

    def __init__(
        self, make: Callable[[Progress], Coroutine[None, None, PreparedEnvironment]]
    ) -> None:
        self._listeners: list[Progress] = []
        self.task = asyncio.get_running_loop().create_task(make(self._tell))

    async def joined(self, on_progress: Progress) -> PreparedEnvironment:
        self._listeners.append(on_progress)
        try:
            return await asyncio.shield(self.task)
        finally:
            self._listeners.remove(on_progress)
            if not self._listeners and not self.task.done():
                self.task.cancel()

    def _tell(self, text: str) -> None:
        for listener in list(self._listeners):
            listener(text)


def _described(requirements: Requirements) -> str:
    shown = ", ".join(requirements.packages[:4]) or f"Python {requirements.python}"
    if len(requirements.packages) > 4:
        shown += f" and {len(requirements.packages) - 4} more"
    return f"{shown} ({requirements.origin})" if requirements.origin else shown
