"""The gateway's end of a fork server: many orders at once."""

from __future__ import annotations

import asyncio
import os
import socket

from salver.backends.local.environment import Environment

ORDERS = 600
"""More than a socket holds."""


class Worker:
    """Hears what becomes of one order."""

    def __init__(self) -> None:
        self.pid = 0
        self.status: int | None = None
        self.failure = ""

    def on_forked(self, pid: int) -> None:
        self.pid = pid

    def on_ended(self, status: int) -> None:
        self.status = status

    def on_failed(self, reason: str) -> None:
        self.failure = reason


def order(environment: Environment) -> Worker:
    """Asks for a worker whose socket is closed already, so that it ends at once."""
    worker = Worker()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptors = [theirs.fileno(), *(os.open(os.devnull, os.O_RDWR) for _ in range(3))]
    environment.fork(worker, descriptors)
    ours.close()
    theirs.close()
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    return worker


def test_more_orders_than_the_socket_holds_are_all_carried_out() -> None:
    environment = Environment("python")

    async def run() -> list[Worker]:
        workers = [order(environment) for _ in range(ORDERS)]
        async with asyncio.timeout(60):
            while any(each.status is None for each in workers):
                await asyncio.sleep(0.01)
        return workers

    try:
        workers = asyncio.run(run())
    finally:
        environment.close()
    assert {each.failure for each in workers} == {""}
    assert len({each.pid for each in workers}) == ORDERS
