from hypothesis import given
from hypothesis import strategies as st

from salver.backends.local.part_window import PartWindow


def test_a_window_is_full_at_its_most_parts_and_has_room_once_one_is_taken() -> None:
    window = PartWindow(most_parts=2, most_bytes=100)
    window.sent(1)
    assert not window.is_full
    window.sent(1)
    assert window.is_full
    window.taken(1)
    assert not window.is_full


def test_large_parts_fill_a_window_by_their_bytes() -> None:
    window = PartWindow(most_parts=100, most_bytes=10)
    window.sent(6)
    window.sent(6)
    assert window.is_full
    window.taken(1)
    assert not window.is_full


def test_a_part_larger_than_the_window_goes_rather_than_never() -> None:
    window = PartWindow(most_parts=2, most_bytes=10)
    assert not window.is_full
    window.sent(1000)
    assert window.is_full


@given(st.lists(st.integers(0, 20) | st.none(), max_size=60))
def test_a_window_that_has_everything_taken_is_as_new(steps: list[int | None]) -> None:
    window = PartWindow(most_parts=4, most_bytes=30)
    for step in steps:
        if step is None:
            window.taken(1)
        else:
            window.sent(step)
    window.taken(len(steps))
    assert not window.is_full
    window.sent(29)
    assert not window.is_full
