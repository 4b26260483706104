"""A gateway's learning half as a process, to be killed: chooses, is told rewards, acknowledges.

    python -m tests.router_child FOLDER NAME

Writes a line for each choice whose loop turn is over (`c ID`) and each reward that was
acknowledged (`r ID`). Small segments and frequent snapshots, so that kills fall into those too.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from salver.backends.state.router_log import LogFiles, RouterLogs
from salver.backends.state.router_snapshots import Retention
from salver.engine.learned_router import LearnedRouter
from salver.engine.learning import LearnedRouters, LearningSettings, Reward
from salver.telemetry.registry import Registry
from tests.routers import choosing, learned

ROOT = Path(__file__).resolve().parent.parent


async def _main(folder: Path, name: str) -> None:
    logs = RouterLogs(
        folder,
        name,
        call_soon=asyncio.get_running_loop().call_soon,
        files=LogFiles(segment_bytes=4000, retention=Retention(most_bytes=20_000)),
    )
    routers = LearnedRouters(
        logs.open,
        Registry(),
        random=random.Random().random,
        clock=time.monotonic,
        now=time.time,
        settings=LearningSettings(gateway=name, snapshot_records=50),
    )
    routers.chooser("default", "shop", "pick", learned("thompson"))
    router = routers.find("default", "shop", "pick")
    await asyncio.gather(*[_caller(routers, router, f"{name}-{index}") for index in range(4)])


async def _caller(routers: LearnedRouters, router: LearnedRouter, name: str) -> None:
    index = 0
    while True:
        index += 1
        run_id = f"{name}-{index}"
        router.version.choose(choosing(run_id))
        await asyncio.sleep(0)
        os.write(1, f"c {run_id}\n".encode())
        router.take([Reward(run_id, 1.0)])
        await routers.wait_durable([router])
        os.write(1, f"r {run_id}\n".encode())
        if index % 10 == 0:
            router.tend()


class Told:
    """What children have acknowledged."""

    def __init__(self) -> None:
        self.chosen: list[str] = []
        self.rewarded: list[str] = []


def run_and_kill(folder: Path, name: str, after_s: float, told: Told) -> None:
    """Starts a child, kills it `after_s` after its first word, and notes what it said."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.router_child", str(folder), name],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert child.stdout is not None
    try:
        first = child.stdout.readline()
        time.sleep(after_s)
    finally:
        child.kill()
    said = first + child.stdout.read()
    child.stdout.close()
    child.wait(10)
    for line in said.decode().splitlines():
        kind, _, run_id = line.partition(" ")
        (told.chosen if kind == "c" else told.rewarded).append(run_id)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))
