from hypothesis import given
from hypothesis import strategies as st

from salver.server.topics.offsets import OffsetLedger


def test_offsets_are_committed_up_to_the_first_message_that_is_not_done() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    for offset in (5, 6, 9):
        ledger.begin("p", offset)
    ledger.done("p", 6)
    assert ledger.to_commit() == {"p": 5}
    ledger.committed({"p": 5})
    assert ledger.to_commit() == {}
    ledger.done("p", 5)
    assert ledger.to_commit() == {"p": 9}
    ledger.done("p", 9)
    assert ledger.to_commit() == {"p": 10}


def test_what_another_server_has_by_now_is_not_committed() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.begin("p", 1)
    ledger.begin("q", 1)
    ledger.forget("p")
    ledger.done("p", 1)
    ledger.done("q", 1)
    assert ledger.to_commit() == {"q": 2}


@given(st.permutations(range(20)))
def test_nothing_is_committed_beyond_what_is_not_done(order: list[int]) -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    for offset in range(20):
        ledger.begin("p", offset)
    done: set[int] = set()
    for offset in order:
        ledger.done("p", offset)
        done.add(offset)
        moved = ledger.to_commit()
        ledger.committed(moved)
        first = next((each for each in range(20) if each not in done), 20)
        assert moved.get("p", first) == first
