"""Models fetched by somebody else's program: ClusterStorageContainers as sources of storage.

Decides which program a URI is for, and runs it: `command args SOURCE FOLDER`, as KServe runs
its storage initializers, under the guard, with the fetch's deadline. What it leaves in the
folder is stored like any other artifact. KServe's own initializer is not run: storage stands
in for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from salver.backends.processes.arguments import MOUNT_PATH, expand_variables
from salver.backends.processes.containers import ContainerEngine, find_engine, no_engine
from salver.backends.processes.process import GUARD
from salver.control.variables import LookUp, resolved
from salver.errors import StorageError
from salver.graphs.runners import env_references
from salver.spec.kserve_runtimes import ClusterStorageContainer, UriFormat
from salver.storage.ports import CustomSource, FetchOrder, Listing
from salver.storage.transfer import Cancelled, TimedOut, Transfer
from salver.storage.tree import stat_digest

_OWN_IMAGE = "storage-initializer"
_LOOK_S = 0.25
_END_S = 10.0
_SHOWN_BYTES = 500


class StoragePrograms:
    """Implements storage's `CustomSources`."""

    def __init__(
        self,
        containers: Callable[[], Iterable[ClusterStorageContainer]],
        *,
        look_up: LookUp,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._containers = containers
        self._look_up = look_up
        self._environ = environ

    def __call__(self, order: FetchOrder, uri: str) -> CustomSource | None:
        """The program of that URI, if there is one. Raises `ArtifactError` if it cannot run."""
        for each in self._containers():
            if is_enabled(each) and any(fits(uri, one) for one in each.spec.supported_uri_formats):
                return CustomSource(identity_of(each), self._source(each, order, uri))
        return None

    def _source(self, found: ClusterStorageContainer, order: FetchOrder, uri: str) -> ProgramSource:
        container = found.spec.container
        env = dict(resolved(env_references(container), order.namespace, self._look_up))
        for each in container.env:
            if not each.value_from:
                env[each.name] = expand_variables(each.value, {**self._environ, **env})
        words = (*container.command, *container.args)
        if container.command:
            folder = container.working_dir
            own = {
                key: text for key, text in self._environ.items() if not key.startswith("SALVER_")
            }
            return ProgramSource(Program(words, {**own, **env}, folder), uri)
        engine = find_engine(self._environ)
        if engine is None:
            raise StorageError(f"{uri}: {no_engine(container.image)}")
        program = Program(words, dict(self._environ), "", engine, container.image, env)
        return ProgramSource(program, uri)


class Program(msgspec.Struct, frozen=True):
    """What is run: a command here, or an image by the engine, with `inner_env` in it."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str = ""
    engine: ContainerEngine | None = None
    image: str = ""
    inner_env: Mapping[str, str] = {}

    def command(self, uri: str, folder: Path) -> tuple[list[str], list[str]]:
        """The whole command line, and the one that clears up after it, if any."""
        engine = self.engine
        if engine is None:
            return [*self.words, uri, str(folder)], []
        name = f"salver-fetch-{uuid.uuid4().hex[:12]}"
        start = [engine.program, *engine.flags]
        given = [
            part for key, text in self.inner_env.items() for part in ("--env", f"{key}={text}")
        ]
        run = [*start, "run", "--rm", "--name", name, *engine.run_flags, *given]
        run += ["--volume", f"{folder}:{MOUNT_PATH}", self.image, *self.words, uri, MOUNT_PATH]
        return run, [*start, "rm", "--force", name]


class ProgramSource:
    """Implements storage's `Source` by a program. It cannot say what there is, only fetch it."""

    def __init__(self, program: Program, uri: str) -> None:
        self._program = program
        self._uri = uri

    def listing(self, transfer: Transfer) -> Listing:
        """Nothing is known before it is fetched."""
        return Listing((), "")

    def collect(self, listing: Listing, work: Path, transfer: Transfer) -> Path:
        """Runs the program, and returns the folder it has filled."""
        folder = work / "model"
        folder.mkdir()
        command, after = self._program.command(self._uri, folder)
        with tempfile.TemporaryFile() as output:
            code = self._run(command, after, output.fileno(), folder, transfer)
            said = _end_of(output.fileno())
        if code:
            how = f"ended with status {code}" if code > 0 else f"was killed by signal {-code}"
            raise StorageError(
                f"{transfer.uri}: '{command[0]}' {how}; it wrote: {said or 'nothing'}"
            )
        if not any(folder.iterdir()):
            raise StorageError(
                f"{transfer.uri}: '{command[0]}' ended well and left nothing in the folder it was "
                "given as its last argument; correct the program"
            )
        return folder

    def _run(
        self, command: list[str], after: list[str], output: int, folder: Path, transfer: Transfer
    ) -> int:
        """The exit code. The program and all it has started are gone then, whatever happened."""
        ours, theirs = socket.socketpair()
        guard = [sys.executable, "-I", "-S", str(GUARD), str(theirs.fileno())]
        extra = ["--after", json.dumps(after)] if after else []
        with ours:
            with theirs:
                process = self._started([*guard, *extra, "--", *command], theirs, output, transfer)
            try:
                while process.poll() is None:
                    _note_progress(folder, transfer)
                    transfer.check()
                    select.select([ours], [], [], _LOOK_S)
            except (Cancelled, TimedOut):
                with contextlib.suppress(OSError):
                    ours.send(b"k")
                process.wait(_END_S)
                raise
        _note_progress(folder, transfer)
        return process.returncode

    def _started(
        self, command: list[str], control: socket.socket, output: int, transfer: Transfer
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self._program.env),
                cwd=self._program.working_dir or None,
                pass_fds=(control.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            raise StorageError(
                f"{transfer.uri}: its program cannot be started in "
                f"{self._program.working_dir or '.'}: {error.strerror or error}"
            ) from error


def is_enabled(container: ClusterStorageContainer) -> bool:
    """Whether its program is to be used. KServe's own is not: storage knows its URIs."""
    spec = container.spec
    is_own = not spec.container.command and _OWN_IMAGE in spec.container.image.rsplit("/", 1)[-1]
    return not (container.disabled or spec.disabled or is_own)


def fits(uri: str, form: UriFormat) -> bool:
    """Whether the URI is of that form."""
    if form.prefix and uri.startswith(form.prefix):
        return True
    return bool(form.regex and re.match(form.regex, uri))


def identity_of(container: ClusterStorageContainer) -> str:
    """The same for the same program: what it fetched before is still good."""
    text = msgspec.json.encode(container.spec.container, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


def _note_progress(folder: Path, transfer: Transfer) -> None:
    with contextlib.suppress(OSError):
        # Files come and go while it works.
        transfer.advance(stat_digest(folder)[1] - transfer.done_bytes)


def _end_of(output: int) -> str:
    size = os.fstat(output).st_size
    text = os.pread(output, _SHOWN_BYTES, max(0, size - _SHOWN_BYTES))
    return " | ".join(text.decode(errors="replace").split("\n")).strip(" |")
