import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.control.placement import LoadedModel, Placement, place

MIB = 1 << 20


def model(name: str, mib: int, used_s: float, **more: int | bool) -> LoadedModel:
    return LoadedModel(name, mib * MIB, used_s, **more)  # type: ignore[arg-type]


def placed(needed: int, budget: int, *loaded: LoadedModel, name: str = "new") -> Placement:
    return place(name, needed * MIB, budget * MIB, loaded)


def test_nothing_goes_while_there_is_room() -> None:
    assert placed(10, 100, model("a", 90, 1.0)) == Placement()


def test_the_least_recently_used_go_first_and_no_more_than_needed() -> None:
    loaded = [model("c", 30, 3.0), model("a", 30, 1.0), model("b", 30, 2.0)]
    assert placed(20, 100, *loaded).evict == ("a",)
    assert placed(60, 100, *loaded).evict == ("a", "b")


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (model("a", 30, 1.0, in_flight=2), "a has requests in flight"),
        (model("a", 30, 1.0, min_copies=1), "a is at its minimum of copies"),
        (model("a", 30, 1.0, is_loading=True), "a is being loaded"),
        (model("new", 30, 1.0), "new is the one that gets another copy"),
    ],
)
def test_what_may_not_go_is_passed_over_and_named_in_a_refusal(kept: LoadedModel, why: str) -> None:
    assert placed(30, 60, kept, model("b", 30, 9.0)).evict == ("b",)
    refused = placed(60, 60, kept, model("b", 30, 9.0))
    assert refused.evict == ()
    assert refused.refusal == (
        "model new needs 60.0 MiB, but only 30.0 MiB of the memory budget of 60.0 MiB can be "
        f"freed now ({why}): try again later, or raise the budget"
    )


def test_a_refusal_names_the_largest_few() -> None:
    busy = [model(f"m{n}", n, 1.0, in_flight=1) for n in range(1, 7)]
    assert "(m6 has requests in flight, m5 has requests in flight, m4 has requests in flight, " in (
        refusal := placed(50, 60, *busy).refusal
    )
    assert "3 more stay)" in refusal


def test_a_model_larger_than_the_budget_is_refused_before_anything_goes() -> None:
    refused = placed(101, 100, model("a", 100, 1.0))
    assert (refused.evict, refused.fits) == ((), False)
    assert "more than the whole memory budget of 100.0 MiB" in refused.refusal


def test_only_the_copies_beyond_the_minimum_go() -> None:
    loaded = model("a", 20, 1.0, copies=3, min_copies=1)
    assert placed(40, 60, loaded).evict == ("a", "a")
    assert not placed(41, 60, loaded).fits


def test_a_small_model_is_spared_if_the_large_one_after_it_was_enough() -> None:
    loaded = [model("small", 5, 1.0), model("large", 60, 2.0)]
    assert placed(50, 70, *loaded).evict == ("large",)


def test_of_models_used_at_the_same_time_the_larger_goes() -> None:
    assert placed(30, 70, model("a", 10, 1.0), model("b", 40, 1.0)).evict == ("b",)


MODELS = st.lists(
    st.builds(
        LoadedModel,
        name=st.text("abcdefgh", min_size=1, max_size=3),
        memory_bytes=st.integers(1, 50),
        last_used_s=st.floats(0, 100),
        in_flight=st.sampled_from([0, 0, 0, 1]),
        copies=st.integers(1, 3),
        min_copies=st.integers(0, 2),
    ),
    max_size=12,
    unique_by=lambda each: each.name,
)


@settings(max_examples=200, deadline=None)
@given(MODELS, st.integers(1, 80), st.integers(1, 300))
def test_what_goes_makes_room_and_keeps_every_promise(
    loaded: list[LoadedModel], needed: int, budget: int
) -> None:
    answer = place("NEW", needed, budget, loaded)
    by_name = {each.name: each for each in loaded}
    used = sum(each.memory_bytes * each.copies for each in loaded)
    freed = sum(by_name[name].memory_bytes for name in answer.evict)
    if answer.fits:
        assert used - freed + needed <= budget
        for name in set(answer.evict):
            assert not by_name[name].in_flight
            assert by_name[name].copies - answer.evict.count(name) >= by_name[name].min_copies
        # None of them was needless.
        assert all(
            used - freed + by_name[name].memory_bytes + needed > budget for name in answer.evict
        )
    else:
        spare = sum(
            each.memory_bytes * max(0, each.copies - each.min_copies)
            for each in loaded
            if not each.in_flight
        )
        assert used - spare + needed > budget
        assert not answer.evict
