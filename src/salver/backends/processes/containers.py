"""A container as a foreign process: the OCI runtime's command line. Pure but for `find_engine`."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Mapping, Sequence

import msgspec

from salver.backends.processes.arguments import (
    MOUNT_PATH,
    controller_args,
    expand_variables,
)
from salver.backends.processes.process import Launch
from salver.errors import LoadFailed
from salver.graphs.plan import ContainerRunner

_PROGRAMS = ("podman", "docker", "nerdctl")
FLAGS_VARIABLE = "SALVER_CONTAINER_FLAGS"
ENGINE_VARIABLE = "SALVER_CONTAINER_ENGINE"


class ContainerEngine(msgspec.Struct, frozen=True):
    """The program that runs containers, and what a machine needs it to be told.

    `run_flags` go behind `run`. With `--network host` among them the container shares the
    machine's ports, and is told in `PORT` which one is its own.
    """

    program: str
    flags: tuple[str, ...] = ()
    run_flags: tuple[str, ...] = ()

    @property
    def shares_network(self) -> bool:
        flags = (*self.flags, *self.run_flags)
        follows = itertools.pairwise(flags)
        return any(each in ("--network=host", "--net=host") for each in flags) or any(
            pair in (("--network", "host"), ("--net", "host")) for pair in follows
        )


def find_engine(env: Mapping[str, str] = os.environ) -> ContainerEngine | None:
    """The OCI runtime of this machine: the one named, else podman, docker or nerdctl."""
    named = env.get(ENGINE_VARIABLE, "")
    flags = tuple(env.get(FLAGS_VARIABLE, "").split())
    split = flags.index("--") if "--" in flags else 0
    before, behind = flags[:split], flags[split + 1 :] if split else flags
    for program in (named,) if named else _PROGRAMS:
        path = shutil.which(program, path=env.get("PATH"))
        if path is not None:
            return ContainerEngine(path, before, behind)
    return None


def no_engine(image: str) -> LoadFailed:
    """What to tell a user who has none."""
    return LoadFailed(
        f"the container image '{image}' needs an OCI runtime, and this machine has none "
        f"({', '.join(_PROGRAMS)}): install podman, or give the container a 'command' that runs "
        "without it"
    )


def container_launch(
    engine: ContainerEngine,
    runner: ContainerRunner,
    *,
    container: str,
    name: str,
    port: int,
    model_path: str,
    env: Mapping[str, str],
    predictor_url: str = "",
) -> Launch:
    """The container as a process in the foreground. `port` is the machine's.

    `env` is that of the engine itself; the container gets only what the runner gives it.
    With a `predictor_url` it is a transformer or explainer, and gets KServe's arguments of one.
    """
    inner_port = port if engine.shares_network else runner.port
    given = _container_env(runner, name, inner_port, predictor_url)
    command = [engine.program, *engine.flags, "run", "--rm", "--name", container]
    command += ["--pull", "missing", *engine.run_flags]
    if not engine.shares_network:
        command += ["--publish", f"127.0.0.1:{port}:{runner.port}"]
    if model_path:
        command += ["--volume", f"{model_path}:{MOUNT_PATH}:ro"]
    for key, value in given.items():
        command += ["--env", f"{key}={value}"]
    if runner.working_dir:
        command += ["--workdir", runner.working_dir]
    # A pod's `command` replaces the image's entry point; its further words are arguments.
    if runner.command:
        command += ["--entrypoint", runner.command[0]]
    command.append(runner.image)
    words = (*runner.command[1:], *runner.args)
    if predictor_url:
        host = predictor_url.partition("://")[2]
        words = controller_args(words, name=name, predictor_host=host, port=inner_port)
    command += [expand_variables(each, given) for each in words]
    # Only podman waits before it kills.
    at_once = ("--time", "0") if "podman" in engine.program else ()
    after = (engine.program, *engine.flags, "rm", "--force", *at_once, container)
    return Launch(tuple(command), dict(env), port, after=after)


def seen_from_within(engine: ContainerEngine, url: str) -> str:
    """A URL of this machine's loopback as a container of the engine must write it."""
    if engine.shares_network:
        return url
    host = "containers" if "podman" in engine.program else "docker"
    return re.sub(r"(?<=://)(localhost|127\.[0-9.]+|\[::1\])", f"host.{host}.internal", url)


def _container_env(
    runner: ContainerRunner, name: str, port: int, predictor_url: str
) -> dict[str, str]:
    given = {"PORT": str(port)}
    if runner.protocol != "seldon":
        # Seldon's images keep the name of their class there.
        given["MODEL_NAME"] = name
    if predictor_url:
        given["PREDICTOR_URL"] = predictor_url
    if runner.uri:
        given["STORAGE_URI"] = runner.uri
        given["MODEL_DIR"] = MOUNT_PATH
    for key, value in runner.env:
        given[key] = expand_variables(value, given)
    given["PORT"] = str(port)
    return given


def container_name(parts: Sequence[str]) -> str:
    """A name that engines take: letters, digits, dots, dashes."""
    joined = "-".join(part for part in parts if part)
    return "salver-" + "".join(c if c.isalnum() or c in ".-" else "-" for c in joined)
