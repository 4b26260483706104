"""Services at zero: a restart brings them back without starting anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.declared import Flowers, apply, is_ready, sklearn_service, wait_status
from tests.e2e.server import serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

URI = "gs://kfserving-examples/models/sklearn/1.0/model"
FLOWER = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
AT_ZERO = {"autoscaling.knative.dev/initial-scale": "0"}


def test_what_was_at_zero_is_at_zero_after_a_restart_and_answers(tmp_path: Path) -> None:
    maps = Flowers(tmp_path / "flowers").maps
    arguments = ("--state-dir", str(tmp_path / "state"), *maps)
    with serving(*arguments) as server:
        apply(server, sklearn_service("iris", URI, AT_ZERO, minReplicas=0))
        apply(server, sklearn_service("rose", URI, minReplicas=0))
        for name in ("iris", "rose"):
            wait_status(server, name, is_ready)
        # One has proved itself and rests; the other has its window to go.
        wait_until(lambda: len(server.workers()) == 1)
    with serving(*arguments) as server:
        for name in ("iris", "rose"):
            wait_status(server, name, is_ready)
        time.sleep(3.0)
        assert server.workers() == []
        for name in ("iris", "rose"):
            answer = server.post(f"/v1/models/{name}:predict", FLOWER)
            assert (answer.status_code, answer.json()) == (200, {"predictions": [0]})
        assert len(server.workers()) == 2


def test_open_watches_are_counted(tmp_path: Path) -> None:
    import httpx

    with serving("--state-dir", str(tmp_path / "state")) as server:
        assert server.metric("salver_watches") == 0
        url = f"{server.url}/api/v1/configmaps?watch=1"
        with httpx.stream("GET", url, timeout=30):
            assert server.metric("salver_watches") == 1
        wait_until(lambda: server.metric("salver_watches") == 0)
        assert server.metric("salver_watches_cut_off_total") == 0
