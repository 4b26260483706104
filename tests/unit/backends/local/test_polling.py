from salver.backends.local.polling import POLL_S, PollPolicy


def test_a_worker_that_knows_nothing_yet_sleeps() -> None:
    assert PollPolicy().next_s(1) == 0.0


def test_a_client_that_asks_again_at_once_is_waited_for() -> None:
    policy = PollPolicy()
    policy.record(0.000_150, polled=False, found=False)
    assert policy.next_s(1) == POLL_S


def test_a_seldom_client_is_not_waited_for() -> None:
    policy = PollPolicy()
    policy.record(0.010, polled=False, found=False)
    assert policy.next_s(1) == 0.0


def test_large_batches_are_not_waited_for() -> None:
    policy = PollPolicy()
    policy.record(0.000_010, polled=False, found=False)
    assert policy.next_s(30) == 0.0


def test_a_wait_in_vain_is_not_repeated_at_once() -> None:
    policy = PollPolicy()
    policy.record(0.000_150, polled=True, found=False)
    waits = [policy.next_s(1) for _ in range(33)]
    assert waits == [0.0] * 32 + [POLL_S]
