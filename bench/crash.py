"""kill -9 of the server at random moments of a script of rollouts, and what is left each time.

    python bench/crash.py [--kills 200] [--minutes 8] [--seed 1]

Prints what was seen: kills, steps acknowledged, how steps that were under way ended, how long
it took until every service answered again, and every fault. Ends with 1 if there was one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.crashes import Crashes, Outcome


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 again and again")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=8.0, help="stop then, if not done")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        crashes = Crashes(Path(folder), options.seed)
        while crashes.outcome.kills < options.kills:
            if time.monotonic() - started_s > options.minutes * 60:
                break
            crashes.kill_once()
    show(crashes.outcome, time.monotonic() - started_s)
    return 1 if crashes.outcome.faults else 0


def show(outcome: Outcome, taken_s: float) -> None:
    print(f"kills                  {outcome.kills} in {taken_s:.0f} s")
    print(f"  before it was up     {outcome.kills_at_start}")
    print(f"steps acknowledged     {outcome.steps}")
    print(
        f"steps under way        {outcome.in_flight_kept} done, {outcome.in_flight_lost} not done"
    )
    if outcome.resumed_s:
        resumed_s = sorted(outcome.resumed_s)
        worst_s = resumed_s[-1]
        print(
            f"start to all answering p50 {statistics.median(resumed_s):.2f} s, max {worst_s:.2f} s"
        )
    print(f"faults                 {len(outcome.faults)}")
    for fault in outcome.faults:
        print(f"  {fault}")


if __name__ == "__main__":
    sys.exit(main())
