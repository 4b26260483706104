"""Chooses the Python for an environment, among those on this machine. Downloads none."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from salver.backends.environments.needs import OLDEST_PYTHON
from salver.backends.environments.uv import Progress, Uv
from salver.errors import EnvironmentFailed
from salver.inference.requirements import Requirements

_PROGRAM = (
    "import sys, sysconfig, platform; print(platform.python_version(), "
    "sys.implementation.cache_tag, sysconfig.get_platform(), sys.base_prefix, sep='\\n')"
)
_TIMEOUT_S = 30.0


class Interpreter(msgspec.Struct, frozen=True):
    """A Python; `digest` tells apart those that need packages of their own."""

    path: str
    version: str
    digest: str


class Interpreters:
    """The Pythons of this machine; `own` is the server's, the first choice."""

    def __init__(self, own: str, uv: Uv) -> None:
        self._own = own
        self._uv = uv
        self._known: dict[str, Interpreter] = {}

    async def chosen(self, requirements: Requirements, on_progress: Progress) -> Interpreter:
        """The interpreter for a model. Raises `EnvironmentFailed` if there is no suitable one."""
        own = await self._asked(self._own)
        wanted = requirements.python
        if not wanted or is_python(own.version, wanted):
            return own
        oldest = ".".join(str(each) for each in OLDEST_PYTHON)
        if is_too_old(wanted):
            reason = f"Salver runs on Python {oldest} or newer"
        else:
            try:
                found = await self._uv.run(_find(wanted), lambda _: None)
                return await self._asked(found.strip())
            except EnvironmentFailed:
                reason = "this machine has none"
        if not requirements.python_is_preferred:
            raise EnvironmentFailed(
                f"it needs Python {wanted}, and {reason}; install one, or ask for {own.version}"
            )
        on_progress(f"Python {wanted} is asked for, and {reason}: using {own.version}")
        return own

    async def _asked(self, path: str) -> Interpreter:
        """What the interpreter says of itself."""
        if path not in self._known:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    process = await asyncio.create_subprocess_exec(
                        path, "-I", "-c", _PROGRAM, **_PIPES
                    )
                    output, _ = await process.communicate()
            except (OSError, TimeoutError) as error:
                raise EnvironmentFailed(f"{path} is no Python that works: {error}") from error
            lines = output.decode().split()
            if process.returncode != 0 or len(lines) < 2:
                raise EnvironmentFailed(f"{path} is no Python that works")
            digest = hashlib.sha256(output).hexdigest()[:12]
            self._known[path] = Interpreter(path, lines[0], digest)
        return self._known[path]


_PIPES: dict[str, Any] = {
    "stdin": asyncio.subprocess.DEVNULL,
    "stdout": asyncio.subprocess.PIPE,
    "stderr": asyncio.subprocess.DEVNULL,
}


def _find(wanted: str) -> list[str]:
    from salver.backends.environments.uv import find_command

    return find_command(wanted if not wanted[0].isdigit() else _minor(wanted))


def is_python(version: str, wanted: str) -> bool:
    """Whether a Python of that version will do for `wanted`: `3.12`, `3.12.4` or `>=3.9`.

    The last digit is not insisted on: packages do not depend on it.
    """
    try:
        if wanted[0].isdigit():
            return _minor(version) == _minor(wanted)
        return SpecifierSet(wanted).contains(version)
    except (InvalidSpecifier, InvalidVersion):
        return False


def is_too_old(wanted: str) -> bool:
    """Whether it is a version before the oldest that Salver runs on."""
    try:
        return Version(wanted).release[:2] < OLDEST_PYTHON
    except InvalidVersion:
        return False


def _minor(version: str) -> str:
    return ".".join(str(each) for each in Version(version).release[:2])
