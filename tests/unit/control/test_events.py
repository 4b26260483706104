"""Events: counted, bounded, and gone after an hour."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control import events
from salver.control.events import EventRecorder
from salver.control.resources import JsonObject, ObjectRef

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.time = BEGIN

    def text(self) -> str:
        return self.time.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[SqliteResourceStore]:
    made = SqliteResourceStore(None, now=lambda: clock.time, new_uid=lambda: str(uuid.uuid4()))
    yield made
    made.close()


@pytest.fixture
def recorder(store: SqliteResourceStore, clock: Clock) -> EventRecorder:
    return EventRecorder(store, clock.text)


def about(name: str) -> JsonObject:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
    }


def found(store: SqliteResourceStore) -> list[tuple[str, str, int]]:
    """Whose events there are, what they say, how often it happened."""
    return [
        (each["involvedObject"]["name"], each["message"], each["count"])
        for each in store.list("", "events")[0]
    ]


def test_what_happens_again_is_counted(
    store: SqliteResourceStore, recorder: EventRecorder, clock: Clock
) -> None:
    recorder.record(about("iris"), "Warning", "LoadFailed", "no file")
    clock.time += timedelta(minutes=5)
    recorder.record(about("iris"), "Warning", "LoadFailed", "no file")
    recorder.record(about("iris"), "Normal", "Ready", "it answers")
    assert sorted(found(store)) == [("iris", "it answers", 1), ("iris", "no file", 2)]
    failed = next(each for each in store.list("", "events")[0] if each["count"] == 2)
    assert failed["firstTimestamp"] == "2026-01-02T03:04:05Z"
    assert failed["lastTimestamp"] == "2026-01-02T03:09:05Z"


def test_an_event_goes_an_hour_after_it_was_last_seen(
    store: SqliteResourceStore, recorder: EventRecorder, clock: Clock
) -> None:
    recorder.record(about("iris"), "Normal", "A", "again and again")
    recorder.record(about("iris"), "Normal", "B", "once")
    clock.time += timedelta(minutes=40)
    recorder.record(about("iris"), "Normal", "A", "again and again")
    clock.time += timedelta(minutes=30)
    recorder.forget_old()
    assert found(store) == [("iris", "again and again", 2)]
    clock.time += timedelta(minutes=31)
    recorder.forget_old()
    assert found(store) == []


def test_events_of_a_former_run_go_too(
    store: SqliteResourceStore, recorder: EventRecorder, clock: Clock
) -> None:
    recorder.record(about("old"), "Normal", "A", "before")
    clock.time += timedelta(minutes=59)
    recorder.record(about("new"), "Normal", "A", "before")
    again = EventRecorder(store, clock.text)
    clock.time += timedelta(minutes=2)
    again.record(about("iris"), "Normal", "A", "now")
    assert sorted(name for name, _, _ in found(store)) == ["iris", "new"]


def test_there_are_never_more_than_the_bound(
    store: SqliteResourceStore, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_EVENTS", 3)
    for number in range(5):
        recorder.record(about("iris"), "Normal", "A", f"number {number}")
    assert sorted(message for _, message, _ in found(store)) == ["number 2", "number 3", "number 4"]


def test_an_event_that_somebody_deleted_is_made_anew(
    store: SqliteResourceStore, recorder: EventRecorder
) -> None:
    recorder.record(about("iris"), "Normal", "A", "it happened")
    (event,) = store.list("", "events")[0]
    store.delete(ObjectRef("", "events", "default", event["metadata"]["name"]))
    recorder.record(about("iris"), "Normal", "A", "it happened")
    assert found(store) == [("iris", "it happened", 1)]
