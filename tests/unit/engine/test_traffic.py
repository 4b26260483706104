import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeModel

from salver.engine.call import Call
from salver.engine.ports import ServedModel
from salver.engine.traffic import Target, TrafficSplit, cookie_value
from salver.errors import ModelNotReady
from salver.graphs.plan import StickyPolicy

HEADER = StickyPolicy(header="X-User")
COOKIE = StickyPolicy(cookie="user")


class HeadedCall(Call):
    """A call with headers, as a listener makes it."""

    def __init__(self, **headers: str) -> None:
        super().__init__(1, 0, b"{}", arrived_s=0.0, deadline_s=9.0)
        self._headers = {
            name.replace("_", "-").encode(): value.encode() for name, value in headers.items()
        }

    def header(self, name: bytes) -> bytes:
        return self._headers.get(name, b"")


def split(
    percents: dict[str, int],
    *,
    sticky: StickyPolicy | None = None,
    point: Callable[[], float] = lambda: 0.0,
    tags: dict[str, str] | None = None,
) -> tuple[TrafficSplit, dict[str, FakeModel]]:
    models = {name: FakeModel("iris", name) for name in percents}
    for model in models.values():
        model.answer = lambda call: None
    targets = targets_of(models, percents, tags)
    return TrafficSplit("iris", targets, random_number=point, sticky=sticky), models


def targets_of(
    models: dict[str, FakeModel], percents: dict[str, int], tags: dict[str, str] | None = None
) -> list[Target]:
    tags = tags or {}
    return [Target(name, percents[name], models[name], tags.get(name, "")) for name in percents]


def chosen(service: TrafficSplit, models: dict[str, FakeModel], call: Call) -> str:
    """The name of the model that got the call."""
    service.submit(call)
    (name,) = [name for name, model in models.items() if model.calls and model.calls[-1] is call]
    return name


def test_a_split_is_a_served_model() -> None:
    service, _ = split({"v1": 100})
    as_port: ServedModel = service
    assert as_port.name == "iris"


@pytest.mark.parametrize(
    ("point", "expected"),
    [(0.0, "v2"), (0.0999, "v2"), (0.1, "v1"), (0.6999, "v1"), (0.7, "v3"), (0.9999, "v3")],
)
def test_a_share_is_a_range_of_the_random_number(point: float, expected: str) -> None:
    service, models = split({"v2": 10, "v1": 60, "v3": 30}, point=lambda: point)
    assert chosen(service, models, HeadedCall()) == expected


def test_a_canary_of_10_percent_of_10000_requests_lands_within_the_999_interval() -> None:
    service, models = split({"v2": 10, "v1": 90}, point=random.Random(7).random)
    for _ in range(10_000):
        service.submit(HeadedCall())
    # 1000 requests, standard deviation 30; 3.29 of them are 99.9%.
    assert abs(len(models["v2"].calls) - 1000) <= 3.29 * 30
    assert len(models["v1"].calls) + len(models["v2"].calls) == 10_000


def test_a_share_of_zero_gets_nothing_and_is_there_for_its_tag() -> None:
    points = random.Random(1).random
    service, models = split({"v2": 0, "v1": 100}, tags={"v2": "latest"}, point=points)
    assert {chosen(service, models, HeadedCall()) for _ in range(200)} == {"v1"}
    assert chosen(service, models, HeadedCall(salver_tag="latest")) == "v2"
    assert chosen(service, models, HeadedCall(knative_serving_tag="latest")) == "v2"


def test_a_tag_that_nobody_has_means_the_default_route() -> None:
    service, models = split({"v2": 10, "v1": 90}, tags={"v1": "prev"}, point=lambda: 0.0)
    assert chosen(service, models, HeadedCall(salver_tag="prev")) == "v1"
    assert chosen(service, models, HeadedCall(salver_tag="former")) == "v2"


def test_a_tagged_model_can_be_asked_for_by_name() -> None:
    service, models = split({"v2": 10, "v1": 90}, tags={"v1": "prev"})
    assert service.tagged("prev") is models["v1"]
    assert service.tagged("latest") is None


