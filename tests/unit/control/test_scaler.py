"""The autoscaler's shell on a virtual clock: what it samples, and whom it tells."""

from __future__ import annotations

import pytest

from salver.control.autoscaling import TICK_S
from salver.control.scaler import REST_LOOK_S, SAMPLE_S, Autoscaler
from salver.graphs.plan import ScalingPolicy


class Revision:
    """What is scaled; it has at once what it is told to have."""

    def __init__(self, replicas: int = 1) -> None:
        self.concurrency = 0
        self.requests = 0.0
        self.ready_replicas = self.wanted_replicas = replicas
        self.cpu_percent: float | None = None

    def utilization_percent(self, metric: str) -> float | None:
        return self.cpu_percent

    def scale(self, replicas: int) -> None:
        self.ready_replicas = self.wanted_replicas = replicas


class Bench:
    """One revision under an autoscaler, for so many seconds at a time."""

    def __init__(self, policy: ScalingPolicy, replicas: int = 1) -> None:
        self.autoscaler = Autoscaler()
        self.revision = Revision(replicas)
        self.now_s = 1000.0
        self._tick_s = self.now_s
        self.autoscaler.watch("ns/r", policy, self.revision, self.now_s)

    def run(self, seconds: float, requests_per_s: float = 0.0) -> None:
        for _ in range(round(seconds / SAMPLE_S)):
            self.now_s += SAMPLE_S
            self.revision.requests += requests_per_s * SAMPLE_S
            self.autoscaler.sample(self.now_s)
            if self.now_s >= self._tick_s:
                self._tick_s = self.now_s + TICK_S
                self.autoscaler.tick(self.now_s)


def test_requests_per_second_are_what_they_are() -> None:
    bench = Bench(ScalingPolicy(0, 9, metric="rps", target=100.0, target_utilization_percent=100))
    bench.run(70, requests_per_s=400.0)
    assert bench.revision.wanted_replicas == 4
    assert bench.autoscaler.reason("ns/r").startswith("400 requests/s at 100 per replica")


def test_concurrency_is_the_mean_of_what_was_seen() -> None:
    bench = Bench(ScalingPolicy(0, 9, target=1.0, target_utilization_percent=100))
    bench.revision.concurrency = 3
    bench.run(70, requests_per_s=10.0)
    assert bench.revision.wanted_replicas == 3


def test_short_requests_that_no_look_meets_keep_a_revision_from_zero() -> None:
    bench = Bench(ScalingPolicy(0, 9))
    for _ in range(60):
        bench.revision.requests += 1
        bench.run(10)
    assert bench.revision.wanted_replicas == 1
    bench.run(180)
    assert bench.revision.wanted_replicas == 0


def test_short_requests_do_not_pass_for_more_than_they_are() -> None:
    bench = Bench(ScalingPolicy(0, 9, target=0.01, target_utilization_percent=100))
    bench.run(70, requests_per_s=5.0)
    assert bench.revision.wanted_replicas == 1


def test_a_revision_that_nothing_leads_to_goes_to_zero_whatever_its_minimum() -> None:
    bench = Bench(ScalingPolicy(2, 9), replicas=2)
    bench.run(120)
    assert bench.revision.wanted_replicas == 2
    bench.autoscaler.set_reachable("ns/r", False)
    bench.autoscaler.set_reachable("ns/other", False)
    bench.run(180)
    assert bench.revision.wanted_replicas == 0


def test_what_is_left_alone_is_not_scaled() -> None:
    bench = Bench(ScalingPolicy(0, 9))
    bench.autoscaler.unwatch("ns/r")
    bench.run(300)
    assert (bench.revision.wanted_replicas, bench.autoscaler.reason("ns/r")) == (1, "")


@pytest.mark.parametrize(("percent", "expected"), [(None, 2), (51.0, 2), (80.0, 4), (200.0, 6)])
def test_cpu_is_the_hpas_affair(percent: float | None, expected: int) -> None:
    policy = ScalingPolicy(1, 6, metric="cpu", target=50.0)
    bench = Bench(policy, replicas=2)
    bench.revision.cpu_percent = percent
    bench.run(2)
    assert bench.revision.wanted_replicas == expected


class CountedRevision(Revision):
    """Says how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0
        self._concurrency = 0
        super().__init__(0)

    @property
    def concurrency(self) -> int:  # type: ignore[override]
        self.looks += 1
        return self._concurrency

    @concurrency.setter
    def concurrency(self, value: int) -> None:
        self._concurrency = value


def test_thousands_at_zero_are_looked_at_now_and_then() -> None:
    autoscaler, now_s = Autoscaler(), 1000.0
    revisions = [CountedRevision() for _ in range(50)]
    for number, each in enumerate(revisions):
        autoscaler.watch(f"ns/{number}", ScalingPolicy(0, 9, initial_scale=0), each, now_s)
    autoscaler.tick(now_s)
    for each in revisions:
        each.looks = 0
    for _ in range(round(10.0 / SAMPLE_S)):
        now_s += SAMPLE_S
        autoscaler.sample(now_s)
        autoscaler.tick(now_s)
    assert {each.looks for each in revisions} == {round(10.0 / REST_LOOK_S)}


def test_one_at_zero_is_scaled_again_once_requests_have_woken_it() -> None:
    bench = Bench(ScalingPolicy(0, 9, target=1.0, target_utilization_percent=100), replicas=0)
    bench.run(120)
    assert bench.revision.wanted_replicas == 0
    # The activator starts the first one.
    bench.revision.scale(1)
    bench.revision.concurrency = 4
    bench.run(90, requests_per_s=10.0)
    assert bench.revision.wanted_replicas == 4
    bench.revision.concurrency = 0
    bench.run(300)
    assert bench.revision.wanted_replicas == 0
    assert bench.autoscaler.reason("ns/r")
    bench.autoscaler.set_reachable("ns/r", False)
    bench.autoscaler.unwatch("ns/r")
    assert bench.autoscaler.reason("ns/r") == ""
