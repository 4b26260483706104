"""The one place that decides in which Python environment a model's workers run.

For models of the command line, of the pool and of revisions alike: what a model needs is
`artifacts/requirements.py`'s to say, making it the environments', and here is what follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from salver.artifacts.layout import ModelTarget
from salver.backends.environments.manager import PreparedEnvironment
from salver.backends.local.environment import Environment
from salver.errors import EnvironmentFailed
from salver.inference.requirements import Requirements
from salver.spec.triton_url import TRITONSERVER

logger = logging.getLogger("salver.environments")

Progress = Callable[[str], None]
ForkServer = Callable[[str, Sequence[str], PreparedEnvironment | None], Environment]
"""The fork server of a runtime, with these modules imported, in an environment."""


class Environments(Protocol):
    """Where Python environments come from."""

    async def ensure(
        self, requirements: Requirements, on_progress: Callable[[str], None] = ...
    ) -> PreparedEnvironment: ...


def _ignore(text: str) -> None:
    """The `Progress` for those whom nobody follows."""


class Suited(msgspec.Struct, frozen=True):
    """The fork server that a model's workers come from.

    `caveat` says, for people, that it is not the one the model asks for, and why.
    """

    environment: Environment
    caveat: str = ""


class ModelEnvironments:
    """Finds what a model needs and has it made."""

    def __init__(self, environments: Environments | None, fork_server: ForkServer) -> None:
        """Without `environments` every model gets the server's own."""
        self._environments = environments
        self._fork_server = fork_server
        self.choosing = 0
        """How many models are being suited now; meanwhile no environment is to be collected."""
        self.steps: dict[str, str] = {}
        """What goes on for those whose environments are being made, for people."""

    async def suited(
        self,
        target: ModelTarget,
        *,
        runtime_version: str = "",
        declared: Requirements | None = None,
        on_progress: Progress = _ignore,
    ) -> Suited:
        """The environment of the model at the target, made if it is not there.

        Versions that only the model file records are worth a try with the server's own, if
        they cannot be had (its worker warns of it); what a person has asked for is not:
        `EnvironmentFailed` is raised.
        Raises `ArtifactError` for a requirements file that cannot be understood.
        """
        if target.runtime == TRITONSERVER:
            # Its packages, if it needs any, are Triton's to find.
            return self._own(target)
        declared = declared if declared is not None and declared.is_needed else target.requirements
        self.choosing += 1
        try:
            needed, substitute = await asyncio.to_thread(_needed, target, runtime_version, declared)
            for note in needed.notes:
                logger.info("model '%s': %s", target.name, note)
            if self._environments is None or not needed.is_needed:
                return self._own(target)
            tell = self._told(target.name, on_progress)
            tell(f"{len(needed.packages)} packages, {needed.origin}")
            try:
                prepared = await self._environments.ensure(needed, tell)
            except EnvironmentFailed as error:
                if not substitute:
                    raise
                caveat = f"it runs with {substitute}, since {error}"
                return self._own(target, caveat)
            return Suited(self._fork_server(target.runtime, target.preload, prepared))
        finally:
            self.choosing -= 1
            self.steps.pop(target.name, None)

    def _told(self, name: str, on_progress: Progress) -> Progress:
        def tell(text: str) -> None:
            self.steps[name] = f"building its environment: {text}"
            on_progress(text)

        return tell

    def _own(self, target: ModelTarget, caveat: str = "") -> Suited:
        return Suited(self._fork_server(target.runtime, target.preload, None), caveat)


def _needed(
    target: ModelTarget, runtime_version: str, declared: Requirements | None
) -> tuple[Requirements, str]:
    """What the model needs; and what of the server's own may be tried in its place, if any."""
    # Imported here: it takes a while, in which fork servers import more.
    from salver.artifacts.requirements import own_substitute, requirements_of

    needed = requirements_of(
        target.path, target.runtime, runtime_version=runtime_version, declared=declared
    )
    return needed, own_substitute(needed)
