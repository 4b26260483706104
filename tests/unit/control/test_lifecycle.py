import itertools

import pytest

from salver.control.lifecycle import (
    MAX_BACKOFF_S,
    TRANSITIONS,
    ReplicaEvent,
    ReplicaState,
    backoff_s,
    next_state,
)


def test_the_first_death_is_answered_at_once_and_later_ones_ever_slower() -> None:
    assert [backoff_s(deaths) for deaths in range(5)] == [0.0, 0.0, 0.1, 0.2, 0.4]
    assert backoff_s(1000) == MAX_BACKOFF_S


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(ReplicaState, ReplicaEvent)), ids=str
)
def test_what_the_table_does_not_know_is_an_error(state: ReplicaState, event: ReplicaEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(ValueError, match=f"a {state.value} replica cannot be {event.value}"):
            next_state(state, event)


def test_every_living_state_can_end() -> None:
    for state in ReplicaState:
        if state is not ReplicaState.DEAD:
            assert next_state(state, ReplicaEvent.EXITED) is ReplicaState.DEAD


def test_a_dead_replica_stays_dead() -> None:
    assert not [state for state, _ in TRANSITIONS if state is ReplicaState.DEAD]
