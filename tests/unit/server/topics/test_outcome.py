import pytest

from salver.errors import ErrorKind
from salver.server.topics.outcome import RetryPolicy, Step, next_step

POLICY = RetryPolicy(max_attempts=3, first_delay_s=1.0, max_delay_s=5.0)
FINAL = [
    *(ErrorKind.OK, ErrorKind.INVALID_INPUT, ErrorKind.PAYLOAD_TOO_LARGE),
    *(ErrorKind.MODEL_NOT_FOUND, ErrorKind.UNSUPPORTED),
]


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_what_may_pass_is_tried_again_and_the_rest_is_told_at_once(kind: ErrorKind) -> None:
    steps = [next_step(kind, attempts, POLICY) for attempts in (1, 2, 3, 4)]
    retried = [Step.RETRY, Step.RETRY, Step.BURY, Step.BURY]
    assert steps == ([Step.REPLY] * 4 if kind in FINAL else retried)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_a_server_that_stops_gives_up_no_message(kind: ErrorKind) -> None:
    assert next_step(kind, 99, POLICY, is_draining=True) is not Step.BURY


def test_the_wait_doubles_up_to_a_bound() -> None:
    assert [POLICY.delay_s(attempts) for attempts in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]
