import pytest

from salver.server.topics.addresses import (
    KAFKA_NAME,
    MOST_MODELS,
    NATS_NAME,
    TopicNames,
    any_model,
    input_topics,
    pattern_problem,
)

NAMES = TopicNames("salver.infer.{model}", "salver.replies.{model}", "")


@pytest.mark.parametrize(
    ("name", "nats", "kafka"),
    [
        ("iris", True, True),
        ("iris.v2", True, True),
        ("größe", True, False),
        ("a/b", True, False),
        ("a b", False, False),
        ("a*", False, False),
        (">", False, False),
        ("a..b", False, True),
        (".a", False, True),
        ("a.", False, True),
        ("a\r\nPUB x 0", False, False),
        ("", False, False),
    ],
)
def test_a_name_is_part_of_a_topic_only_if_the_broker_takes_it(
    name: str, nats: bool, kafka: bool
) -> None:
    assert bool(NATS_NAME.fullmatch(name)) is nats
    assert bool(KAFKA_NAME.fullmatch(name)) is kafka


def test_each_model_has_a_topic_and_unfit_ones_are_told() -> None:
    topics, left = input_topics(NAMES, ["b", "a", "x y", "a"], NATS_NAME)
    assert topics == {"salver.infer.a": "a", "salver.infer.b": "b"}
    assert left == ("x y",)


def test_there_is_a_bound_to_models_with_topics_of_their_own() -> None:
    topics, left = input_topics(NAMES, [f"m{n:05}" for n in range(MOST_MODELS + 3)], NATS_NAME)
    assert len(topics) == MOST_MODELS
    assert left == ("m01000", "m01001", "m01002")


def test_a_topic_without_a_model_is_one_for_all() -> None:
    names = TopicNames("requests", "replies", "")
    assert input_topics(names, ["a", "b"], NATS_NAME) == ({"requests": ""}, ())


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [("in.{model}", "in.>"), ("in.{model}.now", "in.*.now"), ("one", "one"), ("", "")],
)
def test_a_subject_stands_for_those_of_all_models(pattern: str, subject: str) -> None:
    assert any_model(pattern) == subject


def test_a_pattern_that_is_no_topic_is_refused_with_one_that_is() -> None:
    assert pattern_problem("salver.infer.{model}", NATS_NAME) == ""
    for wrong in ("a b", "{model}.{model}", "", "in.>", "in.*"):
        assert "salver.infer.{model}" in pattern_problem(wrong, NATS_NAME)