@pytest.mark.parametrize("percents", [{"v1": 99}, {"v1": 60, "v2": 60}, {}])
def test_percents_that_do_not_add_up_are_refused(percents: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must add up to 100"):
        split(percents)


def test_a_table_that_is_refused_leaves_the_old_one() -> None:
    service, models = split({"v1": 100})
    with pytest.raises(ValueError, match="got: v2 50"):
        service.replace([Target("v2", 50, models["v1"])])
    assert chosen(service, models, HeadedCall()) == "v1"


def test_a_new_table_counts_from_the_next_request_on() -> None:
    service, models = split({"v1": 50, "v2": 50}, point=lambda: 0.9)
    assert chosen(service, models, HeadedCall()) == "v2"
    service.replace(targets_of(models, {"v1": 100, "v2": 0}))
    assert chosen(service, models, HeadedCall()) == "v1"
    service.replace(targets_of(models, {"v1": 100, "v2": 0}, {"v2": "latest"}))
    assert chosen(service, models, HeadedCall(salver_tag="latest")) == "v2"


def test_what_a_split_says_of_itself_is_what_its_largest_share_says() -> None:
    service, models = split({"v2": 10, "v1": 90})
    assert (service.version, service.is_ready) == ("v1", True)
    assert service.status.name == "iris"
    models["v1"].state = "LOADING"
    assert not service.is_ready
    with pytest.raises(ModelNotReady):
        service.metadata  # noqa: B018


# Stickiness.


def crowd(service: TrafficSplit, models: dict[str, FakeModel], size: int = 2000) -> dict[int, str]:
    return {
        user: chosen(service, models, HeadedCall(x_user=f"user-{user}")) for user in range(size)
    }


def test_a_caller_stays_where_he_is() -> None:
    points = random.Random(3).random
    service, models = split({"v2": 30, "v1": 70}, sticky=HEADER, point=points)
    assert crowd(service, models, 200) == crowd(service, models, 200)


def test_callers_are_spread_by_the_percents() -> None:
    service, models = split({"v2": 10, "v1": 60, "v3": 30}, sticky=HEADER)
    counts = Counter(crowd(service, models, 5000).values())
    # Five standard deviations; hashing is deterministic, so this holds or it does not.
    assert abs(counts["v2"] - 500) < 106
    assert abs(counts["v1"] - 3000) < 173
    assert abs(counts["v3"] - 1500) < 162


def test_raising_a_share_moves_callers_to_it_alone_and_as_few_as_can_be() -> None:
    service, models = split({"v2": 10, "v1": 60, "v3": 30}, sticky=HEADER)
    before = crowd(service, models)
    service.replace(targets_of(models, {"v2": 20, "v1": 53, "v3": 27}), HEADER)
    after = crowd(service, models)
    moved = [user for user in before if before[user] != after[user]]
    assert {after[user] for user in moved} <= {"v2", "v3", "v1"}
    assert all(after[user] == "v2" for user in before if before[user] == "v2")
    # A tenth has to move; rounding of the other two shares moves a few more.
    assert len(moved) < 0.13 * len(before)


def test_promotion_moves_only_those_who_were_elsewhere() -> None:
    service, models = split({"v2": 10, "v1": 90}, sticky=HEADER)
    before = crowd(service, models, 500)
    service.replace(targets_of(models, {"v2": 50, "v1": 50}), HEADER)
    after = crowd(service, models, 500)
    assert all(after[user] == "v2" for user in before if before[user] == "v2")


def test_the_order_of_targets_does_not_matter_to_a_caller() -> None:
    service, models = split({"v2": 30, "v1": 70}, sticky=HEADER)
    before = crowd(service, models, 300)
    service.replace(targets_of(models, {"v1": 70, "v2": 30}), HEADER)
    assert crowd(service, models, 300) == before


def test_a_cookie_keeps_a_caller_too_and_a_header_goes_before_it() -> None:
    service, models = split({"v2": 50, "v1": 50}, sticky=COOKIE)
    by_cookie = [
        chosen(service, models, HeadedCall(cookie=f"a=b; user=u{n}; c=d")) for n in range(40)
    ]
    assert set(by_cookie) == {"v1", "v2"}
    service.replace(
        targets_of(models, {"v2": 50, "v1": 50}), StickyPolicy(header="x-user", cookie="user")
    )
    by_header = [
        chosen(service, models, HeadedCall(x_user=f"u{n}", cookie="user=other")) for n in range(40)
    ]
    assert by_header == by_cookie


def test_a_caller_who_does_not_say_who_he_is_goes_by_chance() -> None:
    points = iter([0.0, 0.99])
    service, models = split({"v2": 50, "v1": 50}, sticky=HEADER, point=lambda: next(points))
    assert [chosen(service, models, HeadedCall()) for _ in range(2)] == ["v2", "v1"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"user=7", b"7"),
        (b"a=1;user=7;b=2", b"7"),
        (b'user="7"', b"7"),
        (b"xuser=1; user=", b""),
        (b"user", b""),
        (b"a=user=7", b""),
        (b"", b""),
    ],
)
def test_cookies_are_found_by_their_whole_name(header: bytes, expected: bytes) -> None:
    assert cookie_value(header, b"user") == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_every_point_has_a_target_with_a_share(weights: list[int], point: float) -> None:
    if sum(weights) == 0:
        weights[0] = 1
    percents = [weight * 100 // sum(weights) for weight in weights]
    percents[percents.index(max(percents))] += 100 - sum(percents)
    named = {f"v{number}": percent for number, percent in enumerate(percents)}
    service, models = split(named, point=lambda: point)
    assert named[chosen(service, models, HeadedCall())] > 0
