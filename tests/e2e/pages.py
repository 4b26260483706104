"""Runs a how-to as a reader would: writes its files, types its commands, compares the answers.

A yaml, python or json block whose first line is a comment with a file name becomes that file.
Commands run in order, in one folder, which has the project's `examples/`. `salver serve` goes on
in the background until the next one, on ports of its own; addresses in later commands are
replaced. Lines after a command are its answer: spaces, empty lines and ages may differ, and `...`
stands for anything, on a line of its own for any number of lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.documents import ROOT
from tests.e2e.server import Server, command, environment, wait_up

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w.-]+\.(?:yaml|py|json))\n")
_AGE = re.compile(r"\b\d+(\.\d+)?(ms|s|m)\b")
_ANY_LINES = r"(?:.*\n)*"
_LOOK = re.compile(r"salver (get|logs|describe|rollout history)|kubectl .*get|curl (?!.* -d )")
"""Commands that only look: what they are to show may take a moment."""
_LOOK_S = 5.0
_COMMAND_TIMEOUT_S = 60


class Typed(NamedTuple):
    """A command of a console block and the lines that are shown below it."""

    line: str
    shown: list[str]


class Run:
    """One page on its way: the folder, the server that runs now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.server: Server | None = None
        self.exported: dict[str, str] = {}
        (folder / "examples").symlink_to(ROOT / "examples")

    def read(self, page: Path) -> None:
        """Does what the page says; fails the test at the first thing that is otherwise."""
        for kind, text in _BLOCK.findall(page.read_text()):
            named = _FILE.match(text)
            if kind in ("yaml", "python") and named:
                (self.folder / named[1]).write_text(self._here(text))
            elif kind == "console":
                self.type(text)

    def type(self, text: str) -> None:
        """Types the commands of a console block; fails the test at the first that is otherwise."""
        for each in typed(text):
            self._type(each)

    def _type(self, typed: Typed) -> None:
        line = typed.line.partition("  #")[0].removeprefix(".venv/bin/")
        if line.startswith("salver serve"):
            self._serve(shlex.split(line)[2:])
            return
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.exported[name] = self._here(value)
            return
        environ = {**environment(), "HOME": str(self.folder), "KUBECONFIG": "/dev/null"}
        environ["PATH"] = _path()
        if self.server is not None:
            environ["SALVER_SERVER"] = self.server.url
        environ.update(self.exported)
        deadline_s = time.monotonic() + (_LOOK_S if _LOOK.match(line) else 0.0)
        while True:
            problem = self._problem(typed, line, environ)
            if not problem:
                return
            assert time.monotonic() < deadline_s, f"{line}: {problem}{self._log()}"
            time.sleep(0.2)

    def _problem(self, typed: Typed, line: str, environ: dict[str, str]) -> str:
        """Runs the command; what is not as the page says, empty if all is."""
        done = subprocess.run(
            ["bash", "-c", self._here(line.replace("curl ", "curl --fail-with-body "))],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            cwd=self.folder,
            env=environ,
        )
        if done.returncode:
            return f"{done.stdout}{done.stderr}"
        pattern = "\n".join(map(_pattern, typed.shown))
        pattern = pattern.replace(_ANY_LINES + "\n", _ANY_LINES)
        lines = filter(None, map(_plain, self._as_shown(done.stdout).splitlines()))
        got = "\n".join(lines) + "\n"
        if typed.shown and not re.fullmatch(pattern + "\n?", got):
            return f"the answer is another one: {got}"
        return ""

    def _serve(self, words: list[str]) -> None:
        self.stop()
        log = self.folder / "server.log"
        extra = ["--http-port", "0", "--grpc-port", "0", "--log-format", "json"]
        with log.open("w") as stderr:
            process = subprocess.Popen(
                command("serve", *words, *extra),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                cwd=self.folder,
                env={**environment(), "HOME": str(self.folder), "PATH": _path()},
            )
        self.stack.callback(_end, process)
        self.server = Server(process, wait_up(process, log, 60), log)

    def stop(self) -> None:
        """Ends the server, if one runs."""
        self.stack.close()
        self.server = None

    def _here(self, text: str) -> str:
        """The text with this run's addresses in place of the default ones."""
        text = text.replace("/path/to", str(self.folder))
        if self.server is None:
            return text
        text = text.replace("127.0.0.1:8080", self.server.url.removeprefix("http://"))
        return text.replace("127.0.0.1:8081", self.server.grpc)

    def _as_shown(self, text: str) -> str:
        text = text.replace(str(self.folder), "/path/to")
        if self.server is None:
            return text
        return text.replace(self.server.url.removeprefix("http://"), "127.0.0.1:8080")

    def _log(self) -> str:
        return "" if self.server is None else "\n" + self.server.log.read_text()[-2000:]


def _path() -> str:
    """Where commands are looked for: beside this interpreter first."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def typed(text: str) -> list[Typed]:
    """The commands of a console block; a backslash at the end continues one."""
    found: list[Typed] = []
    is_open = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Typed(line[2:], []))
        elif is_open:
            found[-1] = Typed(f"{found[-1].line}\n{line}", [])
        elif line.strip():
            found[-1].shown.append(line)
        is_open = line.endswith("\\")
    return found


def _plain(line: str) -> str:
    """The line without what differs from run to run."""
    return " ".join(_AGE.sub("0s", line).split())


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return _ANY_LINES
    return ".*".join(re.escape(_plain(part)) for part in line.split("..."))
