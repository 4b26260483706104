from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.fakes import FakeModel

from salver.engine.call import Call
from salver.engine.comparing import close_answers
from salver.engine.ports import ServedModel
from salver.engine.shadow import ObservedCall, ShadowCall, ShadowedModel, ShadowSettings
from salver.errors import ErrorKind
from salver.protocol.operations import MAY_SHARE
from salver.protocol.wire_codes import Codec
from salver.telemetry.registry import Registry
from salver.telemetry.shadow import ShadowMetrics
from salver.telemetry.snapshot import render

ONE = b'{"predictions":[1]}'
TWO = b'{"predictions":[2]}'


class Caller(Call):
    """Remembers what it is told, and when it left."""

    def __init__(self, codec: int = int(Codec.V1_JSON), arrived_s: float = 0.0) -> None:
        super().__init__(codec, 0, b"{}", arrived_s=arrived_s, deadline_s=30.0)
        self.answers: list[object] = []

    def deliver(self, body: bytes, aux: int) -> None:
        self.answers.append((body, aux, self.coding))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.answers.append((kind, message))

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"x-user", b"7")]

    def header(self, name: bytes) -> bytes:
        return dict(self.headers()).get(name, b"")


class Bench:
    """A model with a shadow on a virtual clock; both keep their calls until told to answer."""

    def __init__(self, share: float = 1.0, *, max_in_flight: int = 4) -> None:
        self.model = FakeModel("iris", "1")
        self.shadow = FakeModel("iris", "2")
        self.model.answer = self.shadow.answer = lambda call: None
        self.now_s = 0.0
        self.point = 0.0
        self.due: deque[Callable[[], object]] = deque()
        self.registry = Registry()
        self.served = ShadowedModel(
            self.model,
            self.shadow,
            ShadowSettings(share, max_in_flight),
            metrics=ShadowMetrics(self.registry, "iris", "iris-predictor-00002"),
            is_same=close_answers(),
            random_number=lambda: self.point,
            scheduler=self,
            clock=lambda: self.now_s,
        )

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.due.append(callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        raise AssertionError("a shadow sets no timer")

    def submit(self, call: Caller | None = None) -> Caller:
        call = call or Caller()
        self.served.submit(call)
        return call

    def counts(self) -> dict[str, int]:
        while self.due:
            self.due.popleft()()
        found = {}
        for line in render(self.registry.snapshot()).decode().splitlines():
            name, _, value = line.rpartition(" ")
            if line.startswith("salver_shadow_") and "_lead_" not in name and value != "0":
                found[name.split("_")[2] + name.partition('result="')[2][:5].rstrip('"}')] = int(
                    value
                )
        return found


def test_a_shadowed_model_is_a_served_model_like_the_first() -> None:
    bench = Bench()
    as_port: ServedModel = bench.served
    assert (as_port.name, as_port.version, as_port.is_ready) == ("iris", "1", True)
    assert as_port.status == bench.model.status
    assert as_port.metadata == bench.model.metadata


def test_the_caller_gets_the_models_answer_and_the_same_answers_are_a_match() -> None:
    bench = Bench()
    caller = bench.submit()
    bench.model.calls[0].coding = 0
    bench.model.calls[0].deliver(ONE, 0)
    assert caller.answers == [(ONE, 0, 0)]
    bench.shadow.calls[0].deliver(b'{"predictions": [1.0]}', 0)
    assert caller.answers == [(ONE, 0, 0)]
    assert bench.counts() == {"requests": 1, "resultsmatch": 1}


@pytest.mark.parametrize("shadow_first", [False, True])
@pytest.mark.parametrize(
    ("model", "shadow", "expected"),
    [
        (ONE, TWO, "resultsmisma"),
        (ONE, ErrorKind.MODEL_FAILED, "resultserror"),
        (ErrorKind.INVALID_INPUT, ErrorKind.INVALID_INPUT, "resultsmatch"),
        (ErrorKind.INVALID_INPUT, ErrorKind.MODEL_FAILED, "resultsmisma"),
        (ErrorKind.INVALID_INPUT, ONE, "resultsmisma"),
    ],
)
def test_outcomes_are_compared_whichever_comes_first(
    model: bytes | ErrorKind, shadow: bytes | ErrorKind, expected: str, shadow_first: bool
) -> None:
    bench = Bench()
    caller = bench.submit()
    pairs = [(bench.model.calls[0], model), (bench.shadow.calls[0], shadow)]
    for call, outcome in reversed(pairs) if shadow_first else pairs:
        if isinstance(outcome, ErrorKind):
            call.fail(outcome, "no")
        else:
            call.deliver(outcome, 0)
    assert len(caller.answers) == 1
    counts = bench.counts()
    assert [key[:12] for key in counts if key.startswith("results")] == [expected]


def test_the_copy_asks_for_no_compression_and_has_the_callers_headers() -> None:
    bench = Bench()
    bench.submit(Caller(int(Codec.V1_JSON) | 1 << 8 | 1 << 16))
    copy, own = bench.shadow.calls[0], bench.model.calls[0]
    assert copy.codec == int(Codec.V1_JSON) | 1 << 8
    assert own.codec == int(Codec.V1_JSON) | 1 << 8 | 1 << 16
    assert copy.header(b"x-user") == own.header(b"x-user") == b"7"
    assert copy.headers() == own.headers() == [(b"x-user", b"7")]
    assert (copy.body, copy.deadline_s) == (b"{}", 30.0)


def test_comparisons_take_turns_with_the_loops_other_work() -> None:
    bench = Bench()
    for number in range(3):
        bench.submit()
        bench.model.calls[number].deliver(ONE, 0)
        bench.shadow.calls[number].deliver(ONE, 0)
    assert len(bench.due) == 1
    assert bench.counts() == {"requests": 3, "resultsmatch": 3}


def test_long_answers_are_compared_as_bytes_and_no_verdict_is_made_up() -> None:
    long = b'{"predictions":[' + b"1," * (1 << 15) + b"1]}"
    for other, expected in ((long, "resultsmatch"), (long.replace(b",", b", "), "resultsuncom")):
        bench = Bench()
        bench.submit()
        bench.model.calls[0].deliver(long, 0)
        bench.shadow.calls[0].deliver(other, 0)
        assert bench.counts() == {"requests": 1, expected: 1}


def test_the_coding_of_the_answer_reaches_the_caller() -> None:
    bench = Bench()
    caller = bench.submit()
    bench.model.calls[0].coding = 1
    bench.model.calls[0].deliver(b"zipped", 3)
    assert caller.answers == [(b"zipped", 3, 1)]


def test_only_the_share_is_copied() -> None:
    bench = Bench(share=0.25)
    for bench.point in (0.2499, 0.25, 0.99):
        bench.submit()
    assert len(bench.model.calls) == 3
    assert len(bench.shadow.calls) == 1
    assert bench.counts() == {"requests": 1}


def test_copies_are_bounded_and_what_is_not_copied_is_counted() -> None:
    bench = Bench(max_in_flight=2)
    callers = [bench.submit() for _ in range(5)]
    assert (len(bench.shadow.calls), bench.served.in_flight) == (2, 2)
    for call in bench.model.calls:
        call.deliver(ONE, 0)
    assert all(caller.answers == [(ONE, 0, 0)] for caller in callers)
    for call in bench.shadow.calls:
        call.deliver(ONE, 0)
    assert bench.served.in_flight == 0
    assert bench.counts() == {"requests": 2, "dropped": 3, "resultsmatch": 2}
    bench.submit()
    assert len(bench.shadow.calls) == 3


def test_answers_that_wait_to_be_compared_count_against_the_bound() -> None:
    bench = Bench(max_in_flight=1)
    bench.submit()
    bench.model.calls[0].deliver(ONE, 0)
    bench.shadow.calls[0].deliver(ONE, 0)
    bench.submit()
    assert len(bench.shadow.calls) == 1
    bench.counts()
    bench.submit()
    assert len(bench.shadow.calls) == 2


def test_a_shadow_that_is_not_ready_gets_no_copies() -> None:
    bench = Bench()
    bench.shadow.state = "LOADING"
    bench.submit()
    assert (len(bench.model.calls), len(bench.shadow.calls)) == (1, 0)
    assert bench.counts() == {"dropped": 1}


def test_a_caller_who_left_is_gone_for_the_model_but_the_copy_goes_on() -> None:
    bench = Bench()
    caller = bench.submit()
    caller.is_abandoned = True
    assert bench.model.calls[0].is_abandoned
    assert not bench.shadow.calls[0].is_abandoned
    bench.shadow.calls[0].deliver(ONE, 0)
    assert bench.served.in_flight == 0
    assert bench.counts() == {"requests": 1}


def test_a_call_that_the_model_gave_up_is_given_up_for_the_listener_too() -> None:
    bench = Bench()
    caller = bench.submit()
    bench.model.calls[0].is_abandoned = True
    assert caller.is_abandoned


def test_a_caller_who_left_before_is_not_brought_back() -> None:
    bench = Bench()
    caller = Caller()
    caller.is_abandoned = True
    bench.submit(caller)
    assert bench.model.calls[0].is_abandoned


def test_a_shadow_that_breaks_its_contract_is_an_error_and_no_more() -> None:
    bench = Bench()

    def broken(call: Call) -> None:
        raise RuntimeError("boom")

    bench.shadow.answer = broken
    caller = bench.submit()
    bench.model.calls[0].deliver(ONE, 0)
    assert caller.answers == [(ONE, 0, 0)]
    assert (bench.served.in_flight, bench.counts()) == (0, {"requests": 1, "resultserror": 1})


def test_a_shadow_that_answers_twice_counts_once() -> None:
    bench = Bench()
    bench.submit()
    bench.model.calls[0].deliver(ONE, 0)
    bench.shadow.calls[0].deliver(ONE, 0)
    bench.shadow.calls[0].fail(ErrorKind.DEADLINE_EXCEEDED, "late")
    assert bench.served.in_flight == 0
    assert bench.counts() == {"requests": 1, "resultsmatch": 1}


def test_a_model_that_answers_after_it_was_timed_out_counts_once() -> None:
    bench = Bench()
    caller = bench.submit()
    own = bench.model.calls[0]
    # As a queue does, and then the worker's reply comes all the same.
    own.fail(ErrorKind.DEADLINE_EXCEEDED, "late")
    own.is_abandoned = True
    own.deliver(ONE, 0)
    assert caller.is_abandoned
    bench.shadow.calls[0].deliver(ONE, 0)
    own.deliver(ONE, 0)
    assert bench.counts() == {"requests": 1, "resultsmisma": 1}


def test_a_model_s_own_time_limit_is_the_callers_too() -> None:
    bench = Bench()
    caller = bench.submit()
    own = bench.model.calls[0]
    assert own.granted_s == caller.granted_s
    own.limit(99.0)
    assert (own.deadline_s, caller.deadline_s, bench.shadow.calls[0].deadline_s) == (99.0, 99.0, 30)


def test_answers_that_cannot_be_compared_are_a_mismatch() -> None:
    bench = Bench()
    bench.submit()
    bench.model.calls[0].coding = 1
    bench.model.calls[0].deliver(b"no gzip at all", 0)
    bench.shadow.calls[0].deliver(ONE, 0)
    assert bench.counts() == {"requests": 1, "resultsmisma": 1}


def test_the_lead_of_the_faster_one_is_measured() -> None:
    bench = Bench()
    bench.submit()
    bench.now_s = 0.010
    bench.model.calls[0].deliver(ONE, 0)
    bench.now_s = 0.050
    bench.shadow.calls[0].deliver(ONE, 0)
    bench.counts()
    text = render(bench.registry.snapshot()).decode()
    of = 'model="iris",shadow="iris-predictor-00002"'
    assert f'salver_shadow_lead_seconds_count{{{of},faster="model"}} 1' in text
    assert f'salver_shadow_lead_seconds_sum{{{of},faster="model"}} 0.04' in text
    assert f'salver_shadow_lead_seconds_count{{{of},faster="shadow"}} 0' in text


def test_a_shadow_may_not_write_into_the_callers_memory() -> None:
    call, pair = Caller(Codec.V2_JSON | MAY_SHARE), cast(Any, None)
    assert ObservedCall(call, pair, lambda: 0.0).codec & MAY_SHARE
    assert not ShadowCall(call, pair, lambda: 0.0).codec & MAY_SHARE
