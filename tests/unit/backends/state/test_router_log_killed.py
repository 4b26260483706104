"""kill -9 of a process that writes routers' logs: nothing that it acknowledged is lost.

`bench/bandits.py --kills` does it hundreds of times; here a few kills see that it would be seen.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.router_child import Told, run_and_kill
from tests.routers import Gateway, Time, learned

from salver.engine.learning import Reward
from salver.engine.learning_values import Outcome
from salver.engine.router_status import status_of

KILLS = 4


@pytest.mark.timeout(60)
def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(tmp_path: Path) -> None:
    told, moment = Told(), random.Random(3)
    for index in range(KILLS):
        run_and_kill(tmp_path, f"g{index}", moment.uniform(0.02, 0.25), told)
    gateway = Gateway(tmp_path, "after", time=Time(2e9))
    gateway.routers.chooser("default", "shop", "pick", learned("thompson"))
    router = gateway.routers.find("default", "shop", "pick")
    status = status_of(router)
    learned_from = sum(arm.rewards for arm in status.arms)
    assert len(told.rewarded) > 20 * KILLS
    # Rewards under way when the process was killed may be there: one for each of its callers.
    assert len(told.rewarded) <= learned_from <= len(told.rewarded) + 4 * KILLS
    assert sum(arm.choices for arm in status.arms) >= len(told.chosen)
    kept = [run_id for run_id in told.rewarded if router.knows(run_id)]
    assert kept[-1] == told.rewarded[-1]
    again = router.take([Reward(run_id, 1.0) for run_id in kept])
    assert again[Outcome.DUPLICATE] == len(kept)
