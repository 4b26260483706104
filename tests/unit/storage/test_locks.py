from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.errors import StorageError
from salver.storage.locks import Locks
from salver.storage.transfer import Transfer


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Locks, Locks]]:
    """Two processes' view of one file: their locks belong to different open files."""
    one, other = Locks(tmp_path / "locks"), Locks(tmp_path / "locks")
    yield one, other
    one.close()
    other.close()


def test_shares_go_together_and_keep_others_out(pair: tuple[Locks, Locks]) -> None:
    one, other = pair
    assert one.try_share("a") and one.try_share("a") and other.try_share("a")
    one.unshare("a")
    with other.try_exclusive("a") as taken:
        assert not taken
    one.unshare("a")
    other.unshare("a")
    with other.try_exclusive("a") as taken:
        assert taken
        assert not one.try_share("a")
        assert not other.try_share("a")
        assert one.try_share("b")


def test_a_share_that_was_not_taken_cannot_be_given_back(pair: tuple[Locks, Locks]) -> None:
    one, other = pair
    one.unshare("a")
    assert one.try_share("a")
    with other.try_exclusive("a") as taken:
        assert not taken


def test_closing_lets_go(tmp_path: Path) -> None:
    one, other = Locks(tmp_path / "locks"), Locks(tmp_path / "locks")
    assert one.try_share("a")
    one.close()
    with other.try_exclusive("a") as taken:
        assert taken
    other.close()


def test_waiting_ends_with_the_transfer(pair: tuple[Locks, Locks]) -> None:
    one, other = pair
    ticks = iter(range(100))
    transfer = Transfer("s3://b/a", 5, lambda: float(next(ticks)))
    with one.try_exclusive("a"):
        with pytest.raises(StorageError, match="not fetched within 5 s"):
            with other.exclusive("a", transfer):
                raise AssertionError("two have it")
