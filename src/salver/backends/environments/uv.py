"""Runs uv: its command lines, its progress, and the reason when it fails, on one line.

Owns the child process and its end: whoever stops waiting for it has it killed. Never lets uv
download a Python, read the project of the current folder, or ask anything on a terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from salver.errors import EnvironmentFailed

Progress = Callable[[str], None]

OFFLINE = "--offline"
_ALWAYS = ("--color", "never", "--no-progress", "--no-python-downloads")
_WHEELS_ONLY = (
    "catboost",
    "lightgbm",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "torch",
    "xgboost",
    "xgboost-cpu",
)
"""Building these from source takes compilers and an hour: better to say that it cannot be."""
_MAX_LINE_BYTES = 1 << 20
_MAX_REASON = 600
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_TOLD_ANYWAY = "we can conclude that your requirements are unsatisfiable"


def solve_command(python: str, files: Mapping[str, Path], options: Sequence[str]) -> list[str]:
    """Prints the packages that `files` ask for (`requirements`, `constraints`, `overrides`).

    `options` say whether the network and the index may be used.
    """
    command = ["pip", "compile", str(files["requirements"]), "--python", python]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", *_wheels_only()]
    if "constraints" in files:
        command += ["--constraints", str(files["constraints"])]
    if "overrides" in files:
        command += ["--overrides", str(files["overrides"])]
    return [*command, *_ALWAYS, *options]


def venv_command(python: str, folder: Path) -> list[str]:
    """Makes an empty environment that may be moved."""
    command = ["venv", str(folder), "--python", python, "--no-project", "--relocatable"]
    return [*command, *_ALWAYS, OFFLINE]


def sync_command(folder: Path, lock: Path, options: Sequence[str]) -> list[str]:
    """Installs exactly what `lock` lists."""
    python = str(folder / "bin" / "python")
    command = ["pip", "sync", str(lock), "--python", python, *_wheels_only()]
    return [*command, *_ALWAYS, *options]


def find_command(version: str) -> list[str]:
    """Prints the path of an interpreter of that version on this machine."""
    return ["python", "find", version, "--no-project", *_ALWAYS, OFFLINE]


def _wheels_only() -> list[str]:
    return [word for name in _WHEELS_ONLY for word in ("--only-binary", name)]


class Uv:
    """The tool of this installation; `environ` are the variables it runs with."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)

    async def run(
        self, arguments: Sequence[str], on_progress: Progress, *, held: Sequence[int] = ()
    ) -> str:
        """What uv prints; `held` are descriptors that stay open until it has ended.

        Raises `EnvironmentFailed` with its reason. If this is cancelled, uv is killed.
        """
        run = _Run()
        work = asyncio.ensure_future(self._work(run, arguments, on_progress, held))
        try:
            # A process in the making must not be lost: it is ended by a kill, never by a cancel.
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            run.stop()
            await asyncio.wait({work})
            work.exception()
            raise

    async def _work(
        self, run: _Run, arguments: Sequence[str], on_progress: Progress, held: Sequence[int]
    ) -> str:
        process = await self._start(arguments, held)
        run.started(process)
        assert process.stdout is not None and process.stderr is not None
        output, errors = await asyncio.gather(
            process.stdout.read(), _lines(process.stderr, on_progress)
        )
        code = await process.wait()
        if code != 0:
            raise EnvironmentFailed(reason_in(errors) or f"uv ended with code {code}")
        return output.decode(errors="replace")

    async def _start(
        self, arguments: Sequence[str], held: Sequence[int]
    ) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                uv_program(),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MAX_LINE_BYTES,
                env=self._environ,
                # A project's settings in the folder that the server was started in are not ours.
                cwd="/",
                pass_fds=held,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentFailed(
                f"uv cannot be started: {error.strerror or error}; reinstall it with pip install uv"
            ) from error


class _Run:
    """A process that can be stopped at any time, even before it has started."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._is_stopped = False

    def started(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        if self._is_stopped:
            self.stop()

    def stop(self) -> None:
        """Kills the process and what it has started; its pipes then come to their ends."""
        self._is_stopped = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def uv_program() -> str:
    """The path of uv's program. Raises `EnvironmentFailed` if it is not installed."""
    try:
        import uv

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise EnvironmentFailed("uv is not installed; run: pip install uv") from error


async def _lines(stream: asyncio.StreamReader, on_progress: Progress) -> list[str]:
    """All lines of the stream, each told as it comes."""
    found: list[str] = []
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than any line of interest
            continue
        if not line:
            return found
        text = without_credentials(line.decode(errors="replace").rstrip())
        found.append(text)
        if text and not text.startswith((" ", "error", "warning", "hint", "Using ")):
            on_progress(text)


def reason_in(lines: Sequence[str]) -> str:
    """The reason that uv gives among its lines, on one line, without what all of them say."""
    start = next((i for i, line in enumerate(lines) if line.startswith("error:")), None)
    if start is None:
        return " ".join(" ".join(lines[-3:]).split())
    parts: list[str] = []
    for line in lines[start:]:
        text = line.strip()
        is_new = text.startswith(("error:", "cause:", "hint:", "Caused by:"))
        text = re.sub(r"^(?:error|cause|Caused by):\s*", "", text)
        if is_new and text:
            parts.append(text)
        elif text and parts:
            parts[-1] += " " + text
    if len(parts) > 1 and parts[0].startswith("No solution found"):
        parts = parts[1:]
    reason = "; ".join(dict.fromkeys(part.rstrip(".") for part in parts))
    reason = reason.replace(_TOLD_ANYWAY, "there is no solution")
    return reason if len(reason) <= _MAX_REASON else reason[: _MAX_REASON - 3] + "..."


def without_credentials(text: str) -> str:
    """The text with the user and password taken out of every URL."""
    return _CREDENTIALS.sub("", text)
