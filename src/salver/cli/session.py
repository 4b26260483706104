"""What a command works with: the server, the namespace, the terminal and the clock.

One for each run of the command line; tests make their own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TextIO

from salver.cli.client import DEFAULT_SERVER, Client
from salver.cli.terminal import Style, style_of

DEFAULT_NAMESPACE = "default"


class Session:
    """Where a command reads, writes and asks."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        environ: Mapping[str, str],
        *,
        out: TextIO,
        err: TextIO,
        stdin: TextIO,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._arguments = arguments
        self.environ = environ
        self.out, self.err, self.stdin = out, err, stdin
        self.clock, self.sleep = clock, sleep
        given = getattr(arguments, "namespace", None)
        self.namespace: str = given or environ.get("SALVER_NAMESPACE") or DEFAULT_NAMESPACE
        self.is_namespace_given: bool = bool(given)

    @property
    def scope(self) -> str:
        """The namespace to list in; empty where `-A` asks for all of them."""
        return "" if getattr(self._arguments, "all_namespaces", False) else self.namespace

    @cached_property
    def client(self) -> Client:
        """The server that is asked."""
        return self.new_client()

    def new_client(self) -> Client:
        """Another connection to the same server."""
        arguments = self._arguments
        return Client(
            getattr(arguments, "server", "") or self.environ.get("SALVER_SERVER") or DEFAULT_SERVER,
            api_key=getattr(arguments, "api_key", "") or self.environ.get("SALVER_API_KEY", ""),
            timeout_s=_timeout_s(getattr(arguments, "request_timeout", "")),
            cacert=getattr(arguments, "cacert", "") or "",
            on_warning=self.warn,
        )

    @cached_property
    def style(self) -> Style:
        """How to paint what goes to `out`."""
        return style_of(self.out, self.environ)

    def say(self, *lines: str) -> None:
        """Writes lines to `out`, at once."""
        for line in lines:
            self.out.write(line + "\n")
        self.out.flush()

    def warn(self, text: str) -> None:
        """Writes a warning to `err`."""
        self.err.write(f"Warning: {' '.join(text.split())}\n")
        self.err.flush()

    def complain(self, text: str) -> None:
        """Writes an error to `err`, for a command that goes on after it."""
        self.err.write(f"salver: {text}\n")
        self.err.flush()

    def patch(self, path: str, patch: Any, query: Mapping[str, str] | None = None) -> Any:
        """Sends a merge patch; gives the object after it."""
        import json

        from salver.cli.client import MERGE_PATCH

        body = json.dumps(patch, ensure_ascii=False).encode()
        answer = self.client.send("PATCH", path, query=query, body=body, content_type=MERGE_PATCH)
        return answer.json()


def _timeout_s(text: str) -> float:
    from salver.cli.ages import duration

    return duration(text, "--request-timeout") if text else 30.0
