"""Starts the fork server in whatever Python it is given, and says so if that fails.

Run as `python -m salver.backends.local.forkstart FD --runtime NAME ...`. Imports only the
standard library before it can report: a model's environment may lack anything else.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import sys

_MAX_REASON = 1000


def main(arguments: list[str] | None = None) -> None:
    """Imports what workers need, reports how that went, serves until the gateway is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("fd", type=int)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--preload", action="append", default=[])
    options = parser.parse_args(arguments)
    control = socket.socket(fileno=options.fd)
    # The terminal's Ctrl-C is for the gateway, which drains before it closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        from salver.backends.local.forkserver import ForkServer, preload

        preload(options.runtime, options.preload)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON]
        _tell(control, {"id": 0, "pid": os.getpid(), "failure": reason})
        sys.exit(1)
    gc.collect()
    gc.freeze()
    _tell(control, {"id": 0, "pid": os.getpid()})
    ForkServer(control).serve()


def _tell(control: socket.socket, report: dict[str, object]) -> None:
    try:
        control.send(json.dumps(report).encode())
    except OSError:
        # The gateway has gone already.
        sys.exit(1)


if __name__ == "__main__":
    main()
