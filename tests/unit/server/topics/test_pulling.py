from hypothesis import given
from hypothesis import strategies as st

from salver.server.topics.pulling import PullWindow


def test_one_request_is_open_at_a_time_and_asks_for_what_may_be_in_flight() -> None:
    window = PullWindow(8, 5.0)
    assert window.next_request(0, 0.0) == 8
    assert window.next_request(0, 1.0) == 0
    for _ in range(8):
        window.took_message()
    assert window.next_request(8, 1.0) == 0
    assert window.next_request(7, 1.0) == 0, "one at a time would be a request for each message"
    assert window.next_request(6, 1.0) == 2


def test_a_request_that_ended_or_was_forgotten_is_made_again() -> None:
    window = PullWindow(8, 5.0)
    window.next_request(0, 0.0)
    window.ended()
    assert window.next_request(0, 1.0) == 8
    assert window.next_request(0, 6.9) == 0
    assert window.next_request(0, 7.1) == 8


@given(st.lists(st.sampled_from(["come", "end", "pull", "over"]), max_size=200), st.integers(1, 40))
def test_never_more_are_out_than_the_bound(steps: list[str], most: int) -> None:
    window, waiting, in_flight, now_s = PullWindow(most, 5.0), 0, 0, 0.0
    for step in steps:
        now_s += 0.001
        if step == "come" and waiting:
            waiting, in_flight = waiting - 1, in_flight + 1
            window.took_message()
        elif step == "end" and in_flight:
            in_flight -= 1
        elif step == "over":
            waiting = 0
            window.ended()
        waiting += window.next_request(in_flight, now_s)
        assert in_flight + waiting <= most
    if not in_flight:
        assert waiting > 0 or window.next_request(0, now_s) > 0, "it never stops asking"
