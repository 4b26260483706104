"""The address a front listens on, as gRPC writes it, and the error when it cannot be had."""

from __future__ import annotations

from salver.errors import StartupError


def target_of(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(host: str, port: int, cause: object) -> StartupError:
    """The one line for an address that is taken or is not this machine's."""
    return StartupError(
        f"gRPC cannot listen on {target_of(host, port)} ({cause}); "
        "choose another port with --grpc-port, or turn gRPC off with --grpc-port -1"
    )
