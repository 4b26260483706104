"""The commands there are: what each is for, and which module has it.

Names alone: a module is imported when its command runs, so that `salver --help` stays quick.
Each has `DESCRIPTION`, `EXAMPLES`, `configure(parser)` and `run(arguments, session)`.
"""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from salver.cli.session import Session


class Command(NamedTuple):
    """One command. `failure` is its exit code when it cannot do what it was asked to."""

    summary: str
    group: str
    module: str = ""
    failure: int = 1


class CommandModule(Protocol):
    """What the module of a command has."""

    USAGE: str
    DESCRIPTION: str
    EXAMPLES: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's own arguments."""

    def run(self, arguments: argparse.Namespace, session: Session) -> int:
        """Does it; gives the exit code."""


SERVE, CHANGE, LOOK, CALL, SHELL = (
    "serving",
    "changing what is served",
    "looking",
    "calling",
    "the shell",
)

COMMANDS: dict[str, Command] = {
    "serve": Command("serve models over HTTP and gRPC", SERVE),
    "tune": Command("find workers, threads and batch limit for a latency goal", SERVE, "tune"),
    "apply": Command("create or change resources as files say", CHANGE, "apply"),
    "delete": Command("delete resources by name or as files say", CHANGE, "delete"),
    "scale": Command("set how many replicas there are", CHANGE, "scale"),
    "rollout": Command("follow, pause, promote or undo a rollout", CHANGE, "rollout"),
    "get": Command("list resources, as a table, YAML, JSON, ...", LOOK, "get"),
    "describe": Command("show all about a resource, with its events", LOOK, "describe"),
    "logs": Command("print what a model's workers log", LOOK, "logs"),
    "pipeline": Command("show the last values on a pipeline's edges", LOOK, "pipeline"),
    "events": Command("list what happened", LOOK, "events"),
    "top": Command("show load, latency, memory and CPU of each model", LOOK, "top"),
    "graph": Command("draw a graph, with its traffic and latency", LOOK, "graph"),
    "router": Command("look at, steer and judge routers that learn", LOOK, "router"),
    "diff": Command("show what apply would change", LOOK, "diff", failure=2),
    "wait": Command("wait until resources are ready, or gone", LOOK, "wait"),
    "explain": Command("say what a field means", LOOK, "explain"),
    "predict": Command("send data to a model and print its answer", CALL, "predict"),
    "completion": Command("print a script that completes commands", SHELL, "completion"),
}

HIDDEN: dict[str, Command] = {"__complete": Command("candidates", SHELL, "complete")}


def find_module(command: Command) -> CommandModule:
    """The module of the command, imported now."""
    return cast(CommandModule, importlib.import_module(f"salver.cli.{command.module}"))
