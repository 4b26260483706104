"""A transformer around a predictor: which step gets what, and how failures are told."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from tests.calls import RecordingCall
from tests.fakes import IRIS, FakeModel

from salver.engine.call import Call
from salver.engine.chain import ExplainedService, TransformedService
from salver.errors import ErrorKind
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.frame import ContentCoding
from salver.protocol.operations import WITH_HEADERS, Operation, operation_of, split_headers
from salver.protocol.wire_codes import Codec

BOTH = ModelMetadata(
    platform="python", inputs=(), outputs=(), operations=("preprocess", "postprocess")
)
GZIP = ContentCoding.GZIP


def transformer(metadata: ModelMetadata = BOTH) -> FakeModel:
    def answer(call: Call) -> None:
        call.deliver(operation_of(call.codec).method.encode() + b"(" + call.body + b")", 7)

    model = FakeModel("iris", metadata=metadata)
    model.answer = answer
    return model


def predictor() -> FakeModel:
    model = FakeModel("iris")
    model.answer = lambda call: call.deliver(b"predict(" + call.body + b")", 3)
    return model


def service(steps: FakeModel, model: FakeModel) -> TransformedService:
    return TransformedService(steps, model, clock=lambda: 5.0)


def refusing(kind: ErrorKind) -> Callable[[Call], None]:
    return lambda call: call.fail(kind, "no")


def test_a_call_goes_through_the_steps_in_their_order() -> None:
    steps, model = transformer(), predictor()
    call = RecordingCall(b"x", Codec.V1_JSON)
    service(steps, model).submit(call)
    assert call.answer == (b"postprocess(predict(preprocess(x)))", 7)
    assert [sub.aux for sub in (*steps.calls, *model.calls)] == [0, 3, 7]
    assert {sub.deadline_s for sub in (*steps.calls, *model.calls)} == {call.deadline_s}
    assert [sub.codec & 0xFF for sub in (*steps.calls, *model.calls)] == [Codec.V1_JSON] * 3


def test_a_step_that_the_class_lacks_is_left_out() -> None:
    for operations, answer in (
        (("preprocess",), b"predict(preprocess(x))"),
        (("postprocess",), b"postprocess(predict(x))"),
        (("explain",), b"predict(x)"),
    ):
        metadata = ModelMetadata(platform="python", inputs=(), outputs=(), operations=operations)
        call = RecordingCall(b"x")
        service(transformer(metadata), predictor()).submit(call)
        assert call.answer is not None
        assert call.answer[0] == answer


def test_a_transformer_that_is_a_service_of_its_own_takes_the_whole_call() -> None:
    steps, model = FakeModel("iris", metadata=IRIS), predictor()
    steps.answer = lambda call: call.deliver(b"all(" + call.body + b")", 2)
    call = RecordingCall(b"x", Codec.V2_JSON | GZIP << 8, 5)
    service(steps, model).submit(call)
    assert call.answer == (b"all(x)", 2)
    assert (steps.calls[0].codec, steps.calls[0].aux) == (Codec.V2_JSON | GZIP << 8, 5)
    assert model.calls == []
    steps.answer = refusing(ErrorKind.UNAVAILABLE)
    call = RecordingCall(b"x")
    service(steps, model).submit(call)
    assert call.error == (ErrorKind.UNAVAILABLE, "transformer: no")


def test_a_transformer_that_is_still_asleep_is_asked_for_both_steps() -> None:
    steps = transformer()
    steps.state = "UNAVAILABLE"
    call = RecordingCall(b"x", headers=[(b"a", b"b")])
    service(steps, predictor()).submit(call)
    assert call.answer is not None
    assert [operation_of(sub.codec) for sub in steps.calls] == [
        Operation.PREPROCESS,
        Operation.POSTPROCESS,
    ]


def test_only_the_first_step_unpacks_and_only_the_last_one_packs() -> None:
    steps, model = transformer(), predictor()
    tag = Codec.V2_JSON | GZIP << 8 | GZIP << 16
    service(steps, model).submit(RecordingCall(b"x", tag))
    first, last = steps.calls
    assert (first.codec >> 8 & 0xFF, first.codec >> 16 & 0xFF) == (GZIP, 0)
    assert model.calls[0].codec == Codec.V2_JSON
    assert (last.codec >> 8 & 0xFF, last.codec >> 16 & 0xFF) == (0, GZIP)


def test_a_packed_answer_of_the_predictor_is_told_to_the_last_step() -> None:
    steps, model = transformer(), predictor()

    def answer(call: Call) -> None:
        call.coding = int(GZIP)
        call.deliver(b"packed", 0)

    model.answer = answer
    service(steps, model).submit(RecordingCall(b"x"))
    assert steps.calls[1].codec >> 8 & 0xFF == GZIP


def test_headers_go_only_to_a_class_that_wants_them() -> None:
    wanting = ModelMetadata(
        platform="python",
        inputs=(),
        outputs=(),
        operations=("preprocess",),
        wants_headers=True,
    )
    for metadata, wanted in ((wanting, True), (BOTH, False)):
        steps, model = transformer(metadata), predictor()
        service(steps, model).submit(RecordingCall(b"x", headers=[(b"X-A", b"1")]))
        assert bool(steps.calls[0].codec & WITH_HEADERS) is wanted
        if wanted:
            headers, body = split_headers(steps.calls[0].body)
            assert (headers, bytes(body)) == ({"x-a": "1"}, b"x")
        assert model.calls[0].header(b"X-A") == b"1"
        assert not model.calls[0].codec & WITH_HEADERS


def test_an_error_names_its_step_and_ends_the_call() -> None:
    cases = (
        ("transformer (preprocess): no", True, 0),
        ("predictor: no", False, 1),
    )
    for text, at_transformer, predicted in cases:
        steps, model = transformer(), predictor()
        (steps if at_transformer else model).answer = refusing(ErrorKind.INVALID_INPUT)
        call = RecordingCall(b"x")
        service(steps, model).submit(call)
        assert call.error == (ErrorKind.INVALID_INPUT, text)
        assert (call.answers, len(model.calls)) == (1, predicted)


def test_a_client_that_leaves_stops_what_has_not_begun() -> None:
    steps, model = transformer(), predictor()
    steps.answer = lambda call: None
    call = RecordingCall(b"x")
    service(steps, model).submit(call)
    call.is_abandoned = True
    assert steps.calls[0].is_abandoned
    steps.calls[0].deliver(b"late", 0)
    steps.calls[0].fail(ErrorKind.MODEL_FAILED, "late")
    assert (model.calls, call.answers) == ([], 0)


def test_a_step_that_has_timed_out_cannot_answer_any_more() -> None:
    steps, model = transformer(), predictor()
    steps.answer = lambda call: None
    call = RecordingCall(b"x")
    service(steps, model).submit(call)
    # As a queue does when it times a call out.
    steps.calls[0].fail(ErrorKind.DEADLINE_EXCEEDED, "too late")
    steps.calls[0].is_abandoned = True
    steps.calls[0].deliver(b"late", 0)
    assert (model.calls, call.answers) == ([], 1)
    assert not call.is_abandoned


def test_the_service_is_ready_when_both_are() -> None:
    steps, model = transformer(), predictor()
    made = service(steps, model)
    assert (made.is_ready, made.status.state, made.metadata) == (True, "READY", IRIS)
    steps.state, steps.reason = "LOADING", "loading"
    assert not made.is_ready
    assert (made.status.state, made.status.reason) == ("LOADING", "transformer: loading")
    model.state, model.reason = "UNAVAILABLE", "no file"
    assert made.status.reason == "no file"


def test_what_callers_send_is_the_transformer_s_to_say() -> None:
    image = TensorMetadata("image", "BYTES", (-1,))
    steps = transformer(ModelMetadata(platform="python", inputs=(image,), outputs=()))
    metadata = service(steps, predictor()).metadata
    assert (metadata.inputs, metadata.outputs) == ((image,), IRIS.outputs)


def test_an_explainer_is_asked_to_explain() -> None:
    explainer = transformer(
        ModelMetadata(platform="python", inputs=(), outputs=(), operations=("explain",))
    )
    call = RecordingCall(b"x", Codec.V1_JSON)
    ExplainedService(explainer, clock=lambda: 5.0).submit(call)
    assert call.answer == (b"explain(x)", 7)
    explainer.answer = refusing(ErrorKind.UNSUPPORTED)
    call = RecordingCall(b"x", Codec.V1_JSON)
    ExplainedService(explainer, clock=lambda: 5.0).submit(call)
    assert call.error == (ErrorKind.UNSUPPORTED, "explainer: no")


def without_collector(test: Callable[[], None]) -> Callable[[], None]:
    """Whatever goes, goes by its last reference."""

    def run() -> None:
        gc.collect()
        gc.disable()
        try:
            test()
        finally:
            gc.enable()

    run.__name__ = test.__name__
    return run


@without_collector
def test_a_step_is_gone_with_its_last_reference_and_its_body_with_it() -> None:
    for steps in (transformer(), FakeModel("iris", metadata=IRIS)):
        kept: list[weakref.ref[bytearray]] = []

        class Body(bytearray):
            pass

        def answer(call: Call, kept: list[weakref.ref[bytearray]] = kept) -> None:
            body = Body(b"x")
            kept.append(weakref.ref(body))
            call.deliver(body, 0)  # type: ignore[arg-type]

        model = FakeModel("iris")
        model.answer = steps.answer = answer
        call = RecordingCall(b"x")
        service(steps, model).submit(call)
        assert call.answers == 1
        steps.calls.clear()
        model.calls.clear()
        assert [ref() for ref in kept] == [None] * len(kept)


@without_collector
def test_a_service_lives_until_the_last_step_of_its_calls_has_begun() -> None:
    steps, model = transformer(), predictor()
    steps.answer = model.answer = lambda call: None
    made = service(steps, model)
    for _ in range(2):
        made.submit(RecordingCall(b"x"))
    alive = weakref.ref(made)
    del made
    first, left = steps.calls
    steps.calls.clear()
    first.deliver(b"x", 0)
    del first
    model.calls.pop().deliver(b"y", 0)
    assert alive() is not None
    del left  # Its client has gone, and the queue has dropped it.
    assert alive() is None
    assert len(steps.calls) == 1


def test_a_step_with_a_limit_of_its_own_takes_no_time_from_those_after_it() -> None:
    steps, model = transformer(), predictor()
    steps.answer = model.answer = lambda call: None
    call = RecordingCall(b"x", timeout_s=30.0)
    service(steps, model).submit(call)
    steps.calls[0].deliver(b"x", 0)
    granted_s = call.granted_s
    assert model.calls[0].granted_s == granted_s
    model.calls[0].limit(call.deadline_s + 270.0)
    model.calls[0].deliver(b"y", 0)
    assert steps.calls[1].deadline_s == call.deadline_s
    assert call.granted_s == granted_s + 270.0
    # A shorter one is the step's affair alone.
    steps.calls[1].limit(7.0)
    assert (steps.calls[1].deadline_s, call.granted_s) == (7.0, granted_s + 270.0)
