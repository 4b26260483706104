import threading

import pytest

from salver.errors import StorageError
from salver.storage.transfer import Cancelled, Transfer, in_thread, run_all


def test_a_transfer_ends_at_its_time_and_not_before() -> None:
    now = [0.0]
    transfer = Transfer("s3://b/a", 10, lambda: now[0])
    now[0] = 9.9
    transfer.check()
    now[0] = 10.0
    with pytest.raises(StorageError, match=r"^s3://b/a: not fetched within 10 s"):
        transfer.check()
    transfer.begin()
    transfer.check()


def test_a_cancelled_transfer_says_so_everywhere() -> None:
    transfer = Transfer("s3://b/a", 10, lambda: 0.0)
    transfer.cancel()
    for ask in (transfer.check, transfer.remaining_s, lambda: transfer.pause(3)):
        with pytest.raises(Cancelled):
            ask()


def test_bytes_are_counted_and_taken_back() -> None:
    transfer = Transfer("s3://b/a", 10, lambda: 0.0)
    transfer.advance(10)
    transfer.advance(-4)
    assert transfer.done_bytes == 6


def test_jobs_run_so_many_at_a_time_and_all_of_them() -> None:
    both = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def job(number: int) -> None:
        both.wait()
        done.append(number)

    run_all([lambda n=n: job(n) for n in range(6)], 2, "test")  # type: ignore[misc]
    assert sorted(done) == list(range(6))


def test_the_first_failure_is_raised_and_no_new_job_begun() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        run_all([lambda: done.append(1), fail, lambda: done.append(2)], 1, "test")
    assert done == [1]


def test_a_thread_gives_its_result_or_its_error() -> None:
    assert in_thread(lambda: 7, "test").result(10) == 7
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0, "test").result(10)
